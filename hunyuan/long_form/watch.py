"""The features of a film's windows, in one pass over its frames.

A window's features are those of the clip cut where it is seen from, bit for bit: its frames are picked by a
clock that begins there, and where the frame that comes after the window would be picked for its last places,
it is. A picture that stands still for longer is held to the window's end, or through a window without a
frame. So is a shot's last one, until its sound ends: a frame less may be a segment less, and the others would
be spread over all of the time.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from ..foley.features import FoleyFeatures
from ..foley.timing import SYNC_RATE
from ..media.container import after
from ..media.source import TICK
from .plan import PlannedWindow

STILL = 0.5  # seconds: a picture that stays longer stands still, another is one of a moving film's frames


class Stream(Protocol):
    """What encodes a window: `hunyuan.foley.features.FeatureStream`, or anything that is used like it."""

    def see(self, time: float, frame: np.ndarray) -> None:
        """A frame (h, w, 3) uint8 RGB and its time, in seconds from where the window is seen from."""
        ...

    def finish(self) -> FoleyFeatures: ...


def watch_windows(
    frames: Iterable[tuple[float, np.ndarray]],
    windows: Sequence[PlannedWindow],
    new_stream: Callable[[], Stream],
) -> Iterator[tuple[PlannedWindow, FoleyFeatures]]:
    """Each window with its features, as soon as its last frame has been seen.

    frames: (seconds on the file's clock, picture), from the one on screen where the first window is seen
            from on.
    Raises: ValueError if the film shows nothing at all.
    """
    waiting, open_windows = deque(windows), deque[WindowWatch]()
    picture: np.ndarray | None = None
    for clock, frame in frames:
        while waiting and after(float(waiting[0].seen_from), clock) >= 0:
            open_windows.append(WindowWatch(waiting.popleft(), new_stream(), picture))
        while open_windows and open_windows[0].is_over(clock):
            watch = open_windows.popleft()
            yield watch.window, watch.finish((clock, frame))
        if not waiting and not open_windows:
            return
        for watch in open_windows:
            watch.see(clock, frame)
        picture = frame
    # The film ends earlier than planned, or with its last window.
    open_windows += [WindowWatch(window, new_stream(), picture) for window in waiting]
    for watch in open_windows:
        yield watch.window, watch.finish(None)


class WindowWatch:
    """A window that is being looked at. earlier: the picture on screen before its first frame, if any."""

    def __init__(self, window: PlannedWindow, stream: Stream, earlier: np.ndarray | None) -> None:
        self.window, self.stream = window, stream
        self.start = float(window.seen_from)
        self.seconds = float(min(window.end - window.seen_from, window.seconds))
        self.picture, self.time = earlier, -float("inf")

    def is_over(self, clock: float) -> bool:
        return after(self.start, clock) > self.seconds - TICK

    def see(self, clock: float, frame: np.ndarray) -> None:
        self.picture, self.time = frame, after(self.start, clock)
        self.stream.see(self.time, frame)

    def finish(self, following: tuple[float, np.ndarray] | None) -> FoleyFeatures:
        """The features. following: the first frame after the window, if there is one.

        Raises: ValueError if there is no picture at all.
        """
        if self.picture is None:
            if following is None:
                raise ValueError("The film shows no frame. Check its start and length.")
            self.picture = following[1]
        if self.time < 0:
            self.time = 0.0
            self.stream.see(self.time, self.picture)
        self._fill(following)
        return self.stream.finish()

    def _fill(self, following: tuple[float, np.ndarray] | None) -> None:
        """See to it that the window is full, with what comes next or with what stays on screen."""
        assert self.picture is not None
        places = math.ceil(self.window.seconds * SYNC_RATE)  # that frames are picked for
        shown = self.picture
        if following and following[0] < self.window.shot_end - TICK:
            moves = after(self.start, following[0]) - self.time <= STILL
            shown = following[1] if moves else shown
        self.stream.see((places - 1) / SYNC_RATE + TICK, shown)
