"""What is behind and around: wall and floor, a camera that may move, light."""

import numpy as np

from .painting import Canvas

MARGIN = 0.12  # picture heights around the picture into which the camera may look
FLOOR_RANGE = (0.78, 0.88)


class Backdrop:
    """One room, drawn from a random generator."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.floor = float(rng.uniform(*FLOOR_RANGE))  # y where the wall ends
        self.wall = muted(rng, 0.35, 0.75)
        self.wall_pattern = str(rng.choice(["plain", "stripes", "tiles", "blots"]))
        self.wall_scale, self.wall_phase = rng.uniform(14, 40), rng.uniform(0, 6.28, 3)
        self.ground = muted(rng, 0.2, 0.5)
        self.light = rng.uniform(0.65, 1.1) * (1 + rng.uniform(-0.08, 0.08, 3))
        self.light_slope = rng.uniform(-0.25, 0.25, 2)
        moves = rng.uniform() < 0.5
        self.sway = rng.uniform(0.01, 0.05, 2) * moves  # picture heights
        self.sway_rate = rng.uniform(0.3, 1.6, 2)  # radians per second
        self.sway_phase = rng.uniform(0, 6.28, 2)
        self.trembling = rng.uniform(0, 0.0015) * moves

    def camera(self, time: float) -> tuple[float, float]:
        """Where the camera is, (x, y)."""
        sway = self.sway * np.sin(self.sway_rate * time + self.sway_phase)
        trembling = self.trembling * np.sin(np.array([11.0, 13.0]) * time + self.sway_phase)
        x, y = sway + trembling
        return float(x), float(y)

    def painter(self, height: int, width: int) -> "BackdropPainter":
        return BackdropPainter(self, height, width)

    def colour(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(h, w, 3) of wall and floor at x (1, w), y (h, 1)."""
        on_floor = np.clip((y - self.floor) * 200 + 0.5, 0, 1)[..., None]
        wall = self.wall * self._pattern(x, y)[..., None]
        ground = self.ground * (0.9 + 0.5 * (y - self.floor))[..., None]
        return wall + on_floor * (ground - wall)

    def _pattern(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        scale, (a, b, c) = self.wall_scale, self.wall_phase
        across, down = np.sin(scale * x + a), np.sin(scale * y + b)
        if self.wall_pattern == "stripes":
            return 1 + 0.1 * across + 0 * y
        if self.wall_pattern == "tiles":
            return 1 - 0.15 * np.maximum(np.abs(across) ** 20, np.abs(down) ** 20)
        if self.wall_pattern == "blots":
            return 1 + 0.12 * np.sin(0.4 * scale * x + 2 * down + c) * np.sin(0.3 * scale * y + a)
        return 1 + 0.1 * (y - 0.5) + 0 * x


class BackdropPainter:
    """A backdrop at one size: painted once, then only moved."""

    def __init__(self, backdrop: Backdrop, height: int, width: int) -> None:
        self.backdrop, self.shape, self.margin = backdrop, (height, width), int(MARGIN * height) + 2
        wide = np.zeros((height + 2 * self.margin, width + 2 * self.margin, 3), np.float32)
        canvas = Canvas(wide, (0.0, 0.0))
        # The wide canvas measures in its own height; in picture heights its pixels lie here:
        x = canvas.x * wide.shape[0] / height
        y = (np.arange(wide.shape[0])[:, None] + 0.5 - self.margin) / height
        self.picture = backdrop.colour(x, y).astype(np.float32)
        across, down = np.linspace(-1, 1, width)[None, :, None], np.linspace(-1, 1, height)[:, None, None]
        slope = 1 + backdrop.light_slope[0] * across + backdrop.light_slope[1] * down
        self.light = (backdrop.light * slope).astype(np.float32)

    def canvas(self, time: float) -> Canvas:
        """An empty room at this time."""
        height, width = self.shape
        x, y = self.backdrop.camera(time)
        column, right = split(x * height + self.margin)
        row, down = split(y * height + self.margin)
        part = self.picture[row : row + height + 1, column : column + width + 1]
        part = part[:-1] + np.float32(down) * (part[1:] - part[:-1])
        part = part[:, :-1] + np.float32(right) * (part[:, 1:] - part[:, :-1])
        return Canvas(part, (x, y))

    def finish(self, canvas: Canvas) -> np.ndarray:
        """The picture in this room's light: (h, w, 3) uint8."""
        return (np.clip(canvas.pixels * self.light, 0, 1) * 255 + 0.5).astype(np.uint8)


def split(value: float) -> tuple[int, float]:
    """The whole number below, and the rest."""
    whole = int(np.floor(value))
    return whole, value - whole


def muted(rng: np.random.Generator, low: float, high: float) -> np.ndarray:
    """A greyish colour of this brightness."""
    return (rng.uniform(low, high) * (1 + rng.uniform(-0.14, 0.14, 3))).astype(np.float32)
