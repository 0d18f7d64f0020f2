"""What the transformer is made to know of time: where in its clip a token lies.

Sync tokens are spread evenly over a clip but do not last evenly: at its end they are 0.3 s ahead of their
place, and 0.6 s where the last frame is missing. To undo that a token must know where it is, and
self-attention tells distances alone. The place shows where rotated queries meet the prompt's rotated keys,
and at the ends, where convolutions see nothing. Left alone, the transformer hardly finds that; asked for it,
in 300 steps.

Axes: b batch, n tokens, d channels.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

Place = tuple[str, int]  # kind of a block, and its number within the kind

WAVES = 8  # cosines of the place, of 1/2 to 4 periods
LONGEST = 512  # tokens in which they take that


class Clock(nn.Module):
    """Heads that read the place of each token off the states after a few blocks; thrown away."""

    def __init__(self, hidden_size: int, joint_depth: int) -> None:
        super().__init__()
        self.places: list[Place] = [("joint", i) for i in range(joint_depth)] + [("audio", 0)]
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(hidden_size, elementwise_affine=False),
                nn.Linear(hidden_size, hidden_size),
                nn.SiLU(),
                nn.Linear(hidden_size, WAVES),
            )
            for _ in self.places
        )

    def error(self, states: Mapping[Place, Tensor]) -> Tensor:
        """Mean square error of the waves, which have 0.5 for one who does not know; each (b, n, d)."""
        errors = [
            (head(states[place]).float() - waves(states[place])).square().mean()
            for place, head in zip(self.places, self.heads, strict=True)
        ]
        return torch.stack(errors).mean()


def waves(states: Tensor) -> Tensor:
    """(n, 8), for as many tokens as the states have."""
    tokens = torch.arange(states.shape[1], device=states.device)[:, None]
    return torch.cos(math.pi / LONGEST * tokens * torch.arange(1, WAVES + 1, device=states.device))
