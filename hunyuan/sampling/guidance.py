"""Classifier-free guidance with a scale for each modality.

The branches form a chain, each adding one modality to the one before: nothing, video, sync, text. The guided
velocity is v0 + g_video (v_video - v0) + g_sync (v_sync - v_video) + g_text (v_text - v_sync).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor


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
