"""Where the Foley transformer's tokens stand: rotary tables and resampling indexes, the same in every step.

Axes: n tokens, d channels per head.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..layers.embeddings import nearest_exact
from ..layers.rope import rotary_table


@dataclass(frozen=True, kw_only=True)
class Positions:
    """What follows from the lengths of a clip and its latents alone, shared by all blocks."""

    audio: Tensor  # (2, audio tokens, d): plain positions
    visual: Tensor  # (2, visual tokens, d): plain positions
    joint: Tensor  # (2, visual + audio tokens, d): both streams interleaved at the latents' rate
    visual_content: Tensor | None  # which visual token's query and key stand at each visual place
    to_audio: Tensor  # (audio tokens,), which sync token leads each audio token

    @property
    def audio_tokens(self) -> int:
        return self.to_audio.shape[0]

    @classmethod
    def of(
        cls,
        audio_tokens: int,
        visual_tokens: int,
        sync_tokens: int,
        head_size: int,
        device: torch.device | str | None = None,
    ) -> "Positions":
        audio = torch.arange(audio_tokens, device=device)
        slots = nearest_exact(audio_tokens, visual_tokens, device)

        # As trained: with more visual than audio tokens, resampling to the latents' rate and back loses some.
        crowded = visual_tokens > audio_tokens
        content = nearest_exact(visual_tokens, audio_tokens, device)[slots] if crowded else None
        return cls(
            audio=rotary_table(audio, head_size),
            visual=rotary_table(torch.arange(visual_tokens, device=device), head_size),
            joint=rotary_table(torch.cat([2 * slots + 1, 2 * audio]), head_size),
            visual_content=content,
            to_audio=nearest_exact(sync_tokens, audio_tokens, device),
        )
