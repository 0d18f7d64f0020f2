"""The room of a film: what is always there keeps its level when the picture cuts.

Shots are made apart from each other, and the rain of one may come out louder than that of the next. The floor
of the sound, below which it seldom falls, is measured on both sides of each cut, and the shot after it is
turned up or down as a whole. Where the floors are far apart the film has gone elsewhere: nothing is done.

The first seconds of what is made may be softer than all that follows. They do not say how loud a shot is, or
each shot of a film would be turned up further than the one before it; they have a gain of their own, with
which the floors meet at the cut, and from which it glides to that of the shot.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..foley.timing import SAMPLE_RATE

HOP = 0.05  # seconds for which one level is measured
FLOOR = 20.0  # percentile of the levels: events lie above it
SIDE = 3.0  # seconds on each side of a cut that say what the room is like there
EDGE = 2.0  # seconds beside a cut that do not, where the shot is long enough to go without
NEAR = 1.0  # seconds beside a cut in which the floors are to meet
GLIDE = 4.0  # seconds from the gain at the cut to that of the shot
MOST_AT_CUT = 6.0  # dB between them
SHORTEST = 0.5  # seconds: less says nothing
SAME_WORDS = 12.0  # dB between floors that are one room's, where the prompts on both sides are the same,
OTHER_WORDS = 6.0  # and where they are not
MOST = 12.0  # dB by which a shot is turned up or down
SILENT = -75.0  # dBFS: below this no room is heard
FADE = 0.01  # seconds over which the gain changes, centred on the cut


@dataclass(frozen=True)
class Floors:
    """dBFS near the beginning and the end of a shot, and at both; None where it is too short or silent."""

    first: float | None
    last: float | None
    at_start: float | None = None
    at_end: float | None = None


def floors_of(sound: np.ndarray, sample_rate: int = SAMPLE_RATE) -> Floors:
    """sound: (samples,), a shot's, mono; a memory-mapped one is read at both ends only."""
    side, edge, near = (round(seconds * sample_rate) for seconds in (SIDE, EDGE, NEAR))
    inner = sound[edge:-edge] if len(sound) >= 2 * edge + side else sound
    parts = inner[:side], inner[-side:], sound[:near], sound[-near:]
    return Floors(*(floor_of(part, sample_rate) for part in parts))


def floor_of(sound: np.ndarray, sample_rate: int = SAMPLE_RATE) -> float | None:
    """The level in dBFS of what is always there; None for what is too short or silent."""
    hop = round(HOP * sample_rate)
    if len(sound) < SHORTEST * sample_rate:
        return None
    hops = np.square(sound[: len(sound) // hop * hop].astype(np.float64)).reshape(-1, hop).mean(axis=1)
    level = float(10 * np.log10(np.percentile(hops, FLOOR) + 1e-12))
    return level if level > SILENT else None


def room_gains(floors: Sequence[Floors], prompts: Sequence[str]) -> list[float]:
    """dB by which each shot of a film is turned up so that the floors meet at its cuts. The first stays.

    prompts: what each shot is to sound like.
    """
    gains = [0.0] * len(floors)
    for i in range(1, len(floors)):
        apart = room_step(floors, prompts, i)
        if apart is not None:
            gains[i] = float(np.clip(gains[i - 1] + apart, -MOST, MOST))
    return gains


def cut_gains(floors: Sequence[Floors], prompts: Sequence[str], gains: Sequence[float]) -> list[float]:
    """dB by which each shot is turned up where it begins. gains: of the shots, from `room_gains`."""
    at_cuts = list(gains)
    for i in range(1, len(floors)):
        apart = difference(floors[i - 1].at_end, floors[i].at_start)
        if apart is not None and room_step(floors, prompts, i) is not None:
            apart += gains[i - 1] - gains[i]
            at_cuts[i] += float(np.clip(apart, -MOST_AT_CUT, MOST_AT_CUT))
    return at_cuts


def room_step(floors: Sequence[Floors], prompts: Sequence[str], shot: int) -> float | None:
    """dB by which the floor falls from the shot before to this one; None where that is another place."""
    apart = difference(floors[shot - 1].last, floors[shot].first)
    near = SAME_WORDS if prompts[shot - 1] == prompts[shot] else OTHER_WORDS
    return apart if apart is not None and abs(apart) <= near else None


def difference(before: float | None, after: float | None) -> float | None:
    """dB; None where one of both is not known."""
    return None if before is None or after is None else before - after


class GainCurve:
    """A film's gain over time: a short slope at each cut, a glide from there, and then the shot's own.

    offsets: the first sample of each shot, and the film's end. gains, at_cuts: dB of each shot, and where it
    begins. gain_db: by which all of it is turned up.
    """

    def __init__(
        self,
        offsets: Sequence[int],
        gains: Sequence[float],
        at_cuts: Sequence[float],
        sample_rate: int = SAMPLE_RATE,
        gain_db: float = 0.0,
    ) -> None:
        half, glide = (round(seconds * sample_rate) for seconds in (FADE / 2, GLIDE))
        self.places, decibels = [], []
        for (begin, end), gain, at_cut in zip(pairwise(offsets), gains, at_cuts, strict=True):
            self.places += [begin + half, max(begin + half, min(begin + glide, end - half)), end - half]
            decibels += [at_cut, gain, gain]
        self.levels = [10 ** ((gain + gain_db) / 20) for gain in decibels]

    def apply(self, first: int, samples: np.ndarray) -> np.ndarray:
        """Samples (channels, n) of the film, from its sample `first` on, at the film's level."""
        if all(level == 1 for level in self.levels):
            return samples
        curve = np.interp(np.arange(first, first + samples.shape[-1]), self.places, self.levels)
        return (samples * curve).astype(np.float32)
