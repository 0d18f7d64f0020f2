"""A picture of how sound and picture go together: frames, motion, waveform, and what was seen and heard when.

`SyncPlot` holds plain values: `draw` makes a picture of them, `as_json` what a browser draws itself.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

THUMBNAILS = 12
THUMBNAIL_ROWS = 90  # pixels
WIDTH = 1200  # pixels of the plot
STRIP_ROWS, MOTION_ROWS, LINK_ROWS, SOUND_ROWS, AXIS_ROWS = 100, 150, 60, 190, 20
MOST_POINTS = 2000  # of motion or waveform that a browser gets
WAVEFORM_RATE = 200  # extremes per second, in clips that are short enough
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 600, 3600)  # seconds
MOST_TICKS = 17
PADDING = 10

BACKGROUND, GRID, TEXT = (24, 26, 30), (52, 56, 62), (170, 175, 182)
SEEN, HEARD, WAVE = (255, 176, 64), (90, 200, 250), (120, 140, 160)
UNMATCHED = (235, 90, 90)

Match = tuple[int, int, float]


class Filmstrip:
    """Small frames from all over a clip, side by side, picked while the frames go by."""

    def __init__(self, duration: float, count: int = THUMBNAILS, rows: int = THUMBNAIL_ROWS) -> None:
        """duration: seconds that are expected. rows: height in pixels."""
        self.due = [(i + 0.5) * duration / count for i in range(count)]
        self.rows = rows
        self.thumbnails: list[np.ndarray] = []

    def see(self, time: float, frame: np.ndarray) -> None:
        """time: seconds. frame: (h, w, 3) uint8."""
        if self.thumbnails and (
            len(self.thumbnails) == len(self.due) or time < self.due[len(self.thumbnails)]
        ):
            return
        from PIL import Image

        columns = max(1, round(frame.shape[1] * self.rows / frame.shape[0]))
        picture = Image.fromarray(frame).resize((columns, self.rows), Image.Resampling.BOX)
        self.thumbnails.append(np.asarray(picture))

    def picture(self) -> np.ndarray:
        """(rows, w, 3) uint8."""
        missing = len(self.due) - len(self.thumbnails)
        return np.concatenate(self.thumbnails + self.thumbnails[-1:] * missing, axis=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class SyncPlot:
    """What is plotted. Times are seconds.

    times, energy:  (n,) motion of each frame.
    waveform:       (samples,) at `sample_rate`.
    events, onsets: what was seen and heard. matches: (event, onset, offset in seconds, positive: heard late).
    strip:          (h, w, 3) uint8.
    """

    duration: float
    fps: float
    times: np.ndarray
    energy: np.ndarray
    waveform: np.ndarray
    sample_rate: int
    events: np.ndarray
    onsets: np.ndarray
    matches: tuple[Match, ...]
    strip: np.ndarray

    def as_json(self) -> dict[str, Any]:
        """Everything but the strip: see `nodes/sync_plot.py`. What cannot be said is None."""
        thinning = max(1, math.ceil(len(self.times) / MOST_POINTS))
        strongest = block_extremes(self.energy, thinning)[1]
        motion = zip(self.times[::thinning].tolist(), strongest.tolist(), strict=True)
        rate = min(WAVEFORM_RATE, MOST_POINTS / max(self.duration, 1e-9))
        size = max(1, round(self.sample_rate / rate))
        low, high = block_extremes(self.waveform, size)
        offsets = [offset for _, _, offset in self.matches]
        return {
            "duration": rounded(self.duration),
            "fps": rounded(self.fps),
            "motion": [[rounded(time), rounded(energy)] for time, energy in motion],
            "waveform": {
                "min": [rounded(value) for value in low.tolist()],
                "max": [rounded(value) for value in high.tolist()],
                "rate": self.sample_rate / size,
            },
            "events": [rounded(time) for time in self.events.tolist()],
            "onsets": [rounded(time) for time in self.onsets.tolist()],
            "matches": [[i, j, round(1000 * offset, 1)] for i, j, offset in self.matches],
            "offset_ms": round(1000 * float(np.median(offsets)), 1) if offsets else None,
            "matched": rounded(len(self.matches) / len(self.events)) if len(self.events) else None,
        }

    def draw(self) -> np.ndarray:
        """(h, 1200, 3) uint8."""
        from PIL import Image, ImageDraw

        height = STRIP_ROWS + MOTION_ROWS + LINK_ROWS + SOUND_ROWS + AXIS_ROWS + 2 * PADDING
        canvas = Image.new("RGB", (WIDTH, height), BACKGROUND)
        ink = ImageDraw.Draw(canvas)
        strip = Image.fromarray(self.strip).resize((WIDTH - 2 * PADDING, STRIP_ROWS - PADDING))
        canvas.paste(strip, (PADDING, PADDING))
        motion = PADDING + STRIP_ROWS, PADDING + STRIP_ROWS + MOTION_ROWS
        sound = motion[1] + LINK_ROWS, motion[1] + LINK_ROWS + SOUND_ROWS
        self._axis(ink, motion[0], sound[1])
        self._motion(ink, *motion)
        self._waveform(ink, *sound)
        self._marks(ink, self.events, {i for i, _, _ in self.matches}, motion, SEEN)
        self._marks(ink, self.onsets, {j for _, j, _ in self.matches}, sound, HEARD)
        for i, j, _ in self.matches:
            ends = (self._x(self.events[i]), motion[1]), (self._x(self.onsets[j]), sound[0])
            ink.line(ends, fill=TEXT, width=1)
        ink.text((PADDING + 4, motion[0] + 2), "motion", fill=TEXT)
        ink.text((PADDING + 4, sound[0] + 2), "sound", fill=TEXT)
        ink.text((PADDING + 4, motion[1] + 4), self._summary(), fill=TEXT)
        return np.array(canvas)

    def _summary(self) -> str:
        heard = f"{len(self.matches)} of {len(self.events)} events heard, {len(self.onsets)} onsets"
        offset = self.as_json()["offset_ms"]
        return heard if offset is None else f"{heard}, offset {offset:+.0f} ms"

    def _x(self, time: float) -> float:
        return PADDING + (WIDTH - 2 * PADDING) * min(max(float(time) / self.duration, 0), 1)

    def _axis(self, ink: "ImageDraw", top: int, bottom: int) -> None:
        step = next((step for step in TICKS if self.duration / step <= MOST_TICKS), TICKS[-1])
        for i in range(int(self.duration / step) + 1):
            x = self._x(i * step)
            ink.line(((x, top), (x, bottom)), fill=GRID)
            ink.text((x + 3, bottom + 4), f"{i * step:g} s", fill=TEXT)

    def _motion(self, ink: "ImageDraw", top: int, bottom: int) -> None:
        most = float(self.energy.max(initial=0)) or 1.0
        heights = bottom - self.energy / most * 0.9 * (bottom - top)
        outline = [(self._x(time), y) for time, y in zip(self.times, heights.tolist(), strict=True)]
        ends = [(outline[-1][0], bottom), (outline[0][0], bottom)]
        ink.polygon(outline + ends, fill=tuple(value // 3 for value in SEEN))
        ink.line(outline, fill=SEEN)

    def _waveform(self, ink: "ImageDraw", top: int, bottom: int) -> None:
        middle, half = (top + bottom) / 2, (bottom - top) / 2
        most = max(float(np.abs(self.waveform).max(initial=0)), 1e-3)
        size = max(1, math.ceil(len(self.waveform) / (WIDTH - 2 * PADDING)))
        low, high = block_extremes(self.waveform, size)
        for i, (least, greatest) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
            x = self._x(i * size / self.sample_rate)
            ink.line(((x, middle - greatest / most * half), (x, middle - least / most * half)), fill=WAVE)

    def _marks(
        self,
        ink: "ImageDraw",
        times: np.ndarray,
        matched: set[int],
        lane: tuple[int, int],
        colour: tuple[int, int, int],
    ) -> None:
        for i, time in enumerate(times.tolist()):
            x = self._x(time)
            ink.line(((x, lane[0]), (x, lane[1])), fill=colour if i in matched else UNMATCHED, width=2)


def block_extremes(values: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest of every `size` values, the last block being what is left."""
    starts = np.arange(0, len(values), size)
    if not len(starts):
        return values, values
    return np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)


def rounded(value: float) -> float:
    """Short enough to be sent: 4 decimals."""
    return round(float(value), 4)
