"""Small real videos for tests, written with PyAV: any times, rotation, pixel format and container.

Every frame carries its number as eight stripes, black for 0 and white for 1, and a red patch in its top left
corner, so that a test can tell which frame it sees and how it is turned, whatever the codec did to it.
"""

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 8
FORMATS = {  # suffix: container, picture, sound
    ".mp4": ("mp4", "libx264", "aac"),
    ".mov": ("mov", "libx264", "aac"),
    ".mkv": ("matroska", "libx264", "aac"),
    ".webm": ("webm", "libvpx-vp9", "libopus"),
    ".avi": ("avi", "mpeg4", "mp2"),
    ".ts": ("mpegts", "libx264", "aac"),
    ".h264": ("h264", "libx264", ""),
}
FAST = {
    "libx264": {"preset": "ultrafast", "crf": "12"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "20"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
}
Picture = Callable[[int, int, int], np.ndarray]


def numbered(i: int, width: int, height: int) -> np.ndarray:
    """(h, w, 3) uint8: frame `i`, as the module says."""
    image = np.full((height, width, 3), 128, np.uint8)
    bit = np.arange(width) * BITS // width
    image[height // 3 :] = np.where(i >> bit & 1, 235, 20)[None, :, None]
    image[: height // 3, : width // 4] = (230, 20, 20)
    return image


def frame_number(frame: np.ndarray) -> int:
    """The number of a frame made by `numbered`, modulo 256."""
    height, width, _ = frame.shape
    columns = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    levels = frame[height * 3 // 4, columns].mean(axis=-1)
    return sum(1 << bit for bit, level in enumerate(levels) if level > 128)


def write_clip(
    path: Path,
    *,
    seconds: float = 1.0,
    fps: Fraction | int = 25,
    times: Sequence[float] | None = None,
    time_base: Fraction | None = None,
    size: tuple[int, int] = (64, 48),
    codec: str | None = None,
    pixels: str = "yuv420p",
    gop: int = 12,
    b_frames: int = 2,
    rotation: int = 0,
    mirrored: bool = False,
    full_range: bool = False,
    sound: np.ndarray | None = None,
    sound_codec: str | None = None,
    picture: Picture = numbered,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a clip and return its path.

    times:    seconds of every frame, for a variable rate or a late beginning; otherwise `seconds` at `fps`.
    rotation: degrees clockwise by which players turn the picture (.mp4 and .mov only).
    mirrored: whether players exchange left and right before they turn it.
    sound:    (channels, samples) at 48 kHz.
    """
    container, default_codec, default_sound = FORMATS[path.suffix]
    codec = codec or default_codec
    time_base = time_base or (1 / Fraction(fps) if times is None else Fraction(1, 90_000))
    times = [float(i / Fraction(fps)) for i in range(round(seconds * fps))] if times is None else times
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=fps, options={**FAST.get(codec, {}), **(options or {})})
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.codec_context.time_base, stream.codec_context.gop_size = time_base, gop
        if codec in ("libx264", "libx265", "mpeg4"):
            stream.codec_context.max_b_frames = b_frames
        if full_range:
            stream.codec_context.color_range = 2
        track = sound is not None and output.add_stream(sound_codec or default_sound, rate=48_000)
        for i, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(i, *size), format="rgb24")
            if full_range:
                frame = frame.reformat(format=pixels, dst_color_range="JPEG")
            frame.pts, frame.time_base = round(time / time_base), time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if track:
            write_sound(output, track, sound)
    if rotation or mirrored:
        turn(path, rotation, mirrored)
    return path


def write_sound(output: "av.container.OutputContainer", track: "av.AudioStream", sound: np.ndarray) -> None:
    layout = "mono" if len(sound) == 1 else "stereo"
    for first in range(0, sound.shape[1], 4_800):
        block = np.ascontiguousarray(sound[:, first : first + 4_800], np.float32)
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
        frame.sample_rate, frame.pts = 48_000, first
        output.mux(track.encode(frame))
    output.mux(track.encode(None))


def turn(path: Path, rotation: int, mirrored: bool) -> None:
    """Write a display matrix into the header of the (only) video track of an .mp4 or .mov."""
    a, b, c, d = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[rotation]
    if mirrored:
        a, b = -a, -b
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 44
    content[matrix : matrix + 36] = struct.pack(
        ">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30
    )
    path.write_bytes(content)


class ClipMaker:
    """The fixture `clip`: clip("a.mkv", fps=30) writes a video into the test's folder; see `write_clip`."""

    number = staticmethod(frame_number)
    numbered = staticmethod(numbered)

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str = "clip.mp4", **settings) -> Path:
        return write_clip(self.folder / name, **settings)
