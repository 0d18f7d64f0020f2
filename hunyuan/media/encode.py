"""A new video, frame by frame into its file as the frames are made, with a sound beside it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from .audio import check_waveform
from .files import check_writable, replacing
from .mux import CONTAINERS, QUICKTIME, SoundTrack, explained

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

CODEC = "libx264"
QUALITY = {"crf": "17", "preset": "medium"}  # hardly told from the frames themselves
BT709 = 1  # FFmpeg's number for it, as matrix, primaries and curve
STUDIO_RANGE = 1  # FFmpeg's number for levels of 16 to 235


def check_encodable(path: str | Path) -> None:
    """Raise ValueError for a container that cannot hold H.264, and as `check_writable`."""
    suffixes = [suffix for suffix in CONTAINERS if suffix != ".webm"]
    if Path(path).suffix.lower() not in suffixes:
        raise ValueError(f"{Path(path).name}: a new video is written into {', '.join(suffixes)}. Choose one.")
    check_writable(path)


def write_video(
    path: str | Path, frames: Iterable[np.ndarray], frame_rate: float | Fraction, waveform: np.ndarray
) -> int:
    """Write a video in H.264 with AAC sound; returns how many frames there were.

    frames:   (h, w, 3) uint8 RGB, all of one even size. One is held at a time.
    waveform: (1 or 2, samples) at 48 kHz. Its first sample is heard with the first frame; it is cut, or
              continued with silence, to where the last frame ends.
    Raises:   as `check_encodable`; ValueError for no frame or no waveform; OSError if the file cannot be
              written. After an error nothing of it is left.
    """
    path = Path(path)
    check_encodable(path)
    waveform = check_waveform(waveform, most_channels=2)
    rate = Fraction(frame_rate).limit_denominator(1001)
    with replacing(path) as temporary, explained(path, path), new_file(temporary) as output:
        picture, sound = None, SoundTrack(output, waveform)
        count = 0
        for frame in frames:
            picture = picture or add_picture(output, rate, frame.shape[1], frame.shape[0])
            encode(output, picture, frame, count)
            count += 1
            sound.write_until(float(count / rate))
        if picture is None:
            raise ValueError(f"{path.name} would hold no frame at all. Give the video some.")
        output.mux(picture.encode(None))
        sound.finish(float(count / rate))
    return count


@contextmanager
def new_file(path: Path) -> "Iterator[OutputContainer]":
    import av

    container = CONTAINERS[path.suffix.lower()]
    options = {"movflags": "+faststart"} if container in QUICKTIME else {}
    with av.open(str(path), "w", format=container, container_options=options) as output:
        yield output


def add_picture(output: "OutputContainer", rate: Fraction, width: int, height: int) -> "VideoStream":
    picture = cast("VideoStream", output.add_stream(CODEC, rate=rate, options=QUALITY))
    picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
    codec = picture.codec_context
    codec.time_base = 1 / rate
    codec.colorspace = codec.color_primaries = codec.color_trc = BT709
    codec.color_range = STUDIO_RANGE
    return picture


def encode(output: "OutputContainer", picture: "VideoStream", image: np.ndarray, number: int) -> None:
    from av import VideoFrame
    from av.video.reformatter import Colorspace

    frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
    frame.pts, frame.time_base = number, 1 / picture.codec_context.framerate
    output.mux(picture.encode(frame))
