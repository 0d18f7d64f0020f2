"""Which windows a film is cut into. Times are exact fractions of a second, on the file's own clock.

A film is a row of shots, often a single one. A shot is a clip with its own clock: its windows start every 8 s
from its beginning, where both feature clocks (0.32 s, 0.125 s) agree with the latents' (0.02 s).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from itertools import pairwise

from ..foley.timing import LATENT_RATE, SAMPLE_RATE, SEGMENT_STEP, SYNC_RATE
from ..sampling.windows import Window, WindowGrid, plan_windows

STRIDE = Fraction(8)  # seconds: the shortest time in which the three clocks meet
TAIL = Fraction(2)  # a rest shorter than this joins the last window
# A last window that would be shorter begins earlier, to last what weights are trained on: how sync tokens are
# spread over a window depends on its length. In windows of 5 s, sounds came up to 0.04 s early.
SHORTEST = Fraction(8)
# Its pictures are picked from a moment before it. If its clock began with a frame, as it would at 25 fps, the
# published rule would pick every picture a frame (0.04 s) early, by rounding, until 8.2 s have passed. Other
# windows begin as clips do, and as those that weights are trained on.
EARLY = Fraction(1, 1000)
# Latents by which a shot goes on behind its cut. Over the first of them the sound fades out; with the others
# it is not at its end there, where all that is made grows softer.
BEHIND_A_CUT = 4
SEGMENT = Fraction(SEGMENT_STEP, SYNC_RATE)  # from one Synchformer segment to the next
# With 9.92 s, a window ends with a segment, and its picture is seen to the end. 10 s would leave two frames
# unseen and stretch the rest over them: sound 0.08 s late.
OVERLAP = 6 * SEGMENT
JOINS = ("latents", "waveform")
MICROSECOND = 1_000_000  # in a second


def exact(seconds: float | str | Fraction) -> Fraction:
    """A time as a fraction; floats, which are never exact, to the microsecond."""
    return (
        Fraction(round(seconds * MICROSECOND), MICROSECOND)
        if isinstance(seconds, float)
        else Fraction(seconds)
    )


def latents_in(seconds: Fraction) -> int:
    return math.ceil(seconds * LATENT_RATE)


def samples_in(seconds: Fraction) -> int:
    return round(seconds * SAMPLE_RATE)


@dataclass(frozen=True, kw_only=True)
class WindowSettings:
    """overlap: seconds that neighbouring windows share, 0 to 2.

    join: "latents" blends the windows after every step, so that they agree on one sound; "waveform" makes
        each on its own and cross-fades what is heard.
    """

    overlap: Fraction = OVERLAP
    join: str = "latents"

    def __post_init__(self) -> None:
        if self.join not in JOINS:
            raise ValueError(f"There is no join {self.join!r}. Choose {' or '.join(JOINS)}.")
        if not 0 <= self.overlap <= TAIL:
            raise ValueError(
                f"An overlap of {float(self.overlap):g} s does not work: it lies in 0..{TAIL} s."
            )

    @property
    def grid(self) -> WindowGrid:
        return WindowGrid(
            stride=latents_in(STRIDE), overlap=latents_in(self.overlap), tail=latents_in(TAIL),
            shortest=latents_in(SHORTEST), step=1,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A part [start, end) of a film, in seconds on the file's clock. prompt: its own; None is the film's."""

    start: Fraction
    end: Fraction
    prompt: str | None = None

    @property
    def seconds(self) -> Fraction:
        return self.end - self.start


@dataclass(frozen=True, kw_only=True)
class PlannedWindow:
    """A window of a film.

    index:      among all windows of the film. shot: index of its shot.
    window:     the latent frames, counted from the shot's beginning.
    start, end: seconds on the file's clock, up to its shot's end.
    shot_end:   seconds on the file's clock: what comes from there on belongs to another shot.
    """

    index: int
    shot: int
    window: Window
    start: Fraction
    end: Fraction
    shot_end: Fraction

    @property
    def seconds(self) -> Fraction:
        """How long it sounds, with what goes on behind a cut."""
        return Fraction(self.window.length, LATENT_RATE)

    @property
    def seen_from(self) -> Fraction:
        """Where the clock begins by which its pictures are picked, in seconds on the file's."""
        return self.start - EARLY if self.window.first > self.window.start else self.start

    @property
    def latent_times(self) -> list[Fraction]:
        """The middle of each latent frame, in seconds on the file's clock."""
        return [self.start + Fraction(2 * i + 1, 2 * LATENT_RATE) for i in range(self.window.length)]


