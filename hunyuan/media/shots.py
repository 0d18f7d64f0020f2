"""Where a film cuts from one shot to the next, found on frames as they are decoded.

A cut is where the whole picture changes at once, by much more than around it. What is not one: an object that
moves or appears, a camera that pans, a flash after which the old picture returns, a lamp that is switched on.
Dissolves and fades are not looked for.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from .video import check_frame

GRID = 16  # cells along each side of the picture in which colours are averaged
PIXELS = 128  # along each side: as many are looked at
LARGEST = 32.0  # levels: a cell that changes by more counts as this much, so that one object is not a cut
CHANGE = 20.0  # percent of LARGEST over all cells: a picture that changes by less is the same
SMALLEST = 3.0  # levels: what grain and coding change,
EVERYWHERE = 0.5  # and the part of the cells that a cut changes by more

NEIGHBOURS = 6  # frames on each side that a cut stands out from,
STANDS_OUT = 3.0  # by this factor, as odds,
SPIKES = 2  # the largest left aside: a flash nearby
FLASH = 0.25  # seconds within which the old picture returns
LIT = 0.1  # of a change that is left when only the light has changed
TEXTURE = 0.1  # of the mean by which cells differ, where light can be told from another picture

SHORTEST = 0.64  # seconds: a shorter shot belongs to the one before


@dataclass(frozen=True)
class Look:
    """A frame: its time in seconds, mean colours (grid, grid, 3), percent changed since the one before."""

    time: float
    colours: np.ndarray
    change: float


class CutFinder:
    """Cuts in frames that come in order of time; holds the looks of a fraction of a second."""

    def __init__(self, threshold: float = CHANGE, shortest: float = SHORTEST) -> None:
        """threshold: percent of the picture's colours that change. shortest: seconds that a shot lasts."""
        if not 0 < threshold <= 100:
            raise ValueError(f"A cut changes more than 0 and up to 100 percent, not {threshold:g}.")
        self.threshold, self.shortest = threshold, shortest
        self.looks: deque[Look] = deque()
        self.undecided = 1  # index of the first look that may still be a cut; the film's first is none
        self.shot_start: float | None = None
        self.pending: float | None = None  # a cut after which no whole shot has been seen yet

    def see(self, time: float, frame: np.ndarray) -> list[float]:
        """The cuts that are certain now; their times are those of the new shots' first frames.

        frame: (h, w, 3) uint8, RGB.
        """
        colours = mean_colours(frame)
        change = changed(self.looks[-1].colours, colours) if self.looks else 0.0
        if self.shot_start is None:
            self.shot_start = time
        self.looks.append(Look(time, colours, change))
        return list(self._decide())

    def finish(self) -> list[float]:
        """The cuts that were waiting for what comes after them."""
        return list(self._decide(at_end=True))

    def _decide(self, at_end: bool = False) -> Iterator[float]:
        while self.undecided < len(self.looks) and (at_end or self._future_is_known()):
            look = self.looks[self.undecided]
            if look.change >= self.threshold and self._is_cut(self.undecided):
                yield from self._accept(look.time)
            self.undecided += 1
            self._forget()
        if self.pending is not None and self._end(at_end) >= self.pending + self.shortest:
            yield self.pending
            self.pending = None

    def _end(self, at_end: bool) -> float:
        """How far the film is known: to its last frame, at the end to the end of it, as long as another."""
        last = self.looks[-1].time
        return 2 * last - self.looks[-2].time if at_end and len(self.looks) > 1 else last

    def _future_is_known(self) -> bool:
        last = len(self.looks) - 1
        far = self.looks[last].time > self.looks[self.undecided].time + FLASH
        return far and last >= self.undecided + NEIGHBOURS

    def _accept(self, time: float) -> Iterator[float]:
        """Take a cut if it ends a whole shot; the one that began that shot, if it waited, is certain now."""
        assert self.shot_start is not None
        if time - self.shot_start < self.shortest:
            return
        if self.pending is not None:
            yield self.pending
        self.pending = self.shot_start = time

    def _is_cut(self, index: int) -> bool:
        looks, cut = list(self.looks), self.looks[index]
        if not is_everywhere(looks[index - 1].colours, cut.colours):
            return False
        others = [*looks[max(0, index - NEIGHBOURS) : index], *looks[index + 1 : index + 1 + NEIGHBOURS]]
        around = sorted((look.change for look in others), reverse=True)[SPIKES:]
        if around and odds(cut.change) < STANDS_OUT * odds(around[0]):
            return False
        before = [look for look in looks[:index] if cut.time - look.time <= FLASH] or [looks[index - 1]]
        after = [look for look in looks[index:] if look.time - cut.time <= FLASH]
        return not any(self._is_same_shot(a.colours, b.colours) for a in before for b in after)

    def _is_same_shot(self, before: np.ndarray, after: np.ndarray) -> bool:
        return changed(before, after) < self.threshold / 2 or is_other_light(before, after)

    def _forget(self) -> None:
        """Looks that no later decision needs."""
        while self.undecided > NEIGHBOURS and (
            self.looks[self.undecided - 1].time - self.looks[0].time > FLASH
        ):
            self.looks.popleft()
            self.undecided -= 1


def find_cuts(
    frames: Iterable[tuple[float, np.ndarray]], threshold: float = CHANGE, shortest: float = SHORTEST
) -> Iterator[float]:
    """The times (seconds) of the first frames of all shots but the first; as soon as they are certain."""
    finder = CutFinder(threshold, shortest)
    for time, frame in frames:
        yield from finder.see(time, frame)
    yield from finder.finish()


def mean_colours(frame: np.ndarray) -> np.ndarray:
    """(rows, columns, 3) float32: the picture's colours, averaged over the cells of a grid."""
    check_frame(frame)
    rows, columns = (-(-side // PIXELS) for side in frame.shape[:2])
    colours = frame[::rows, ::columns].astype(np.float32)
    for axis in (0, 1):
        size = colours.shape[axis]
        edges = np.arange(min(GRID, size)) * size // min(GRID, size)
        counts = np.diff([*edges, size]).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        colours = np.add.reduceat(colours, edges, axis=axis) / counts
    return colours.astype(np.float32)


def changed(before: np.ndarray, after: np.ndarray) -> float:
    """Percent by which the cells' colours differ."""
    levels = np.abs(after - before).max(axis=-1)
    return float(np.minimum(levels, LARGEST).mean() / LARGEST * 100)


def is_everywhere(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether more has changed than an object covers."""
    levels = np.abs(after - before).max(axis=-1)
    return bool((levels > SMALLEST).mean() >= EVERYWHERE)


def odds(percent: float) -> float:
    """A change as odds: beside a picture of which half changes all the time, twice as much is everything."""
    return percent / max(1e-3, 100 - percent)


def is_other_light(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether one picture is the other, brighter or darker: what is textured stays so, at another scale."""
    if min(texture(before), texture(after)) < TEXTURE:
        return False
    scale = float((before * after).sum() / np.square(before).sum())
    left = np.abs(after - scale * before).mean()
    return bool(left < LIT * np.abs(after - before).mean())


def texture(colours: np.ndarray) -> float:
    """How much cells differ in brightness, as a part of the mean."""
    brightness = colours.mean(axis=-1)
    return float(brightness.std() / max(1.0, float(brightness.mean())))
