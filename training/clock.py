"""What the transformer is made to know of time: where in its clip a token lies, and what time it is shown.

Sync tokens are spread evenly over a clip but do not last evenly: at its end they are 0.3 s ahead of their
place, and 0.6 s where the last frame is missing. To undo that a token must know where it is, and what it is
shown, and self-attention tells distances alone. The place shows where rotated queries meet the prompt's
rotated keys, and at the ends, where convolutions see nothing; the time shown follows from the place and from
what part of a segment the sync token is. Left alone, the transformer hardly finds that; asked for the place,
in 300 steps.

Axes: b batch, n tokens, d channels.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..hunyuan.foley.timing import TOKENS_PER_SEGMENT
from ..hunyuan.layers.embeddings import nearest_exact

Place = tuple[str, int]  # kind of a block, and its number within the kind

WAVES = (*range(1, 9), 16, 32)  # cosines of a time, by how many halves of a period they take in
LONGEST = 512  # tokens
SEGMENT, SHOWN_STEP = 16, 4  # tokens from the start of a segment, or of a sync token, to the next


class Clock(nn.Module):
    """Heads that read the place of each token, and the time it is shown, off the states after a few blocks.

    Thrown away.
    """

    def __init__(self, hidden_size: int, joint_depth: int) -> None:
        super().__init__()
        self.places: list[Place] = [("joint", i) for i in range(joint_depth)] + [("audio", 0)]
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(hidden_size, elementwise_affine=False),
                nn.Linear(hidden_size, hidden_size),
                nn.SiLU(),
                nn.Linear(hidden_size, 2 * len(WAVES)),
            )
            for _ in self.places
        )

    def error(self, states: Mapping[Place, Tensor], sync_tokens: int) -> Tensor:
        """Mean square error of the waves, which have 0.5 for one who does not know.

        states: (b, n, d) each. sync_tokens: how many are spread over the n.
        """
        asked = waves_asked(states[self.places[-1]], sync_tokens)
        errors = [
            (head(states[place]).float() - asked).square().mean()
            for place, head in zip(self.places, self.heads, strict=True)
        ]
        return torch.stack(errors).mean()


def waves_asked(states: Tensor, sync_tokens: int) -> Tensor:
    """(n, 20): waves of each token's place, and of the middle of what its sync token shows."""
    tokens = states.shape[1]
    place = torch.arange(tokens, device=states.device)
    return torch.cat([waves(place), waves(shown(tokens, sync_tokens, states.device))], 1)


def shown(tokens: int, sync_tokens: int, device: torch.device | None = None) -> Tensor:
    """(n,): the time, in tokens, that the sync token of each token shows."""
    sync = nearest_exact(sync_tokens, tokens, device)
    return SEGMENT * (sync // TOKENS_PER_SEGMENT) + SHOWN_STEP * (sync % TOKENS_PER_SEGMENT) + SHOWN_STEP // 2


def waves(times: Tensor) -> Tensor:
    """times: (n,), in tokens. Returns (n, 10)."""
    return torch.cos(math.pi / LONGEST * times[:, None] * torch.tensor(WAVES, device=times.device))
