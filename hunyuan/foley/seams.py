"""Whether joins can be heard: the level on both sides, and how much the spectrum moves there.

The sound is listened to as it comes; two numbers are kept for each 10 ms. What a join is compared with is the
rest of the same sound: rain moves all the time, and a join in it may move as much.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .timed_prompts import clock
from .timing import SAMPLE_RATE

HOP = 0.01  # seconds from one look to the next; each looks at twice as much
BANDS = 24  # of which the spectrum is made, evenly spaced in pitch
LOWEST, HIGHEST = 100.0, 16_000.0  # Hz
SILENCE = 1e-10  # power that nobody hears: -100 dBFS

SIDE = 1.0  # seconds on each side of a join by which its level is judged
WIDE = 0.2  # seconds: a longer transition has a level of its own
NEAR = 0.02  # seconds on each side of a join in which it may click
USUAL = 95.0  # percentile of the movement elsewhere that a join may reach
ENOUGH = 20  # places elsewhere that it takes to say what is usual


@dataclass(frozen=True)
class Join:
    """Where two parts meet: from `start` to `end` (seconds) they sound together; at a cut both are the same.

    kind: what meets there, "window" or "shot".
    """

    start: float
    end: float
    kind: str = "window"


@dataclass(frozen=True)
class Seam:
    """What is heard at a join.

    jump:  dB between the levels before, during and after it, the larger step.
    flux:  dB by which the bands move within 10 ms, the most of all moments of the join.
    usual: what the most of as many moments elsewhere stays below in 95 of 100 places; None if there are none.
    """

    join: Join
    jump: float
    flux: float
    usual: float | None

    @property
    def is_smooth(self) -> bool:
        return self.usual is None or self.flux <= self.usual


@dataclass(frozen=True)
class SeamReport:
    """All joins of a sound."""

    seams: tuple[Seam, ...]

    @property
    def median_jump(self) -> float:
        """dB; 0 for a sound without joins."""
        return float(np.median([seam.jump for seam in self.seams])) if self.seams else 0.0

    @property
    def worst_jump(self) -> float:
        return max((seam.jump for seam in self.seams), default=0.0)

    @property
    def smooth_share(self) -> float:
        """Which part of the joins moves no more than the sound elsewhere; 1 for a sound without joins."""
        return float(np.mean([seam.is_smooth for seam in self.seams])) if self.seams else 1.0

    def of_kind(self, kind: str) -> "SeamReport":
        return SeamReport(tuple(seam for seam in self.seams if seam.join.kind == kind))

    def as_json(self) -> dict[str, Any]:
        """The same in plain numbers."""
        return {
            "median_jump_db": self.median_jump,
            "worst_jump_db": self.worst_jump,
            "smooth_share": self.smooth_share,
            "joins": [
                {
                    "start": seam.join.start,
                    "end": seam.join.end,
                    "kind": seam.join.kind,
                    "jump_db": seam.jump,
                    "flux_db": seam.flux,
                    "usual_flux_db": seam.usual,
                }
                for seam in self.seams
            ],
        }

    def as_text(self) -> str:
        """A line for each join, and one for all."""
        lines = [
            f"{clock(seam.join.start):>10} {seam.join.kind:<6} level {seam.jump:4.1f} dB,"
            f" flux {seam.flux:4.1f} of {'-' if seam.usual is None else f'{seam.usual:.1f}'} dB"
            for seam in self.seams
        ]
        total = (
            f"{len(self.seams)} joins: level {self.median_jump:.1f} dB median, {self.worst_jump:.1f} worst;"
            f" {self.smooth_share:.0%} move no more than the sound elsewhere"
        )
        return "\n".join([*lines, total if self.seams else "No joins."])


class SeamMeter:
    """Listens to a sound block by block; says afterwards what its joins are like."""

    def __init__(self, sample_rate: int = SAMPLE_RATE) -> None:
        self.hop = round(HOP * sample_rate)
        bins = np.geomspace(LOWEST, min(HIGHEST, sample_rate / 2), BANDS + 1) * 2 * HOP
        self.edges = np.unique(bins.astype(int))
        self.window = np.hanning(2 * self.hop + 1)[:-1].astype(np.float32)
        self.waiting = np.zeros(0, np.float32)
        self.last: np.ndarray | None = None  # the bands of the last look, dB
        self.powers: list[np.ndarray] = []
        self.fluxes: list[np.ndarray] = []

    def hear(self, samples: np.ndarray) -> None:
        """samples: (n,), the sound's next ones, mono."""
        self.waiting = np.concatenate([self.waiting, samples.astype(np.float32)])
        looks = len(self.waiting) // self.hop - 1
        if looks < 1:
            return
        parts = np.lib.stride_tricks.sliding_window_view(self.waiting, 2 * self.hop)[:: self.hop][:looks]
        self.powers.append(np.square(parts[:, : self.hop]).mean(axis=1))
        bands = self._bands(parts)
        before = bands[:1] if self.last is None else self.last
        self.fluxes.append(np.abs(np.diff(bands, axis=0, prepend=before)).mean(axis=1))
        self.last = bands[-1:]
        self.waiting = self.waiting[looks * self.hop :].copy()

    def report(self, joins: Sequence[Join]) -> SeamReport:
        """What the joins in the sound so far are like. Raises ValueError for one outside the sound."""
        power = np.concatenate(self.powers) if self.powers else np.zeros(0, np.float32)
        flux = np.concatenate(self.fluxes) if self.fluxes else np.zeros(0, np.float32)
        return SoundCourse(power, flux, tuple(joins)).report()

    def _bands(self, parts: np.ndarray) -> np.ndarray:
        """(looks, bands): level in dB."""
        spectra = np.square(np.abs(np.fft.rfft(parts * self.window)))
        sums = np.add.reduceat(spectra[:, : self.edges[-1]], self.edges[:-1], axis=1)
        return 10 * np.log10(sums / np.square(self.window.sum()) + SILENCE)


