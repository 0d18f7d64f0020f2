"""Where a thing is at any time: paths put together from cubic pieces.

A path has one value, such as an angle, or two, x and y. Lengths are picture heights, times are seconds.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


class Path:
    """Grows piece by piece; before its beginning and after its end it stands still."""

    def __init__(self, at: ArrayLike, start: float = 0.0) -> None:
        self.end = start
        self.position = np.atleast_1d(np.asarray(at, float))
        self.starts: list[float] = []
        self.pieces: list[np.ndarray] = []  # (4, values): coefficients of 1, t, t^2, t^3
        self.hold(0.0)

    def __call__(self, time: float) -> np.ndarray:
        """(values,) at a time."""
        piece = max(0, int(np.searchsorted(self.starts, time, side="right")) - 1)
        t = max(0.0, min(time, self.end) - self.starts[piece])
        return np.array([1.0, t, t * t, t * t * t]) @ self.pieces[piece]

    def hold(self, seconds: float) -> "Path":
        """Stand still."""
        return self._add([self.position], seconds)

    def hold_until(self, time: float) -> "Path":
        return self.hold(time - self.end)

    def glide(self, to: ArrayLike, seconds: float) -> "Path":
        """Move from rest to rest."""
        way = np.atleast_1d(to) - self.position
        still = np.zeros_like(way)
        return self._add([self.position, still, 3 * way / seconds**2, -2 * way / seconds**3], seconds)

    def strike(self, to: ArrayLike, seconds: float) -> "Path":
        """Move from rest, ever faster, and stop dead."""
        way = np.atleast_1d(to) - self.position
        return self._add([self.position, np.zeros_like(way), way / seconds**2], seconds)

    def fly(self, velocity: ArrayLike, acceleration: ArrayLike, seconds: float) -> "Path":
        """Move with a velocity at first, under a constant acceleration."""
        return self._add([self.position, np.asarray(velocity), np.asarray(acceleration) / 2], seconds)

    def _add(self, coefficients: Sequence[np.ndarray], seconds: float) -> "Path":
        piece = np.zeros((4, len(self.position)))
        piece[: len(coefficients)] = coefficients
        self.starts.append(self.end)
        self.pieces.append(piece)
        self.end += max(0.0, seconds)
        self.position = self(self.end)
        return self
