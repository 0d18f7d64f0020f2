"""Media files opened for reading through PyAV, with a video stream's clock.

Only files are read, never an address, whatever a file refers to. What is wrong with one is told in a sentence
that names it.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream

logger = logging.getLogger(__name__)

# What FFmpeg would read but is no video or sound: lists of other files, scripts, and texts, which it draws.
NOT_MEDIA = {"avisynth", "concat", "dash", "hls", "imf", "sdp", "tty", "vapoursynth"}
THREADS = 4  # each holds pictures of its own: 4 are fast enough, and 4K stays far below 1 GB
SEEK_MARGIN = 1.0  # seconds: how much earlier than its time a picture may lie in the file
TICK = 1e-6  # seconds: times closer than this are the same
LONGEST_STILL = 3600.0  # seconds without a new picture or sound: more is a damaged timestamp
MICROSECONDS = 1_000_000  # FFmpeg's ticks for whole containers


def check_readable(path: Path) -> None:
    """Raise FileNotFoundError, PermissionError, or ValueError for what is no file with something in it."""
    if not path.exists():
        raise FileNotFoundError(f"No such file: {path}. Check its name and folder.")
    if not path.is_file():
        raise ValueError(f"{path} is a folder or a device. Choose a file.")
    if not os.access(path, os.R_OK):
        raise PermissionError(f"{path} may not be read by this user. Change its permissions.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path.name} is empty: it has 0 bytes. Export or download it again.")


@contextmanager
def open_media(path: str | Path) -> "Iterator[InputContainer]":
    """A file of pictures or sound.

    Raises: FileNotFoundError, PermissionError; ValueError if FFmpeg cannot read it.
    """
    import av
    from av.error import FFmpegError

    path = Path(path)
    check_readable(path)
    try:
        container = av.open(str(path.absolute()), metadata_errors="replace", container_options=harmless())
    except FFmpegError as error:
        raise ValueError(f"{path.name} is no video or sound that can be read. It may be damaged.") from error
    with container:
        yield container


def harmless() -> dict[str, str]:
    """Options that keep FFmpeg to this one file, whatever is in it."""
    from av import formats_available

    formats = (name for name in formats_available if NOT_MEDIA.isdisjoint(name.split(",")))
    return {"protocol_whitelist": "file", "format_whitelist": ",".join(formats)}


def beginning(container: "InputContainer") -> float:
    """The time, in seconds, at which a file's clock begins.

    That is 0 but for broadcast formats (.ts, .mpg), whose clock runs on and begins anywhere, and for sound
    alone, which begins when it is heard (.mp3 counts its encoder's delay).
    """
    from av.format import Flags

    broadcast = int(container.format.flags) & Flags.ts_discont.value
    if broadcast or not pictures_of(container):
        return (container.start_time or 0) / MICROSECONDS
    return 0.0


def pictures_of(container: "InputContainer") -> "list[VideoStream]":
    """The moving pictures: covers of songs are none."""
    from av.stream import Disposition

    return [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]


def sounds_of(container: "InputContainer") -> "list[AudioStream]":
    """The sounds that FFmpeg can decode."""
    return [stream for stream in container.streams.audio if stream.codec_context is not None]


def read_packets(container: "InputContainer", *streams: "VideoStream | AudioStream") -> "Iterator[Packet]":
    """Packets of these streams, to the end or to where the file becomes unreadable; the last are empty."""
    from av import Packet
    from av.error import FFmpegError

    try:
        yield from container.demux(*streams)
    except FFmpegError as error:
        logger.warning("%s cannot be read to its end: %s.", Path(container.name).name, error.strerror)
        for stream in streams:
            empty = Packet()
            empty.stream = stream
            yield empty


def decode(container: "InputContainer", stream: "VideoStream | AudioStream") -> Iterator[Any]:
    """Decoded frames as they are shown. What cannot be decoded is left out; how much that was is logged."""
    from av.error import FFmpegError

    broken = 0
    try:
        for packet in read_packets(container, stream):
            try:
                yield from stream.decode(packet)
            except FFmpegError:
                broken += 1
    finally:
        if broken:
            logger.warning("%s: %d damaged packets were left out.", Path(container.name).name, broken)


# --- video --------------------------------------------------------------------------------------------------


@contextmanager
def open_video(path: str | Path, start: float = 0.0) -> "Iterator[VideoSource]":
    """A video file, placed at a keyframe from which the picture at `start` (seconds) can be decoded.

    Raises: as `open_media`, and ValueError if the file holds no video, or none that can be decoded.
    """
    if not 0 <= start < float("inf"):
        raise ValueError(f"A start of {start:g} s is no place in a video. Choose 0 or more.")
    with ExitStack() as stack:
        video = stack.enter_context(open_at_beginning(path))
        if start > SEEK_MARGIN and not video.seek_before(start):
            # Places can be found only roughly in this file, or not at all: read it from the beginning.
            video = stack.enter_context(open_at_beginning(path))
        yield video


@contextmanager
def open_at_beginning(path: str | Path) -> "Iterator[VideoSource]":
    with open_media(path) as container:
        video = VideoSource(container, Path(path))
        try:
            yield video
        finally:
            # The decoding threads finish here. Closing would wait for them, too, but without letting them run
            # Python, which they do to log something where a host has switched PyAV's log on.
            video.stream.codec_context.flush_buffers()


class VideoSource:
    """A container, the video stream of it that is looked at, and its clock."""

    def __init__(self, container: "InputContainer", path: Path) -> None:
        self.container, self.path = container, path
        self.stream = self._choose_stream()
        self.stream.thread_type = "AUTO"
        self.stream.codec_context.thread_count = THREADS
        self.rate = self.stream.average_rate or self.stream.guessed_rate
        self.zero = round(beginning(container) / self.time_base)  # in ticks

    def _choose_stream(self) -> "VideoStream":
        pictures = pictures_of(self.container)
        if not pictures:
            raise ValueError(f"{self.path.name} holds no video. Choose a file with moving pictures.")
        stream = pictures[0]
        if stream.codec_context is None:
            raise ValueError(f"{self.path.name}: FFmpeg has no decoder for its video. Convert it to H.264.")
        return stream

    @property
    def time_base(self) -> Fraction:
        """Seconds in a tick."""
        assert self.stream.time_base is not None  # no demuxer leaves it out
        return self.stream.time_base

    @property
    def codec(self) -> str:
        return self.stream.codec_context.codec.canonical_name

    def time(self, ticks: int) -> float:
        """A timestamp in seconds, evaluated in float64 from left to right, as the published code does."""
        return float(ticks - self.zero) * self.time_base.numerator / self.time_base.denominator

    def ticks(self, seconds: float) -> int:
        return self.zero + round(seconds / self.time_base)

    def end_of(self, packet: "Packet") -> float:
        """The time at which a packet's picture ends."""
        assert packet.pts is not None
        step = round(1 / self.rate / self.time_base) if self.rate else 0
        return self.time(packet.pts + (packet.duration or step))

    def seek_before(self, start: float) -> bool:
        """Go to a keyframe before `start`. False if none can be found without reading the file."""
        from av.error import FFmpegError

        if self.stream.start_time is None:  # a bare stream has no times to look for
            return False
        place = self.ticks(start - SEEK_MARGIN)
        try:
            self.container.seek(place, stream=self.stream)
            packet = next(read_packets(self.container, self.stream))
            self.container.seek(place, stream=self.stream)
        except FFmpegError:
            return False
        return packet.is_keyframe and packet.pts is not None and self.time(packet.pts) <= start

    def frames(self) -> "Iterator[tuple[float, VideoFrame]]":
        """Decoded frames as they are shown, each with its time on the container's clock.

        A bare stream, without timestamps (.h264), is timed by its frame rate.
        Raises: ValueError if only some of the frames have one, or there is no rate either.
        """
        bare = False
        for i, frame in enumerate(decode(self.container, self.stream)):
            if i == 0:
                bare = frame.pts is None
            if frame.pts is not None and not bare:
                yield self.time(frame.pts), frame
            elif frame.pts is None and bare and self.rate:
                yield float(i / self.rate), frame
            else:
                raise ValueError(
                    f"{self.path.name}: not every frame says when it is shown (frame {i} does not)."
                    " Write the video anew with a constant frame rate."
                )

    def end_time(self) -> float:
        """Where the last frame ends, on the container's clock. Reads on to the end of the file."""
        end, count = 0.0, 0
        for packet in read_packets(self.container, self.stream):
            if packet.size and not packet.is_discard:
                count += 1
                if packet.pts is not None:
                    end = max(end, self.end_of(packet))
        return end or float(count / self.rate if self.rate else 0)
