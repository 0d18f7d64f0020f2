"""Where the parts of a film's sound meet, and whether that can be heard."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ..foley.seams import Join, SeamMeter, SeamReport
from ..foley.timing import LATENT_RATE, SAMPLE_RATE
from .plan import FilmPlan
from .sound import FADE

AFTER = 0.1  # seconds of sound that follow a join
BLOCK = 10 * SAMPLE_RATE  # samples heard at once


def joins_of(plan: FilmPlan) -> list[Join]:
    """The joins of a film, in seconds of its sound: overlaps of windows, and cuts from shot to shot.

    A join that leaves nothing after it to be compared with ends a little earlier, or is left out.
    """
    joins, latest = [], float(plan.end - plan.start) - AFTER
    for number, (shot, windows) in enumerate(zip(plan.shots, plan.by_shot, strict=True)):
        begin = float(shot.start - plan.start)
        if number:
            joins.append(Join(begin, begin + FADE / SAMPLE_RATE, "shot"))
        for before, after in pairwise(planned.window for planned in windows):
            first, last = begin + after.first / LATENT_RATE, begin + before.stop / LATENT_RATE
            joins.append(Join(first, min(last, latest), "window"))
    return [join for join in joins if join.end <= latest]


def listen(sound: np.ndarray, joins: Sequence[Join], sample_rate: int = SAMPLE_RATE) -> SeamReport:
    """What the joins of a sound (samples,), which may lie in a file, are like."""
    meter = SeamMeter(sample_rate)
    for first in range(0, len(sound), BLOCK):
        meter.hear(np.asarray(sound[first : first + BLOCK]))
    return meter.report(joins)
