"""How things sound: struck bodies as decaying modes with a burst of noise, rain and rooms as shaped noise.

Every sound can be had from any sample on, so that a part of a scene costs only that part.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

SAMPLE_RATE = 48_000  # Hz
LONGEST = int(1.6 * SAMPLE_RATE)  # samples until the longest ringing is cut off
FADE = int(0.02 * SAMPLE_RATE)  # samples at the end of a strike
ATTACK = 16  # samples: a third of a millisecond
NOISE_SAMPLES = 1 << 13  # of a strike's burst
TOP = 18_000.0  # Hz: nothing sounds above it
AIR = 11_000.0  # Hz above which a thing at a distance of 1 is heard softer
SOFT = 0.9  # octaves' exponent by which a soft strike is duller than a hard one


@dataclass(frozen=True, kw_only=True)
class Body:
    """A material as it rings.

    pitch:       Hz, range of the lowest mode.
    ratios:      of the modes to the lowest.
    decay:       seconds in which the lowest mode falls to 1/e.
    damping:     exponent by which higher modes fall faster.
    tilt:        exponent by which higher modes are softer.
    noise:       level of the burst against the modes.
    band:        Hz, lower and upper end of the burst.
    noise_decay: seconds in which the burst falls to 1/e.
    grains:      little bursts after the first, as when gravel gives way.
    """

    pitch: tuple[float, float]
    ratios: tuple[float, ...]
    decay: float
    damping: float
    tilt: float
    noise: float
    band: tuple[float, float]
    noise_decay: float
    grains: int = 0


BODIES: Mapping[str, Body] = MappingProxyType(
    {
        "wood": Body(
            pitch=(340, 560), ratios=(1, 1.57, 2.31, 3.02, 3.9, 4.86), decay=0.038, damping=0.5, tilt=0.5,
            noise=0.5, band=(700, 3500), noise_decay=0.006,
        ),
        "metal": Body(
            pitch=(620, 1100), ratios=(1, 1.51, 2.32, 2.75, 3.63, 4.51, 5.43, 6.79, 8.2, 9.7), decay=0.24,
            damping=0.35, tilt=0.15, noise=0.35, band=(2500, 12000), noise_decay=0.004,
        ),
        "rubber": Body(
            pitch=(85, 135), ratios=(1, 1.83, 2.71), decay=0.055, damping=0.4, tilt=0.9, noise=0.3,
            band=(120, 900), noise_decay=0.012,
        ),
        "glass": Body(
            pitch=(1500, 2300), ratios=(1, 1.47, 2.09, 2.56, 3.24, 4.1), decay=0.09, damping=0.3, tilt=0.2,
            noise=0.35, band=(6000, 16000), noise_decay=0.003,
        ),
        "gravel": Body(
            pitch=(300, 400), ratios=(), decay=0.01, damping=0, tilt=0, noise=1.0, band=(1800, 9000),
            noise_decay=0.004, grains=90,
        ),
    }
)  # fmt: skip
GRAINS_DECAY = 0.05  # seconds in which gravel comes to rest
PITCHES = {"ball": 1.0, "hammer": 0.85, "footsteps": 0.6, "door": 0.45}  # what is larger is lower
LEVELS = {"ball": 0.4, "hammer": 0.5, "footsteps": 0.36, "door": 0.5}  # peak of the hardest strike nearby


class Strikes:
    """The sounds of one thing that is struck again and again."""

    def __init__(self, kind: str, material: str, distance: float, rng: np.random.Generator) -> None:
        """distance: 1 is near."""
        self.body = body = BODIES[material]
        pitch = rng.uniform(*body.pitch) * (PITCHES[kind] if body.ratios else 1.0)
        self.ratios = np.array(body.ratios) * rng.uniform(0.985, 1.015, len(body.ratios))
        self.pitches = pitch * self.ratios
        decays = body.decay * PITCHES[kind] ** -0.3 * self.ratios**-body.damping
        seconds = np.arange(LONGEST if body.decay > 0.1 else LONGEST // 3, dtype=np.float32) / SAMPLE_RATE
        self.samples = len(seconds)
        self.modes = np.sin(np.outer(2 * np.pi * self.pitches, seconds).astype(np.float32)) * np.exp(
            np.outer(-1 / decays, seconds).astype(np.float32)
        )  # (modes, samples)
        self.gain = LEVELS[kind] / distance
        self.distance = distance
        self.seed = int(rng.integers(1 << 62))

    def strike(self, strength: float, number: int) -> np.ndarray:
        """(samples,): the `number`th strike."""
        rng = np.random.default_rng([self.seed, number])
        sound = self._ring(strength, rng)
        burst = self._burst(strength, rng)
        sound[: len(burst)] += self.body.noise * burst
        sound *= self.gain * strength / np.abs(sound[: SAMPLE_RATE // 20]).max()
        sound[:ATTACK] *= np.linspace(0, 1, ATTACK, dtype=np.float32)
        sound[-FADE:] *= np.linspace(1, 0, FADE, dtype=np.float32)
        return sound

    def _ring(self, strength: float, rng: np.random.Generator) -> np.ndarray:
        if not len(self.ratios):
            return np.zeros(self.samples, np.float32)
        levels = self.ratios ** -(self.body.tilt + SOFT * (1 - strength)) * far(self.pitches, self.distance)
        levels *= rng.uniform(0.7, 1.3, len(levels)) * (self.pitches < TOP)
        return (levels / levels.sum()).astype(np.float32) @ self.modes

    def _burst(self, strength: float, rng: np.random.Generator) -> np.ndarray:
        """(NOISE_SAMPLES,), its peak at 1."""
        low, high = self.body.band
        band = (low, high * (0.5 + 0.5 * strength))
        noise = shaped_noise(rng, NOISE_SAMPLES, band_pass(band, NOISE_SAMPLES, self.distance))
        seconds = np.arange(NOISE_SAMPLES) / SAMPLE_RATE
        burst = noise * np.exp(-seconds / self.body.noise_decay)
        if self.body.grains:
            burst = np.convolve(burst[: SAMPLE_RATE // 50], self._grains(rng))[:NOISE_SAMPLES]
        return (burst / np.abs(burst).max()).astype(np.float32)

    def _grains(self, rng: np.random.Generator) -> np.ndarray:
        """When the little bursts come, and how strong: the first at once, and strongest."""
        grains = np.zeros(NOISE_SAMPLES)
        times = rng.exponential(GRAINS_DECAY, self.body.grains)
        places = (times[times < 0.15] * SAMPLE_RATE).astype(int)
        grains[places] = rng.uniform(-0.5, 0.5, len(places)) * np.exp(-places / SAMPLE_RATE / 0.06)
        grains[0] = 1.5
        return grains


# --- noise --------------------------------------------------------------------------------------------------


def far(frequencies: np.ndarray, distance: float) -> np.ndarray:
    """How much of each frequency (Hz) the air leaves."""
    return 1 / (1 + (frequencies * distance / AIR) ** 2)


def band_pass(band: tuple[float, float], samples: int, distance: float = 1.0) -> np.ndarray:
    """Levels of the frequencies of a Fourier transform over `samples`: flat in the band, falling off it."""
    frequencies = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    below = 1 / (1 + (band[0] / np.maximum(frequencies, 1)) ** 4)
    return below / (1 + (frequencies / band[1]) ** 4) * far(frequencies, distance) * (frequencies < TOP)


def shaped_noise(rng: np.random.Generator, samples: int, levels: np.ndarray) -> np.ndarray:
    """(samples,) of Gaussian noise with this spectrum and an RMS of 1."""
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(samples)) * levels, samples)
    return noise / np.sqrt(np.mean(noise**2))


@dataclass(frozen=True)
class SteadyNoise:
    """Endless noise of RMS 1, in blocks that fade into one another, so that any part can be had alone."""

    band: tuple[float, float]
    seed: int

    BLOCK = 1 << 15  # samples; each begins halfway through the one before

    def part(self, first: int, samples: int) -> np.ndarray:
        """(samples,) from the sample `first` on, which may be negative."""
        hop = self.BLOCK // 2
        levels = band_pass(self.band, self.BLOCK)
        fade = np.sin(np.pi * (np.arange(self.BLOCK) + 0.5) / self.BLOCK)  # equal power, not equal gain
        sound = np.zeros(samples, np.float32)
        for number in range(first // hop - 1, (first + samples - 1) // hop + 1):
            rng = np.random.default_rng([self.seed, number % (1 << 32)])
            block = (shaped_noise(rng, self.BLOCK, levels) * fade).astype(np.float32)
            place(sound, block, number * hop - first)
        return sound


def place(sound: np.ndarray, piece: np.ndarray, first: int) -> None:
    """Add a piece that begins at the sample `first`, or as much of it as lies within the sound."""
    skip = max(0, -first)
    target = sound[first + skip : first + len(piece)] if first + len(piece) > 0 else sound[:0]
    target += piece[skip : skip + len(target)]


def limit(sound: np.ndarray, ceiling: float) -> np.ndarray:
    """Softly kept below the ceiling, sample by sample."""
    return (ceiling * np.tanh(sound / ceiling)).astype(np.float32)
