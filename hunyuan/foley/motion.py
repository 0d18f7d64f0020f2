"""What moves in a picture, and when its motion changes suddenly: the visual side of synchrony.

Frames come one by one; of each only a small grey picture is looked at, so that memory depends neither on the
clip's length nor on its resolution.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

ROWS = 64  # of the small grey picture
COLUMNS = 4  # parts of the picture, side by side, judged apart: a large motion must not hide a small one
NEARBY = 0.2  # seconds before and after, in which a change has to stand out
APART = 0.13  # seconds between two events
STANDS_OUT = 0.42  # of what the strongest changes of the same part stand out by
STANDS_OUT_AT_ALL = 0.2  # of what the strongest changes of the whole picture stand out by
STRONGEST = 98  # percentile that stands for the strongest changes
TIMES_USUAL = 1.0  # by how many times what is usual nearby: in steady motion, as of rain, there are no events
FAINTEST = 0.01  # full scale per second, averaged over the part
CUT_LEVEL, CUT_SHARE = 0.1, 0.5  # a cut changes more than half of the picture by more than a tenth


@dataclass(frozen=True)
class Motion:
    """Of n frames. Full scale, from black to white, is 1.

    times:  (n,) seconds.
    energy: (n,) by how much the picture changes since the frame before, per second, averaged over all of it.
    change: (n, 4) by how much that differs from the frame before, place by place; averaged over each of four
            parts from left to right; 0 at cuts.
    """

    times: np.ndarray
    energy: np.ndarray
    change: np.ndarray

    def events(self) -> np.ndarray:
        """Seconds at which motion begins, ends or turns suddenly."""
        from scipy.ndimage import maximum_filter1d, median_filter

        if len(self.times) < 3:
            return np.zeros(0)
        step = float(np.median(np.diff(self.times)))
        around = 2 * max(1, round(NEARBY / step)) + 1
        usual = median_filter(self.change, (around, 1), mode="nearest")
        rest = self.change - usual
        highest = maximum_filter1d(rest, 2 * max(1, round(APART / step)) + 1, axis=0)
        least = np.maximum(STANDS_OUT * np.percentile(rest, STRONGEST, axis=0), FAINTEST)
        least = np.maximum(least, STANDS_OUT_AT_ALL * np.percentile(rest, STRONGEST))
        stands_out = (rest > least) & (rest > TIMES_USUAL * usual)
        found = np.argwhere((rest == highest) & stands_out)
        return apart([(self._time(rest[:, part], i), rest[i, part]) for i, part in found.tolist()])

    def _time(self, rest: np.ndarray, i: int) -> float:
        """When the change that peaks at frame `i` happened: the middle of the frames that show it.

        A change is seen in three frames, and its time is that of the second of them.
        """
        frames = np.arange(max(1, i - 1), min(len(rest), i + 2))
        weights = np.maximum(rest[frames], 0) + 1e-12
        return float((weights * self.times[frames - 1]).sum() / weights.sum())


def apart(found: list[tuple[float, float]]) -> np.ndarray:
    """The times of what was found, (time, strength) each; of any that nearly coincide, the strongest."""
    kept: list[tuple[float, float]] = []
    for time, strength in sorted(found):
        if kept and time - kept[-1][0] < APART:
            kept[-1] = max(kept[-1], (time, strength), key=lambda event: event[1])
        else:
            kept.append((time, strength))
    return np.array([time for time, _ in kept])


class MotionMeter:
    """Looks at one frame after the other."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.energy: list[float] = []
        self.change: list[np.ndarray] = []
        self._picture: np.ndarray | None = None
        self._difference: np.ndarray | None = None

    def see(self, time: float, frame: np.ndarray) -> None:
        """time: seconds, later than the frame before. frame: (h, w, 3) uint8."""
        picture = small(frame)
        if self._picture is None or self._picture.shape != picture.shape:
            self._picture, self._difference = picture, None  # the first frame, or of another size
        step = time - self.times[-1] if self.times else 1.0
        difference = (picture - self._picture) / step
        before = self._difference if self._difference is not None else difference
        cut = (np.abs(difference) * step > CUT_LEVEL).mean() > CUT_SHARE

        self.times.append(time)
        self.energy.append(float(np.abs(difference).mean()))
        changed = np.abs(difference - before).mean(axis=0)
        parts = [part.mean() for part in np.array_split(changed, COLUMNS)]
        self.change.append(np.zeros(COLUMNS) if cut else np.array(parts))
        self._picture = picture
        self._difference = None if cut else difference

    def measure(self) -> Motion:
        return Motion(np.array(self.times), np.array(self.energy), np.array(self.change))


def measure_motion(frames: Iterable[tuple[float, np.ndarray]]) -> Motion:
    """The motion of frames with their times, as `read_frames` gives them. Raises ValueError if none come."""
    meter = MotionMeter()
    for time, frame in frames:
        meter.see(time, frame)
    if not meter.times:
        raise ValueError("There is no frame to look at. Choose another part of the video.")
    return meter.measure()


def small(frame: np.ndarray) -> np.ndarray:
    """(at most 64, w) float32: the frame's brightness, every place an average over what it covers."""
    from PIL import Image

    height, width = frame.shape[:2]
    rows = min(ROWS, height)
    columns = max(COLUMNS, round(width * rows / height))
    grey = Image.fromarray(frame).convert("L")
    return np.asarray(grey.resize((columns, rows), Image.Resampling.BOX), np.float32) / 255
