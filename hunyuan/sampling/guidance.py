"""Classifier-free guidance with a scale for each modality.

The branches form a chain, each adding one modality to the one before: nothing, video, sync, text. The guided
velocity is v0 + g_video (v_video - v0) + g_sync (v_sync - v_video) + g_text (v_text - v_sync).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

ALWAYS = (0.0, math.inf)  # noise levels at which guidance acts: all, also a 1 that rounding made larger
NEVER = (math.inf, 0.0)
BORDER = 1e-4  # share of the sampling, less than any step: a step that begins where guidance ends has none


@dataclass(frozen=True, kw_only=True)
class GuidanceScales:
    """How far to go beyond the unguided velocity. Equal scales are the published single guidance scale."""

    text: float
    video: float
    sync: float

    @classmethod
    def all(cls, scale: float) -> "GuidanceScales":
        return cls(text=scale, video=scale, sync=scale)

    @property
    def chain(self) -> tuple[float, float, float]:
        """The scale of each link, in the chain's order."""
        return self.video, self.sync, self.text


def guidance_interval(
    start: float, end: float, level_at: Callable[[float], float] = lambda share: 1 - share
) -> tuple[float, float]:
    """The noise levels (low, high) of a part of the sampling, in which alone guidance acts.

    Outside of it the last branch runs by itself: half the work for the published guidance, and in the last
    part of the sampling often the better sound (arXiv:2404.07724).

    start, end: shares of the sampling, 0..1, as ComfyUI's ConditioningSetTimestepRange has them. A step that
                begins at `start` is guided, one that begins at `end` is not.
    level_at:   share -> noise level, where they are not evenly spaced.
    Raises: ValueError for anything else.
    """
    if not 0 <= start <= end <= 1:
        raise ValueError(
            f"Guidance from {start:g} to {end:g} of the sampling does not work: both lie in 0..1, and it does"
            " not end before it begins."
        )
    if start == end:
        return NEVER
    low = ALWAYS[0] if end == 1 else level_at(end - BORDER)
    high = ALWAYS[1] if start == 0 else level_at(start - BORDER)
    return low, high


def needed_branches(links: Sequence[float]) -> list[int]:
    """Which branches of the chain the guided velocity depends on; branch i + 1 is reached by link i.

    Equal links need nothing between them, so equal scales leave the published two passes.
    As trained: one common scale of 1 or less means no guidance, the last branch alone.
    """
    if len(set(links)) == 1 and links[0] <= 1:
        return [len(links)]
    weights = [before - after for before, after in zip((1.0, *links), (*links, 0.0), strict=True)]
    return [i for i, weight in enumerate(weights) if weight != 0]


def combine(
    branches: Sequence[int], velocities: Iterator[Tensor] | Sequence[Tensor], links: Sequence[float]
) -> Tensor:
    """The guided velocity from the branches that `needed_branches` named, in that order."""
    velocities = iter(velocities)
    previous = total = next(velocities)
    for branch, velocity in zip(branches[1:], velocities, strict=True):
        total = total + links[branch - 1] * (velocity - previous)
        previous = velocity
    return total
