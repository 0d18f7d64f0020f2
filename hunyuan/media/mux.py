"""A new sound beside the picture of an existing video, which is copied packet by packet, not encoded anew."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from .audio import check_waveform, fit_length
from .excerpt import PictureExcerpt, SoundExcerpt
from .files import replacing
from .source import VideoSource, open_video, read_packets, sounds_of

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.video.stream import VideoStream

SAMPLE_RATE = 48_000  # Hz, of every sound that is written
BIT_RATE = 192_000  # bits per second, of both sides together
BLOCK = 4_800  # samples handed to the encoder at once

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
SOUND_CODECS = {"mp4": "aac", "mov": "aac", "matroska": "aac", "webm": "libopus"}
QUICKTIME = {"mp4", "mov"}  # the two containers that can hide a beginning, and keep any clock
APPLE_HEVC = "hvc1"  # the only name for HEVC that Apple's players open


def mux(
    video_path: str | Path,
    waveform: np.ndarray,
    out_path: str | Path,
    *,
    start: float = 0.0,
    seconds: float | None = None,
    keep_original: bool = False,
) -> None:
    """Write the picture of a video, or of a part of it, with a new sound.

    waveform:      (1 or 2, samples) at 48 kHz. It begins where the container's clock does, or at `start`, and
                   is cut, or continued with silence, to where the picture ends. Mono goes to both sides.
    out_path:      .mp4, .mov and .mkv get AAC at 192 kbit/s, .webm gets Opus. May be `video_path` itself.
    start:         seconds. Pictures can be copied only from a keyframe on; what lies between it and `start`
                   is hidden in .mp4 and .mov. In .mkv and .webm it cannot be hidden: the picture begins with
                   the keyframe, and the sound joins it that much later, in time with it.
    seconds:       a few pictures after the end stay if some before it are decoded from them.
    keep_original: the video's own sounds follow ours, copied too, as further tracks to choose from.

    The picture's bytes, times and rotation stay as they are, but .mkv and .webm round times to milliseconds.
    Raises: FileNotFoundError, PermissionError; ValueError for no video, what the container cannot hold, or a
            part without a frame; OSError if the file cannot be written. After an error nothing of it is left.
    """
    video_path, out_path = Path(video_path), Path(out_path)
    waveform = check_waveform(waveform, most_channels=2)
    check_mux(video_path, out_path, keep_original=keep_original)
    with (
        replacing(out_path) as temporary,
        explained(video_path, out_path),
        open_video(video_path, start) as source,
        new_container(temporary, source) as output,
    ):
        Copy(source, output, waveform, keep_original).run(start, seconds)


def check_mux(video_path: str | Path, out_path: str | Path, *, keep_original: bool = False) -> None:
    """Raise ValueError if the container that `out_path` names cannot hold what `mux` would put into it."""
    out_path = Path(out_path)
    suffix = out_path.suffix.lower()
    if suffix not in CONTAINERS:
        raise ValueError(f"{out_path.name}: a video is written into {', '.join(CONTAINERS)}. Choose one.")
    with open_video(video_path) as source:
        check_timed(source)
        if fits(source, CONTAINERS[suffix], keep_original):
            return
        others = [other for other, container in CONTAINERS.items() if fits(source, container, keep_original)]
        sounds = sounds_of(source.container) if keep_original else ()
        held = " and ".join([source.codec, *(sound.codec_context.codec.canonical_name for sound in sounds)])
        raise ValueError(
            f"{source.path.name} holds {held}, which {suffix} cannot hold beside our sound."
            f" Choose {' or '.join(others) or 'another video'}."
        )


def check_timed(source: VideoSource) -> None:
    """Raise ValueError for a bare stream (.h264): a container has to say when each picture is shown."""
    if next(read_packets(source.container, source.stream)).pts is None:
        raise ValueError(
            f"{source.path.name} does not say when its pictures are shown, so they cannot be copied."
            " Put it into a container such as .mkv first."
        )


def fits(source: VideoSource, container: str, keep_original: bool) -> bool:
    """Whether a header for these streams can be written. Nothing short of writing one knows it."""
    import av
    from av.error import FFmpegError

    try:
        with av.open(io.BytesIO(), "w", format=container) as trial:
            Copy(source, trial, np.zeros((1, 1)), keep_original)
            trial.start_encoding()
    except (ValueError, FFmpegError):
        return False
    return True


def new_container(path: Path, source: VideoSource) -> "OutputContainer":
    import av

    container = CONTAINERS[path.suffix.lower()]
    clock = {"video_track_timescale": str(source.time_base.denominator)}
    same_bytes = {"fflags": "+bitexact"}  # Matroska would name every file by a random number
    options = clock if container in QUICKTIME else same_bytes
    return av.open(str(path), "w", format=container, container_options=options)


class Copy:
    """The streams of an output: a source's picture, our sound, and the source's own sounds if they stay."""

    def __init__(
        self, source: VideoSource, output: "OutputContainer", waveform: np.ndarray, keep_original: bool
    ) -> None:
        """Raises ValueError if the output cannot hold them."""
        self.source, self.output = source, output
        self.picture = self._add_picture()
        self.sound = SoundTrack(output, waveform)
        self.others = sounds_of(source.container) if keep_original else []
        self.copies = [output.add_stream_from_template(stream, opaque=True) for stream in self.others]

    def _add_picture(self) -> "VideoStream":
        picture = self.output.add_stream_from_template(self.source.stream, opaque=True)
        if self.output.format.name in QUICKTIME and self.source.codec == "hevc":
            picture.codec_context.codec_tag = APPLE_HEVC
        return picture

    def run(self, start: float, seconds: float | None) -> None:
        """Copy this part, our sound beside it. Raises ValueError if it shows no picture."""
        limit = float("inf") if seconds is None else start + seconds
        picture = PictureExcerpt(self.source, start, limit)
        lead = self.output.format.name in QUICKTIME
        sounds = [SoundExcerpt(self.source, stream, start, limit, lead=lead) for stream in self.others]
        excerpts = [picture, *sounds]
        streams, targets = [self.source.stream, *self.others], [self.picture, *self.copies]
        places = {stream.index: place for stream, *place in zip(streams, excerpts, targets, strict=True)}

        for packet in read_packets(self.source.container, *streams):
            excerpt, target = places[packet.stream.index]
            for wanted in excerpt.take(packet) if packet.size else excerpt.rest():
                self.sound.write_until(picture.end or 0.0)
                wanted.stream = target
                self.output.mux(wanted)
            if all(excerpt.done for excerpt in excerpts):
                break
        if picture.end is None:
            part = f"from {start:g} s on" if seconds is None else f"from {start:g} to {limit:g} s"
            raise ValueError(f"{self.source.path.name} shows no frame {part}. Choose another part of it.")
        self.sound.finish(picture.end)


class SoundTrack:
    """Our sound on its way through the encoder, a little at a time, so that it lies beside its picture."""

    def __init__(self, output: "OutputContainer", waveform: np.ndarray) -> None:
        """waveform: (1 or 2, samples)."""
        self.output = output
        self.waveform = np.broadcast_to(waveform, (2, waveform.shape[1]))
        self.written = 0
        codec = SOUND_CODECS[output.format.name]
        stream = output.add_stream(codec, rate=SAMPLE_RATE, layout="stereo", bit_rate=BIT_RATE)
        self.stream = cast("AudioStream", stream)

    def write_until(self, seconds: float) -> None:
        """Encode up to this time; after the waveform's end comes silence."""
        from av import AudioFrame

        end = round(seconds * SAMPLE_RATE)
        while self.written < end:
            block = fit_length(self.waveform[:, self.written :], min(BLOCK, end - self.written))
            frame = AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = SAMPLE_RATE, self.written
            self.output.mux(self.stream.encode(frame))
            self.written += frame.samples

    def finish(self, seconds: float) -> None:
        self.write_until(seconds)
        self.output.mux(self.stream.encode(None))


@contextmanager
def explained(video_path: Path, out_path: Path) -> Iterator[None]:
    """FFmpeg's errors as a sentence."""
    from av.error import FFmpegError

    try:
        yield
    except FFmpegError as error:
        reason = f"{out_path.name} cannot be written: {error.strerror}."
        if isinstance(error, OSError):
            raise OSError(f"{reason} Check the space on the disk and the permissions.") from error
        raise ValueError(f"{reason} {video_path.name} may be damaged: convert it first.") from error
