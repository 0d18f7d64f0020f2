"""What the transformer is made to know of time: where a token lies, and how late it is shown that.

Sync tokens are spread evenly over a clip but do not last evenly: at its end they are 0.3 s behind their
place, and 0.6 s where the last frame is missing. To undo that, attention must look for the token that shows
a place, and it tells distances alone. A key that knows how far behind its own place the time is that it
shows is found by its rotation: cos w (place - lag - place of the query). The place shows where rotated
queries meet the prompt's rotated keys, and at the ends, where convolutions see nothing; the lag follows from
it and from what part of a segment the sync token is. Left alone, the transformer hardly finds them.

Axes: b batch, n tokens, d channels.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..hunyuan.foley.timing import TOKENS_PER_SEGMENT
from ..hunyuan.layers.embeddings import nearest_exact

Place = tuple[str, int]  # kind of a block, and its number within the kind

PERIODS = tuple(1024 / n for n in (*range(1, 9), 16))  # tokens, of the waves of a place
LAG_PERIODS = 128, 64, 32, 16
SEGMENT, SHOWN_STEP = 16, 4  # tokens from the start of a segment, or of a sync token, to the next


class Clock(nn.Module):
    """Heads that read each token's place and lag off the states after a few blocks; thrown away."""

    def __init__(self, hidden_size: int, joint_depth: int) -> None:
        super().__init__()
        self.places: list[Place] = [("joint", i) for i in range(joint_depth)] + [("audio", 0)]
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(hidden_size, elementwise_affine=False),
                nn.Linear(hidden_size, hidden_size),
                nn.SiLU(),
                nn.Linear(hidden_size, len(PERIODS) + 2 * len(LAG_PERIODS)),
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
    """(n, 17): cosines of each token's place; cosines and sines of its lag."""
    tokens = states.shape[1]
    place = torch.arange(tokens, device=states.device)
    lag = phases(place - shown(tokens, sync_tokens, states.device), LAG_PERIODS)
    return torch.cat([phases(place, PERIODS).cos(), lag.cos(), lag.sin()], 1)


def phases(times: Tensor, periods: tuple[float, ...]) -> Tensor:
    """times: (n,). Returns (n, periods)."""
    return 2 * math.pi * times[:, None] / torch.tensor(periods, device=times.device)


def shown(tokens: int, sync_tokens: int, device: torch.device | None = None) -> Tensor:
    """(n,): the time, in tokens, that the sync token of each token shows the middle of."""
    sync = nearest_exact(sync_tokens, tokens, device)
    segment, part = sync // TOKENS_PER_SEGMENT, sync % TOKENS_PER_SEGMENT
    return SEGMENT * segment + SHOWN_STEP * part + SHOWN_STEP // 2
