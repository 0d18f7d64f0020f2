"""The room of a film: what is always there keeps its level when the picture cuts.

Shots are made apart from each other, and the rain of one may come out louder than that of the next. The floor
of the sound, below which it seldom falls, is measured on both sides of each cut, and the shot after it is
turned up or down as a whole. Where the floors are far apart the film has gone elsewhere: nothing is done.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..foley.timing import SAMPLE_RATE

HOP = 0.05  # seconds for which one level is measured
FLOOR = 20.0  # percentile of the levels: events lie above it
SIDE = 3.0  # seconds on each side of a cut that say what the room is like there
SHORTEST = 0.5  # seconds: less says nothing
SAME_WORDS = 12.0  # dB between floors that are one room's, where the prompts on both sides are the same,
OTHER_WORDS = 6.0  # and where they are not
MOST = 12.0  # dB by which a shot is turned up or down
SILENT = -75.0  # dBFS: below this no room is heard
FADE = 0.01  # seconds over which the gain changes, centred on the cut


@dataclass(frozen=True)
class Floors:
    """dBFS at the beginning and at the end of a shot; None where it is too short or silent."""

    first: float | None
    last: float | None


def floors_of(sound: np.ndarray, sample_rate: int = SAMPLE_RATE) -> Floors:
    """sound: (samples,), a shot's, mono; a memory-mapped one is read at both ends only."""
    side = round(SIDE * sample_rate)
    return Floors(floor_of(sound[:side], sample_rate), floor_of(sound[-side:], sample_rate))


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
        before, after = floors[i - 1].last, floors[i].first
        if before is not None and after is not None:
            apart = before - after
            near = SAME_WORDS if prompts[i - 1] == prompts[i] else OTHER_WORDS
            if abs(apart) <= near:
                gains[i] = float(np.clip(gains[i - 1] + apart, -MOST, MOST))
    return gains


class GainCurve:
    """A film's gain over time: a shot's own, with a short slope at each cut.

    offsets: the first sample of each shot. gains: dB of each shot.
    """

    def __init__(
        self, offsets: Sequence[int], gains: Sequence[float], sample_rate: int = SAMPLE_RATE
    ) -> None:
        half = round(FADE * sample_rate / 2)
        self.places = [offsets[0], *(at + side for at in offsets[1:] for side in (-half, half))]
        levels = [10 ** (gain / 20) for gain in gains]
        self.levels = [
            levels[0],
            *(level for pair in pairwise(levels) for level in pair),
        ]

    def apply(self, first: int, samples: np.ndarray) -> np.ndarray:
        """Samples (channels, n) of the film, from its sample `first` on, at the film's level."""
        if all(level == 1 for level in self.levels):
            return samples
        curve = np.interp(np.arange(first, first + samples.shape[-1]), self.places, self.levels)
        return (samples * curve).astype(np.float32)
