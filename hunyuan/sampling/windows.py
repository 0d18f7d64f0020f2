"""Sliding windows over long latents: where they lie, how they are blended, in which order they may run.

Neighbouring windows share an overlap, in which smooth weights that sum to one go from the one to the other.
Blending after every step joins the windows while they are still noise, so that they agree on one sound
(MultiDiffusion, arXiv:2302.08113). Every length here is a number of latent frames, `n`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .solvers import Velocity

FINEST = 1 << 20  # weights are multiples of its inverse: in float32, too, they sum to exactly one


@dataclass(frozen=True, kw_only=True)
class WindowGrid:
    """What a plan of windows is made of, in latent frames.

    stride:   from one window's start to the next.
    overlap:  that a window has in common with the next one.
    tail:     a rest shorter than this joins the last window.
    shortest: a last window that would be shorter than this begins earlier, and what is too early of it does
              not count.
    step:     that earlier beginning lies on a multiple of this.
    """

    stride: int
    overlap: int
    tail: int
    shortest: int
    step: int

    def __post_init__(self) -> None:
        # A last window that is longer than this would meet the window before its neighbour.
        most = self.stride - self.overlap + self.tail
        if not 0 <= self.overlap <= self.tail or self.shortest + self.step - 1 > most:
            raise ValueError(
                f"No windows every {self.stride} latent frames with an overlap of {self.overlap}: that"
                f" lies in 0..{self.tail}, and the shortest window, {self.shortest}, meets one neighbour."
            )


@dataclass(frozen=True)
class Window:
    """A part [start, stop) of the latents that the model sees at once; it counts from `first` on."""

    start: int
    stop: int
    first: int

    @property
    def length(self) -> int:
        return self.stop - self.start


def plan_windows(length: int, grid: WindowGrid) -> list[Window]:
    """Windows that cover `length` latent frames, each overlapping none but its neighbours.

    Raises: ValueError if there is nothing to cover.
    """
    if length < 1:
        raise ValueError(f"{length} latent frames cannot be covered by windows: there must be at least 1.")
    last = max(0, (length - grid.tail) // grid.stride)
    starts = [k * grid.stride for k in range(last + 1)]
    windows = [Window(start, start + grid.stride + grid.overlap, start) for start in starts[:-1]]
    start = first = starts[-1]
    if length - first < grid.shortest:
        start = min(first, max(0, (length - grid.shortest) // grid.step * grid.step))
    return [*windows, Window(start, length, first)]


def rise(length: int) -> Tensor:
    """(length,) float32 from 0 to 1 as a raised cosine, taken at the middles of the frames."""
    middles = (torch.arange(length, dtype=torch.float64) + 0.5) / max(1, length)
    return ((torch.sin(middles * (math.pi / 2)).square() * FINEST).round() / FINEST).float()


class Blend:
    """The windows' weights, a smooth partition of unity, and sums of what the windows say.

    weights: for each window (its length,), float32.
    """

    def __init__(self, windows: Sequence[Window]) -> None:
        self.windows = windows
        self.weights = [self._weights(index) for index in range(len(windows))]

    def _weights(self, index: int) -> Tensor:
        window = self.windows[index]
        weights = torch.ones(window.length)
        weights[: window.first - window.start] = 0
        if index > 0:
            shared = self.windows[index - 1].stop - window.first
            weights[window.first - window.start :][:shared] = rise(shared)
        if index + 1 < len(self.windows):
            shared = window.stop - self.windows[index + 1].first
            weights[window.length - shared :] = 1 - rise(shared)
        return weights

    def over(self, index: int, part_of: Callable[[int], Tensor], *, until: int | None = None) -> Tensor:
        """What a window and its neighbours say together, over that window.

        part_of: window index -> (b, c, that window's length).
        until:   the last window that is asked; what the next one counts in is then not complete.
        """
        window = self.windows[index]
        total = torch.zeros_like(part_of(index))
        last = min(len(self.windows) - 1, index + 1 if until is None else until)
        for other in range(max(0, index - 1), last + 1):
            start = max(window.start, self.windows[other].start)
            stop = min(window.stop, self.windows[other].stop)
            if start < stop:
                there = slice(start - self.windows[other].start, stop - self.windows[other].start)
                weighted = part_of(other)[..., there] * self.weights[other][there].to(total)
                total[..., start - window.start : stop - window.start] += weighted
        return total

    def whole(self, parts: Sequence[Tensor]) -> Tensor:
        """What all windows say together: (b, c, its length) each -> (b, c, n)."""
        total = parts[0].new_zeros((*parts[0].shape[:-1], self.windows[-1].stop))
        for window, part, weights in zip(self.windows, parts, self.weights, strict=True):
            total[..., window.start : window.stop] += part * weights.to(total)
        return total


class JointVelocity:
    """The velocity of long latents from those of their windows, for a loop that holds all of them."""

    def __init__(self, windows: Sequence[Window], velocities: Sequence[Velocity]) -> None:
        self.blend, self.velocities = Blend(windows), velocities

    def __call__(self, latents: Tensor, sigma: float) -> Tensor:
        """latents: (b, c, n). Returns the same shape."""
        pairs = zip(self.blend.windows, self.velocities, strict=True)
        return self.blend.whole(
            [velocity(latents[..., window.start : window.stop], sigma) for window, velocity in pairs]
        )


def wavefront(num_windows: int, steps: int) -> Iterator[tuple[int, int]]:
    """Every (window, step), as soon as the window and its neighbours have run the step before.

    What is in work at a time is a band of at most `steps` windows, however many there are. Between two of
    them no result is needed that is older than the last two steps of its window.
    """
    for front in range(num_windows + steps - 1):
        for step in range(max(0, front - num_windows + 1), min(front + 1, steps)):
            yield front - step, step
