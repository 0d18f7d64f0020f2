"""What has no impacts: rain, and things that move without a sound."""

import numpy as np

from .motion import Path
from .painting import Bar, Canvas, Ellipse
from .synthesis import SteadyNoise

DROPS = 420  # streaks in the picture at a density of 1
LOUDEST = 0.1  # RMS of the densest rain
RAIN_BAND = (500.0, 9000.0)  # Hz
SHADE = 0.25  # how much light the densest rain takes
THIN, DENSE = 0.07, 1.0


class Rain:
    """Streaks, as many as the rain is dense, and a sound as loud as it is dense. It may change on the way."""

    def __init__(self, seconds: float, densest: float, rng: np.random.Generator) -> None:
        level = THIN * (densest / THIN) ** rng.uniform()
        other = THIN * (densest / THIN) ** rng.uniform() if rng.uniform() < 0.4 else level
        turn, change = rng.uniform(0.2, 0.6) * seconds, rng.uniform(0.5, 2.5)
        self.densities = Path(level).hold(turn).glide(other, change)
        self.x, self.rank = rng.uniform(-1.2, 1.2, DROPS * 2), rng.uniform(0, 1, DROPS * 2)
        self.phase, self.speed = rng.uniform(0, 1.2, DROPS * 2), rng.uniform(1.6, 2.4, DROPS * 2)
        self.slant, self.length = rng.uniform(-0.15, 0.15), rng.uniform(0.06, 0.1)
        self.noise = SteadyNoise(RAIN_BAND, int(rng.integers(1 << 62)))

    def density(self, time: float) -> float:
        return float(self.densities(time)[0])

    def paint(self, canvas: Canvas, time: float) -> None:
        density = self.density(time)
        canvas.pixels *= 1 - SHADE * density
        fallen = (self.phase + self.speed * time) % 1.2 - 0.1
        seen = self.rank < density
        canvas.lines((self.x + self.slant * fallen)[seen], fallen[seen], self.length, self.slant, 0.6)

    def sound(self, first: int, samples: int, sample_rate: int) -> np.ndarray:
        """(samples,) from the sample `first` on."""
        knots = np.arange(first // 480, (first + samples) // 480 + 2)
        levels = [self.density(knot * 480 / sample_rate) for knot in knots]
        envelope = np.interp(np.arange(first, first + samples), knots * 480, levels)
        return (LOUDEST * envelope * self.noise.part(first, samples)).astype(np.float32)


class Drifter:
    """A balloon or a cloud that floats by, or nothing at all: what is seen of silence."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.form = str(rng.choice(["balloon", "cloud", "nothing"]))
        self.colour = rng.uniform(0.4, 0.95, 3)
        self.size = rng.uniform(0.07, 0.12)
        self.middle = rng.uniform(-0.15, 0.15), rng.uniform(0.3, 0.5)
        self.reach = rng.uniform(0.05, 0.2), rng.uniform(0.03, 0.12)
        self.rate, self.phase = rng.uniform(0.5, 1.4, 2), rng.uniform(0, 6.28, 2)

    def paint(self, canvas: Canvas, time: float) -> None:
        x, y = np.array(self.middle) + self.reach * np.sin(self.rate * time + self.phase)
        size = self.size
        if self.form == "balloon":
            canvas.paint(Bar(x, y + 1.2 * size, x + 0.01, y + 3 * size, 0.004), (0.9, 0.9, 0.9))
            canvas.paint(Ellipse(x, y, size, 1.2 * size), self.colour)
        elif self.form == "cloud":
            for step in (-0.9, 0.0, 0.9):
                canvas.paint(Ellipse(x + step * size, y, 0.9 * size, 0.6 * size), (0.9, 0.9, 0.92), 0.8)
