"""What the transformer is made to hear before it says it: the outline of the sound.

At most noise levels the outline shows in the noisy latents, so that little of the velocity's loss teaches to
find it in the picture. The heads ask the states of some audio blocks for it as it is, without the noise.

Axes: b batch, n tokens, d channels.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from . import outline
from .clock import Place


class Hearing(nn.Module):
    """Heads that read the outline off the states between the audio blocks; thrown away.

    The first and the last of these blocks are not asked.
    """

    def __init__(self, hidden_size: int, audio_depth: int) -> None:
        super().__init__()
        middle = range(1, audio_depth - 1) or [audio_depth - 1]
        self.places: list[Place] = [("audio", i) for i in middle]
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(hidden_size, elementwise_affine=False),
                nn.Linear(hidden_size, hidden_size),
                nn.SiLU(),
                nn.Linear(hidden_size, outline.CHANNELS),
            )
            for _ in self.places
        )

    def error(self, states: Mapping[Place, Tensor], latents: Tensor) -> Tensor:
        """Mean square error, about 1 for one who does not know. latents: (b, c, n), without noise."""
        asked = latents[:, -outline.CHANNELS :].mT / outline.LEVEL
        errors = [
            (head(states[place]).float() - asked).square().mean()
            for place, head in zip(self.places, self.heads, strict=True)
        ]
        return torch.stack(errors).mean()