@dataclass(frozen=True)
class SoundCourse:
    """power, flux: (looks,), one for each HOP. A look at i is of the sound from i to i + 2 hops."""

    power: np.ndarray
    flux: np.ndarray
    joins: tuple[Join, ...]

    def report(self) -> SeamReport:
        return SeamReport(tuple(self._seam(join) for join in self.joins))

    def _seam(self, join: Join) -> Seam:
        end = len(self.power) * HOP
        if not 0 < join.start <= join.end < end:
            raise ValueError(
                f"There is no join from {clock(join.start)} to {clock(join.end)} in {end:.2f} s of sound."
            )
        first, last = self._moments(join)
        moments = last - first
        if moments not in self._known:
            self._known[moments] = self._usual(moments)
        return Seam(join, self._jump(join), float(self.flux[first:last].max()), self._known[moments])

    def _jump(self, join: Join) -> float:
        levels = [self._level(join.start - SIDE, join.start), self._level(join.end, join.end + SIDE)]
        if join.end - join.start >= WIDE:
            levels.insert(1, self._level(join.start, join.end))
        return float(np.abs(np.diff(levels)).max())

    def _level(self, start: float, end: float) -> float:
        """dB of what is heard most of the time: single events do not count."""
        part = self.power[max(0, round(start / HOP)) : max(1, round(end / HOP))]
        return float(10 * np.log10(np.median(part) + SILENCE))

    def _moments(self, join: Join) -> tuple[int, int]:
        first, last = round((join.start - NEAR) / HOP), round((join.end + NEAR) / HOP)
        return max(1, first - 1), min(last + 1, len(self.flux))

    def _usual(self, moments: int) -> float | None:
        """The percentile of the most of so many moments, wherever no join is near."""
        places = len(self.flux) - moments + 1
        if places < 1:
            return None
        highest = np.lib.stride_tricks.sliding_window_view(self.flux, moments).max(axis=1)
        free = np.lib.stride_tricks.sliding_window_view(self._is_free, moments).all(axis=1)
        elsewhere = highest[free]
        return float(np.percentile(elsewhere, USUAL)) if len(elsewhere) >= ENOUGH else None

    @cached_property
    def _known(self) -> dict[int, float | None]:
        """What is usual for so many moments: of a film's joins most are as long as each other."""
        return {}

    @cached_property
    def _is_free(self) -> np.ndarray:
        """Which moments belong to no join; the first one has none before it."""
        free = np.ones(len(self.flux), bool)
        free[:1] = False
        for join in self.joins:
            first, last = self._moments(join)
            free[first:last] = False
        return free
