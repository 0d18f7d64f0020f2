"""A clip's picture and sound held against each other, once, while the frames go by."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..media.sync_plot import Filmstrip, SyncPlot
from .motion import Motion, MotionMeter
from .synchrony import Synchrony, consistent_shift, find_onsets, match


@dataclass(frozen=True, kw_only=True, eq=False)
class SyncCheck:
    """What was seen and heard.

    synchrony: of the sound as it is. shift: seconds by which moving it would help, 0 if no one shift would.
    strip:     (h, w, 3) uint8, frames from all over the clip.
    """

    motion: Motion
    events: np.ndarray
    onsets: np.ndarray
    synchrony: Synchrony
    shift: float
    strip: np.ndarray

    @property
    def offset(self) -> float:
        """Seconds by which the sound is late: what the shift undoes, else the median, NaN without matches."""
        return -self.shift if self.shift else self.synchrony.offset

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the end of the last."""
        return float(self.motion.times[-1]) + 1 / self.fps

    @property
    def fps(self) -> float:
        steps = np.diff(self.motion.times)
        return float(1 / np.median(steps)) if len(steps) else 1.0

    def plot(self, waveform: np.ndarray, sample_rate: int) -> SyncPlot:
        """Of the sound, (channels, samples), after it was moved by `shift`."""
        onsets = self.onsets + self.shift
        onsets = onsets[(onsets >= 0) & (onsets < self.duration)]
        mono = waveform.mean(axis=0)[: round(self.duration * sample_rate)]
        return SyncPlot(
            duration=self.duration, fps=self.fps, times=self.motion.times, energy=self.motion.energy,
            waveform=mono, sample_rate=sample_rate, events=self.events, onsets=onsets,
            matches=match(self.events, onsets).matches, strip=self.strip,
        )  # fmt: skip


def check_sync(
    frames: Iterable[tuple[float, np.ndarray]],
    seconds: float,
    waveform: np.ndarray,
    sample_rate: int,
    max_shift_ms: float = 0.0,
) -> SyncCheck:
    """Looks at every frame once and keeps none.

    frames:   (time in seconds, (h, w, 3) uint8), in order. seconds: about how long they go on.
    waveform: (channels, samples), 1 is full scale.
    Raises:   ValueError if there is no frame.
    """
    meter, strip = MotionMeter(), Filmstrip(seconds)
    for time, frame in frames:
        meter.see(time, frame)
        strip.see(time, frame)
    if not meter.times:
        raise ValueError("There is no frame to look at. Choose another part of the video.")
    motion, onsets = meter.measure(), find_onsets(waveform, sample_rate)
    events = motion.events()
    return SyncCheck(
        motion=motion, events=events, onsets=onsets, synchrony=match(events, onsets),
        shift=consistent_shift(events, onsets, max_shift_ms), strip=strip.picture(),
    )  # fmt: skip
