"""What the transformer is made to know of time: where a token lies, and how late it is shown that.

Sync tokens are spread evenly over a clip but do not last evenly: at its end they are 0.3 s behind their
place, and 0.6 s where the last frame is missing. To undo that, attention must look for the token that shows
a place, and it tells distances alone. A key that knows its lag, by which the time that it shows is behind
its own place, is found by its rotation: cos w (place - lag - place of the query). The place shows where
rotated queries meet the prompt's rotated keys, and at the ends, where convolutions see nothing; the lag
follows from it, from what part of a segment the sync token is, and from the pace at which segments follow.
The pace shows where the part that is shown runs ahead of the part that would be due. Left alone, the
transformer hardly finds any of this. It finds waves soon whose speed is one of its rotations', others hardly.

Axes: b batch, n tokens, d channels.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..hunyuan.foley.timing import TOKENS_PER_SEGMENT
from ..hunyuan.layers.embeddings import nearest_exact
from ..hunyuan.layers.rope import rotary_table
from .heads import Heads, Place

SLOW_TURNS = range(1, 9)  # of cosines of the place, in 1024 tokens
HEAD_SIZE = 64  # that is rotated
PLACE_PAIRS, LAG_PAIRS = range(3, 10), range(4, 11, 2)  # of channels whose rotations are asked for
# Tokens for each sync token in 8 s, as they are and where a frame is missing; and what tells them apart.
PACES = 400 / 192, 398 / 184
ASKED = len(SLOW_TURNS) + 2 * len(PLACE_PAIRS) + 2 * len(LAG_PAIRS) + 4 * len(PACES) + 1
LATENTS_PER_SEGMENT = 16  # from the start of a segment to the next
SHOWN_STEP = 4  # latents from the start of what a sync token shows to that of the next


class Clock(Heads):
    """Heads that read each token's place and lag off the states after a few blocks."""

    def __init__(self, hidden_size: int, joint_depth: int) -> None:
        super().__init__(hidden_size, ASKED, [*(("joint", i) for i in range(joint_depth)), ("audio", 0)])

    def error(self, states: Mapping[Place, Tensor], sync_tokens: int) -> Tensor:
        """Mean square error of the waves, which have 0.5 for one who does not know.

        states: (b, n, d) each. sync_tokens: how many are spread over the n.
        """
        last = states[self.places[-1]]
        return self.mean_error(states, asked_of(last.shape[1], sync_tokens, last.device))


def asked_of(tokens: int, sync_tokens: int, device: torch.device | None = None) -> Tensor:
    """(n, 39): waves of each token's place and of its lag, and what tells of the pace."""
    place = torch.arange(tokens, device=device)
    lag = place - shown(tokens, sync_tokens, device)
    slow = torch.cos(phases(place, [2 * math.pi * turns / 1024 for turns in SLOW_TURNS]))
    waves = [slow, rotations(place, PLACE_PAIRS), rotations(lag, LAG_PAIRS)]
    return torch.cat([*waves, of_pace(place, sync_tokens)], 1)


def of_pace(place: Tensor, sync_tokens: int) -> Tensor:
    """(n, 9): the part of a segment that is due at two paces, what is shown against it, and the pace."""
    tokens = len(place)
    due = phases(place, [2 * math.pi / TOKENS_PER_SEGMENT / pace for pace in PACES])
    part = nearest_exact(sync_tokens, tokens, place.device) % TOKENS_PER_SEGMENT
    ahead = due - 2 * math.pi / TOKENS_PER_SEGMENT * part[:, None]
    usual, lacking = PACES
    pace = 2 * (tokens / sync_tokens - usual) / (lacking - usual) - 1
    alike = torch.full((tokens, 1), max(-2.0, min(2.0, pace)), device=place.device)
    return torch.cat([due.cos(), due.sin(), ahead.cos(), ahead.sin(), alike], 1)


def rotations(times: Tensor, pairs: range) -> Tensor:
    """Cosines and sines by which attention turns some pairs of channels: (n, 2 pairs). times: (n,)."""
    cos, sin = rotary_table(times, HEAD_SIZE)[:, :, 1::2]
    chosen = slice(pairs.start, pairs.stop, pairs.step)
    return torch.cat([cos[:, chosen], sin[:, chosen]], 1)


def phases(times: Tensor, speeds: Sequence[float]) -> Tensor:
    """(n, speeds). Nothing is copied to a device, so that steps can be recorded. times: (n,)."""
    return torch.stack([times * speed for speed in speeds], 1)


def shown(tokens: int, sync_tokens: int, device: torch.device | None = None) -> Tensor:
    """(n,): the time, in tokens, that the sync token of each token shows the middle of."""
    return shown_from(nearest_exact(sync_tokens, tokens, device)) + SHOWN_STEP // 2


def shown_from(sync_token: Tensor) -> Tensor:
    """The latent frame with which begins what sync tokens, by number, show."""
    segment, part = sync_token // TOKENS_PER_SEGMENT, sync_token % TOKENS_PER_SEGMENT
    return LATENTS_PER_SEGMENT * segment + SHOWN_STEP * part
