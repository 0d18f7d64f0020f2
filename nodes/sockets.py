"""What travels between nodes: our own sockets, and the way to and from ComfyUI's VIDEO, IMAGE and AUDIO."""

import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

from .. import host
from ..hunyuan.foley.audio_vae import AudioVAE
from ..hunyuan.foley.timing import SAMPLE_RATE, check_length
from ..hunyuan.media.audio import check_waveform, resample, to_mono
from ..hunyuan.media.container import probe, read_frames
from ..hunyuan.media.video import frames_from_tensor

if TYPE_CHECKING:
    from ..hunyuan.foley.sync_encoder import SyncEncoder
    from ..hunyuan.foley.visual_encoder import VisualEncoder

io = host.io

VideoEncoderSocket = io.Custom("HYAV_VIDEO_ENCODER")
VideoFeaturesSocket = io.Custom("HYAV_VIDEO_FEATURES")

# What `validate_inputs` is given for an input that is not connected: ComfyUI leaves that out, and passes None
# for what is connected and not made yet.
NOT_CONNECTED = object()

TICK = 1e-6  # of a frame: what is left of a whole number after rounding

Frames = Iterator[tuple[float, np.ndarray]]


@dataclass(frozen=True, eq=False)
class VideoEncoder:
    """HYAV_VIDEO_ENCODER: what is visible, and when things happen. One patcher holds both networks."""

    visual: "VisualEncoder"
    sync: "SyncEncoder"
    patcher: Any

    @classmethod
    def of(cls, visual: "VisualEncoder", sync: "SyncEncoder") -> "VideoEncoder":
        return cls(visual, sync, host.patcher(nn.ModuleList([visual, sync])))


@dataclass(frozen=True)
class Footage:
    """A part of a video or of a batch of images: frames with their times, roughly how many, and how long."""

    frames: Frames
    count: int
    seconds: float


@contextmanager
def open_footage(
    video: Any | None,
    images: Tensor | None,
    fps: float,
    start: float = 0.0,
    seconds: float = 0.0,
    *,
    any_length: bool = False,
) -> Iterator[Footage]:
    """The part from `start` on, `seconds` long or to the end if that is 0; of VIDEO, or of IMAGE at `fps`.

    any_length: it may be longer than one generation.
    Raises:     ValueError if neither or both are connected, or the part is too long.
    """
    if (video is None) == (images is None):
        raise ValueError("Connect either a video or images, so that it is clear what to watch.")
    if video is not None and is_made_of_images(video):
        parts = video.get_components()
        images, fps = parts.images, float(parts.frame_rate)
    if images is not None:
        yield limited(footage_of_images(images, fps, start, seconds), any_length)
    else:
        with video_file(video) as path:
            yield limited(footage_of_file(path, *trimmed(video, start, seconds)), any_length)


def limited(footage: Footage, any_length: bool) -> Footage:
    """The footage. Raises ValueError if it is longer than one generation, unless it may be."""
    if not any_length:
        windowed = "set a greater length and give the model Sliding Windows"
        check_length(footage.seconds, f"its start and its length, or {windowed}")
    return footage


def is_made_of_images(video: Any) -> bool:
    """Whether a VIDEO (of Create Video, say) has no file behind it: its stream would be a lossy copy."""
    return "get_stream_source" not in vars(type(video))


def footage_of_images(images: Tensor, fps: float, start: float, seconds: float) -> Footage:
    """images: (t, h, w, c), float in [0, 1]; channels after the third are not looked at."""
    seconds = seconds or len(images) / fps - start
    first, last = (math.ceil(time * fps - TICK) for time in (start, start + seconds))
    part = images[first:last, ..., :3]
    return Footage(frames_from_tensor(part, fps), len(part), seconds)


def footage_of_file(path: Path, start: float, seconds: float) -> Footage:
    """Decoded one by one, from the file's own timestamps."""
    info = probe(path)
    length = seconds or info.end_time - start
    return Footage(read_frames(path, start, seconds or None), round(length * info.frame_rate), length)


def trimmed(video: Any, start: float, seconds: float) -> tuple[float, float]:
    """A part of a VIDEO as a part of its file: since ComfyUI 0.23 the VIDEO itself may be a part already."""
    window = getattr(video, "get_active_trim_window", None)
    offset, available = window() if window else (0.0, 0.0)
    if available:
        seconds = min(seconds, available - start) if seconds else available - start
    return offset + start, seconds


@contextmanager
def video_file(video: Any) -> Iterator[Path]:
    """The file behind a VIDEO; one that is only in memory is written out for as long as it is needed."""
    source: str | BinaryIO = video.get_stream_source()
    if isinstance(source, str):
        yield Path(source)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video"
        source.seek(0)
        with path.open("wb") as file:
            shutil.copyfileobj(source, file)
        yield path


def empty_latent(batch_size: int, channels: int, latent_frames: int) -> dict[str, Any]:
    """LATENT for sound that is made from nothing."""
    return latent(torch.zeros(batch_size, channels, latent_frames))


def latent(samples: Tensor) -> dict[str, Any]:
    """LATENT. samples: (b, c, latent frames)."""
    return {"samples": samples, "type": "audio", "sample_rate": SAMPLE_RATE}


def audio(waveform: Tensor) -> dict[str, Any]:
    """AUDIO. waveform: (b, channels, samples) at 48 kHz."""
    return {"waveform": waveform.to("cpu", torch.float32), "sample_rate": SAMPLE_RATE}


def audio_vae(vae: Any) -> AudioVAE:
    """The network in a VAE. Raises ValueError if it is not one for sound."""
    network = vae.first_stage_model
    if not isinstance(network, AudioVAE):
        raise ValueError("This VAE is not Foley's. Connect one from the Foley VAE Loader.")
    return network


def text_encoder(clip: Any) -> Any:
    """The network in a CLIP: it encodes both prompts together. Raises ValueError if it is not Foley's."""
    network = clip.cond_stage_model
    if not hasattr(network, "encode"):
        raise ValueError("This CLIP is not Foley's. Connect one from the Foley Text Encoder Loader.")
    return network


def mono(sound: Mapping[str, Any] | None) -> Tensor:
    """AUDIO, of any rate and number of channels, as (b, 1, samples) at 48 kHz.

    Raises: ValueError if there is no sound.
    """
    return torch.from_numpy(np.stack(takes(sound, most_channels=1)))


def takes(
    sound: Mapping[str, Any] | None, most_channels: int, sample_rate: int = SAMPLE_RATE
) -> list[np.ndarray]:
    """Each sound of an AUDIO as (channels, samples) at a rate; with more channels than that, mixed to mono.

    Raises: ValueError if there is no sound.
    """
    if sound is None:
        raise ValueError("There is no sound: the video that was loaded has none. Connect another AUDIO.")
    given = (check_waveform(take.float().cpu().numpy()) for take in sound["waveform"])
    narrow = (take if len(take) <= most_channels else to_mono(take) for take in given)
    return [resample(take, sound["sample_rate"], sample_rate) for take in narrow]
