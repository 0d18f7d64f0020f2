"""A picture and the shapes painted on it, with smooth edges.

World coordinates: y runs from 0 at the top of the picture to 1 at its bottom, x from its middle to the right
in the same unit, so that a wide picture shows more of the same scene.

Axes: h w height and width, of the picture or of a shape's box; the last axis is RGB in [0, 1].
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Colour = Sequence[float] | np.ndarray
Shade = Callable[[np.ndarray, np.ndarray], np.ndarray]  # x (1, w), y (h, 1) -> (h, w, 3)


class Shape(Protocol):
    """box: left, top, right, bottom."""

    @property
    def box(self) -> tuple[float, float, float, float]: ...

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(h, w): to the edge, negative inside."""
        ...


class Canvas:
    """The picture that a camera, moved by (x, y), sees. pixels: (h, w, 3) float32, painted in place."""

    def __init__(self, pixels: np.ndarray, camera: tuple[float, float]) -> None:
        self.pixels = pixels
        self.height, self.width = pixels.shape[:2]
        left, top = camera[0] - self.width / self.height / 2, camera[1]
        self.left, self.top = left, top
        self.x = ((np.arange(self.width) + 0.5) / self.height + left).astype(np.float32)[None, :]
        self.y = ((np.arange(self.height) + 0.5) / self.height + top).astype(np.float32)[:, None]

    def paint(self, shape: Shape, colour: Colour | Shade, opacity: float = 1.0) -> None:
        """Cover what is inside the shape. colour: one, or one for each place."""
        left, top, right, bottom = shape.box
        columns = self._range(left - self.left, right - self.left, self.width)
        rows = self._range(top - self.top, bottom - self.top, self.height)
        x, y = self.x[:, columns], self.y[rows]
        if not x.size or not y.size:
            return
        covered = np.clip(0.5 - shape.distance(x, y) * self.height, 0, 1)[..., None] * opacity
        patch = self.pixels[rows, columns]
        patch += covered * ((colour(x, y) if callable(colour) else np.asarray(colour, np.float32)) - patch)

    def lines(self, x: np.ndarray, y: np.ndarray, length: float, slant: float, gain: float) -> None:
        """Short bright lines downwards from the points (n,); slant: x per y."""
        steps = np.arange(max(2, round(length * self.height)))[:, None] / self.height
        columns = np.floor((x + slant * steps - self.left) * self.height).astype(int)
        rows = np.floor((y + steps - self.top) * self.height).astype(int)
        inside = (columns >= 0) & (columns < self.width) & (rows >= 0) & (rows < self.height)
        places = rows[inside], columns[inside]
        self.pixels[places] += gain * (1 - self.pixels[places])

    def _range(self, low: float, high: float, limit: int) -> slice:
        first, last = int(low * self.height) - 1, int(high * self.height) + 2
        return slice(max(0, first), max(0, min(limit, last)))


@dataclass(frozen=True)
class Ellipse:
    x: float
    y: float
    wide: float  # half its width
    high: float  # half its height

    @property
    def box(self) -> tuple[float, float, float, float]:
        return self.x - self.wide, self.y - self.high, self.x + self.wide, self.y + self.high

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        radius = np.sqrt(((x - self.x) / self.wide) ** 2 + ((y - self.y) / self.high) ** 2)
        return (radius - 1) * min(self.wide, self.high)


@dataclass(frozen=True)
class Bar:
    """A line from one point to another, thick and with round ends."""

    x0: float
    y0: float
    x1: float
    y1: float
    radius: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        left, right = sorted((self.x0, self.x1))
        top, bottom = sorted((self.y0, self.y1))
        return left - self.radius, top - self.radius, right + self.radius, bottom + self.radius

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        wide, high = self.x1 - self.x0, self.y1 - self.y0
        along = ((x - self.x0) * wide + (y - self.y0) * high) / max(wide * wide + high * high, 1e-12)
        along = np.clip(along, 0, 1)
        return np.hypot(x - self.x0 - along * wide, y - self.y0 - along * high) - self.radius


@dataclass(frozen=True)
class Box:
    left: float
    top: float
    right: float
    bottom: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        return self.left, self.top, self.right, self.bottom

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.maximum(
            np.maximum(self.left - x, x - self.right), np.maximum(self.top - y, y - self.bottom)
        )


@dataclass(frozen=True)
class Leaf:
    """A door: two upright edges of different heights, as one sees a turned rectangle."""

    x0: float
    top0: float
    bottom0: float
    x1: float
    top1: float
    bottom1: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        return (
            min(self.x0, self.x1), min(self.top0, self.top1), max(self.x0, self.x1),
            max(self.bottom0, self.bottom1),
        )  # fmt: skip

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        along = (x - self.x0) / (self.x1 - self.x0 or 1e-6)
        top = self.top0 + along * (self.top1 - self.top0)
        bottom = self.bottom0 + along * (self.bottom1 - self.bottom0)
        left, _, right, _ = self.box
        return np.maximum(np.maximum(left - x, x - right), np.maximum(top - y, y - bottom))
