"""What a video file holds, and its frames one by one."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .source import MICROSECONDS, TICK, open_video, sounds_of

if TYPE_CHECKING:
    from av import VideoFrame

QUARTER_TURNS = ((1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0))  # clockwise, as display matrices
NANOSECONDS = 9  # decimal places


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """A video as it is shown.

    width, height: pixels, after the rotation.
    rotation:      degrees clockwise by which the stored picture is turned: 0, 90, 180 or 270.
    duration:      seconds from the first frame to the end of the last.
    frame_rate:    frames per second on average; 0 if nobody knows.
    start_time:    seconds from the container's beginning to the first frame.
    """

    width: int
    height: int
    rotation: int
    duration: float
    frame_rate: float
    codec: str
    container: str
    has_audio: bool
    start_time: float

    @property
    def end_time(self) -> float:
        """Seconds from the container's beginning, where sound starts too, to the end of the last frame."""
        return self.start_time + self.duration


def probe(path: str | Path) -> VideoInfo:
    """What a video holds, from its header, its first frame and its end.

    Raises: FileNotFoundError, PermissionError; ValueError if no frame of it can be decoded.
    """
    with open_video(path) as video:
        start_time, frame = next(video.frames(), (0.0, None))
        if frame is None:
            raise ValueError(f"{video.path.name}: not a single frame can be decoded. The file is damaged.")
        a, b, _, _ = display_matrix(frame)
        turn = QUARTER_TURNS.index((a, b, -b, a))  # without the mirroring
        width, height = (frame.height, frame.width) if turn % 2 else (frame.width, frame.height)
        near_end = (video.container.duration or 0) / MICROSECONDS
        facts = {
            "codec": video.codec,
            "container": video.container.format.name,
            "frame_rate": float(video.rate or 0),
            "has_audio": bool(sounds_of(video.container)),
        }
    with open_video(path, near_end) as video:
        duration = max(0.0, video.end_time() - start_time)
    return VideoInfo(
        width=width, height=height, rotation=90 * turn, duration=duration, start_time=start_time, **facts
    )


def read_frames(
    path: str | Path, start: float = 0.0, seconds: float | None = None
) -> Iterator[tuple[float, np.ndarray]]:
    """Frames in the order in which they are shown, each with its time in seconds after `start`.

    The clip is as if it were cut out of the file: the frames whose times lie in [start, start + seconds). The
    frame on screen at `start` began before it and is not among them; the first one after stands in until its
    time comes, as it does when a file's first frame is late. Times are the container's own.

    A frame is (h, w, 3) uint8, RGB, turned as the file says. FFmpeg converts what is stored otherwise: 10
    bits become 8, alpha is dropped, colour matrix and range are the stream's or FFmpeg's default. One frame
    is held at a time. Packets that cannot be decoded are left out, and their number is logged.

    Raises: FileNotFoundError, PermissionError; ValueError if the file is no video, or this part of it shows
            no frame.
    """
    upright, shown = Upright(), False
    with open_video(path, start) as video:
        for clock, frame in video.frames():
            time = after(start, clock)
            if seconds is not None and time > seconds - TICK:
                break
            if start and time < 0:
                continue
            shown = True
            yield time, upright(frame)
        if not shown:
            part = f"from {start:g} s on" if seconds is None else f"from {start:g} to {start + seconds:g} s"
            raise ValueError(f"{video.path.name}: no frame can be decoded {part}. Choose another part of it.")


def read_clock(path: str | Path, start: float = 0.0) -> Iterator[tuple[float, np.ndarray]]:
    """Frames as `read_frames` gives them, from the one on screen at `start` on, timed by the file's clock.

    Raises: as `open_video`.
    """
    upright, before = Upright(), None
    with open_video(path, start) as video:
        for clock, frame in video.frames():
            if clock < start - TICK:
                before = clock, frame
                continue
            if before is not None:
                yield before[0], upright(before[1])
                before = None
            yield clock, upright(frame)
        if before is not None:
            yield before[0], upright(before[1])


class Upright:
    """Decoded frames to pictures (h, w, 3) uint8, RGB, turned as the first one says."""

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self.converter, self.matrix = VideoReformatter(), None

    def __call__(self, frame: "VideoFrame") -> np.ndarray:
        # Only the first frame is asked: asking one keeps it alive until garbage is collected.
        self.matrix = self.matrix or display_matrix(frame)
        return oriented(self.converter.reformat(frame, format="rgb24").to_ndarray(), self.matrix)


def after(start: float, clock: float) -> float:
    """Seconds from `start` to a time on the container's clock; 0 for what is 0 but for rounding.

    Subtracting leaves errors of 1e-16 s, on which it may depend which frame is picked: they are rounded away,
    so that a part is seen as the same frames are in a file of their own.
    """
    if not start:
        return clock
    return 0.0 if abs(clock - start) < TICK else round(clock - start, NANOSECONDS)


# --- turned and mirrored pictures ---------------------------------------------------------------------------

Matrix = tuple[int, int, int, int]


def display_matrix(frame: "VideoFrame") -> Matrix:
    """(a, b, c, d), each -1, 0 or 1: what is stored at (x, y) is shown at (a x + c y, b x + d y)."""
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # the frame also carries a kind of side data that this PyAV has no name for
        return QUARTER_TURNS[-round(frame.rotation / 90) % 4]
    if matrix is None:
        return QUARTER_TURNS[0]
    a, b, _, c, d, *_ = np.frombuffer(matrix, np.int32).tolist()
    return (0, sign(b), sign(c), 0) if abs(b) > abs(a) else (sign(a), 0, 0, sign(d))


def sign(value: int) -> int:
    return -1 if value < 0 else 1


def oriented(image: np.ndarray, matrix: Matrix) -> np.ndarray:
    """The picture (h, w, c) as it is shown."""
    a, b, c, d = matrix
    if b:
        image, a, d = image.swapaxes(0, 1), c, b
    return np.ascontiguousarray(image[::d, ::a])