@dataclass(frozen=True)
class FilmPlan:
    """All windows of a film.

    shots: one after another, without a gap.
    Raises: ValueError for no shots, gaps, or a shot that does not last.
    """

    shots: Sequence[Shot]
    settings: WindowSettings = field(default_factory=WindowSettings)

    def __post_init__(self) -> None:
        if not self.shots:
            raise ValueError("A film without shots has no windows. Give at least one shot.")
        for shot in self.shots:
            if shot.seconds <= 0:
                raise ValueError(f"A shot from {float(shot.start):g} to {float(shot.end):g} s does not last.")
        for shot, following in pairwise(self.shots):
            if shot.end != following.start:
                raise ValueError(
                    f"A shot ends at {float(shot.end):g} s, the next begins at {float(following.start):g} s."
                    " Shots follow one another without gap or overlap."
                )

    @classmethod
    def of_clip(cls, start: Fraction, end: Fraction, settings: WindowSettings | None = None) -> "FilmPlan":
        """The plan of a clip without cuts."""
        return cls([Shot(start=start, end=end)], settings or WindowSettings())

    @property
    def start(self) -> Fraction:
        return self.shots[0].start

    @property
    def end(self) -> Fraction:
        return self.shots[-1].end

    @property
    def samples(self) -> int:
        """Of the whole film's sound."""
        return samples_in(self.end - self.start)

    @cached_property
    def latent_lengths(self) -> list[int]:
        """Latent frames of each shot: before a cut, with those that go on behind it."""
        lengths = [latents_in(shot.seconds) for shot in self.shots]
        return [*(length + BEHIND_A_CUT for length in lengths[:-1]), lengths[-1]]

    @cached_property
    def latent_offsets(self) -> list[int]:
        """Where each shot begins in the film's one row of latents, and where the last ends."""
        offsets = [0]
        for length in self.latent_lengths:
            offsets.append(offsets[-1] + length)
        return offsets

    @cached_property
    def sample_offsets(self) -> list[int]:
        """Where each shot's sound begins, and where the last ends."""
        return [samples_in(shot.start - self.start) for shot in self.shots] + [self.samples]

    @cached_property
    def by_shot(self) -> list[list[PlannedWindow]]:
        """The windows of each shot."""
        planned, count = [], 0
        for i, (shot, length) in enumerate(zip(self.shots, self.latent_lengths, strict=True)):
            grid, behind = self.settings.grid, length - latents_in(shot.seconds)
            windows = plan_windows(length, replace(grid, tail=grid.tail + behind))
            planned.append([self._planned(count + k, i, shot, window) for k, window in enumerate(windows)])
            count += len(windows)
        return planned

    @cached_property
    def windows(self) -> list[PlannedWindow]:
        return [window for windows in self.by_shot for window in windows]

    def _planned(self, index: int, number: int, shot: Shot, window: Window) -> PlannedWindow:
        start = shot.start + Fraction(window.start, LATENT_RATE)
        end = min(shot.start + Fraction(window.stop, LATENT_RATE), shot.end)
        return PlannedWindow(index=index, shot=number, window=window, start=start, end=end, shot_end=shot.end)

    def table(self) -> Iterator[str]:
        """The plan for people, a line for each window."""
        yield "window    shot     from       to    latents   counts from"
        for planned in self.windows:
            shot, window = self.shots[planned.shot], planned.window
            counts = shot.start + Fraction(window.first, LATENT_RATE)
            yield (
                f"{planned.index + 1:6d} {planned.shot + 1:7d} {float(planned.start):9.2f} "
                f"{float(planned.end):8.2f} {window.length:8d} {float(counts):13.2f}"
            )
