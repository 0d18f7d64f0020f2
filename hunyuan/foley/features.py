"""A clip as the transformer sees it: what is visible, and when things happen.

Frames come one by one with their times, both encoders are fed in small batches, and nothing else is kept:
memory depends neither on the clip's length nor on its resolution. While the encoders work, the next frames
are decoded in a thread of their own, and made small in some more where the encoders leave the CPU free.

Axes: t frames, c channels, h w height and width.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..media.ahead import Helpers, Submit, ahead, at_once
from ..media.video import FramePicker, normalise, normalise_crops, resize_and_crop, resize_squashed
from .sync_encoder import SyncEncoder, segments_of
from .timing import MAX_SECONDS, SEGMENT_FRAMES, SEGMENT_STEP, SYNC_RATE, VISUAL_RATE, FoleyTiming
from .visual_encoder import VisualEncoder

BATCH = 8  # images, or segments, that an accelerator encodes at once
RESIZERS = 4  # threads beside an accelerator

# A frame (c, h, w) uint8, to be as small as an encoder sees it, and how often it is seen.
Picked = tuple["Future[Tensor]", int]


@dataclass(frozen=True, kw_only=True)
class FoleyFeatures:
    """visual: (1, frames at 8 fps, visual size). sync: (1, 8 segments, sync size).

    sync_frames: how many frames were picked at 25 fps; they say how long the clip is.
    """

    visual: Tensor
    sync: Tensor
    sync_frames: int

    @property
    def timing(self) -> FoleyTiming:
        return FoleyTiming.from_sync_frames(self.sync_frames)


def encode_video(
    frames: Iterable[tuple[float, np.ndarray]],
    visual_encoder: VisualEncoder,
    sync_encoder: SyncEncoder,
    *,
    batch: int | None = None,
    max_seconds: float = MAX_SECONDS,
    restart: float = math.inf,
) -> FoleyFeatures:
    """Features of a clip whose frames arrive in order.

    frames: (time in seconds, (h, w, 3) uint8 RGB). Frames before 0 or after `max_seconds` are not looked at.
    batch:  images or segments encoded at once. By default 1 on a CPU, where a batch gains nothing and its
            size would show in the last digits, and 8 elsewhere.
    restart: seconds between the starts of the windows in which a long clip is heard: frames are picked anew
            from each on, so that a window is seen as the clip cut there.
    Raises: ValueError if no frame lies within the clip; whatever the frames raise.
    """
    stream = FeatureStream(
        visual_encoder, sync_encoder, batch=batch, max_seconds=max_seconds, restart=restart
    )
    # Encoders work in bursts: once a batch is full. Meanwhile, the frames of the next one are made ready.
    with Helpers(0 if is_on_cpu(sync_encoder) else RESIZERS) as helpers:
        looks = (stream.look(time, frame, helpers.submit) for time, frame in frames)
        with closing(ahead(looks, SEGMENT_STEP * stream.sync.batch)) as ready:
            for look in ready:
                stream.add(look)
    return stream.finish()


@dataclass(frozen=True)
class Look:
    """What both encoders see of a frame; None for one that does not."""

    visual: Picked | None
    sync: Picked | None


class FeatureStream:
    """Both encoders, handed one frame after another; see `encode_video`."""

    def __init__(
        self,
        visual_encoder: VisualEncoder,
        sync_encoder: SyncEncoder,
        *,
        batch: int | None = None,
        max_seconds: float = MAX_SECONDS,
        restart: float = math.inf,
    ) -> None:
        self.visual = VisualStream(visual_encoder, batch, max_seconds, restart)
        self.sync = SyncStream(sync_encoder, batch, max_seconds, restart)

    def see(self, time: float, frame: np.ndarray) -> None:
        """time: seconds. frame: (h, w, 3) uint8 RGB."""
        if look := self.look(time, frame):
            self.add(look)

    def look(self, time: float, frame: np.ndarray, submit: Submit = at_once) -> Look | None:
        """The first half of `see`, which may be done ahead of the second, in another thread.

        submit: who makes frames small. Returns None if neither encoder is to see the frame.
        """
        visual, sync = self.visual.look(time, frame, submit), self.sync.look(time, frame, submit)
        return Look(visual, sync) if visual or sync else None

    def add(self, look: Look) -> None:
        """The second half: what was made small is encoded, once there is enough for a batch."""
        if look.visual:
            self.visual.add(*look.visual)
        if look.sync:
            self.sync.add(*look.sync)

    def finish(self) -> FoleyFeatures:
        """Raises ValueError if no frame lay within the clip."""
        # The sync stream first: it says so if there was nothing to see.
        sync = self.sync.finish()
        return FoleyFeatures(visual=self.visual.finish(), sync=sync, sync_frames=self.sync.count)


class VisualStream:
    """Frames at 8 fps through SigLIP 2. A frame that is picked several times is encoded once."""

    def __init__(
        self, encoder: VisualEncoder, batch: int | None, max_seconds: float, restart: float = math.inf
    ) -> None:
        self.encoder, self.batch = encoder, batch or default_batch(encoder)
        self.picker = FramePicker(VISUAL_RATE, max_seconds, restart)
        self.waiting: list[Tensor] = []
        self.repeats: list[int] = []
        self.features: list[Tensor] = []

    def look(self, time: float, frame: np.ndarray, submit: Submit = at_once) -> Picked | None:
        picks = self.picker.take(time)
        return (submit(squashed, frame, self.encoder.image_size), picks) if picks else None

    def add(self, image: "Future[Tensor]", picks: int) -> None:
        self.waiting.append(image.result())
        self.repeats.append(picks)
        if len(self.waiting) == self.batch:
            self._encode()

    def finish(self) -> Tensor:
        if self.waiting:
            self._encode()
        return torch.cat(self.features).repeat_interleave(torch.tensor(self.repeats), dim=0)[None]

    def _encode(self) -> None:
        images = torch.stack(self.waiting)
        self.waiting.clear()
        self.features.append(encode(self.encoder, images, normalise))


class SyncStream:
    """Frames at 25 fps through Synchformer, in segments of 16 that start every 8 frames."""

    def __init__(
        self, encoder: SyncEncoder, batch: int | None, max_seconds: float, restart: float = math.inf
    ) -> None:
        self.encoder, self.batch = encoder, batch or default_batch(encoder)
        self.picker = FramePicker(SYNC_RATE, max_seconds, restart)
        self.waiting: list[Tensor] = []
        self.features: list[Tensor] = []
        self.count = 0

    def see(self, time: float, frame: np.ndarray) -> None:
        """As `FeatureStream.see`."""
        if picked := self.look(time, frame):
            self.add(*picked)

    def look(self, time: float, frame: np.ndarray, submit: Submit = at_once) -> Picked | None:
        picks = self.picker.take(time)
        return (submit(resize_and_crop, frame, self.encoder.image_size), picks) if picks else None

    def add(self, crop: "Future[Tensor]", picks: int) -> None:
        self.waiting += [crop.result()] * picks
        self.count += picks
        while len(self.waiting) >= SEGMENT_FRAMES + SEGMENT_STEP * (self.batch - 1):
            self._encode(self.batch)

    def finish(self) -> Tensor:
        if not self.count:
            raise ValueError(
                f"The clip shows no frame between 0 and {self.picker.max_seconds:g} s."
                " Check its start and length."
            )
        if self.count < SEGMENT_FRAMES:
            # A clip shorter than a segment (0.64 s) stands still on its last frame until the segment is full.
            self.waiting += [self.waiting[-1]] * (SEGMENT_FRAMES - self.count)
        remaining = (len(self.waiting) - SEGMENT_FRAMES) // SEGMENT_STEP + 1
        if remaining > 0:
            self._encode(remaining)
        return torch.cat(self.features, dim=1)

    def _encode(self, segments: int) -> None:
        frames = torch.stack(self.waiting[: SEGMENT_FRAMES + SEGMENT_STEP * (segments - 1)])
        del self.waiting[: SEGMENT_STEP * segments]
        self.features.append(encode(self.encoder, frames, as_segments))


def squashed(frame: np.ndarray, size: int) -> Tensor:
    return torch.from_numpy(resize_squashed(frame, size)).permute(2, 0, 1)


def as_segments(frames: Tensor) -> Tensor:
    return segments_of(normalise_crops(frames))[None]


@torch.no_grad()
def encode(
    encoder: VisualEncoder | SyncEncoder, frames: Tensor, prepare: Callable[[Tensor], Tensor]
) -> Tensor:
    """The encoder's features of one batch, on the CPU in float32.

    frames: (t, c, h, w) uint8, which is what is copied. prepare: makes the encoder's inputs of them.
    """
    parameter = next(encoder.parameters())
    inputs = prepare(frames.to(parameter.device)).to(parameter.dtype)
    with tensor_cores(parameter.device):
        return encoder(inputs).to("cpu", torch.float32)


@contextmanager
def tensor_cores(device: torch.device) -> Iterator[None]:
    """float32 products as an NVIDIA card's tensor cores take them, with ten bits of mantissa (TF32).

    As many bits as float16 has, in which the published program runs Synchformer. Elsewhere nothing changes.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def default_batch(encoder: torch.nn.Module) -> int:
    return 1 if is_on_cpu(encoder) else BATCH


def is_on_cpu(encoder: torch.nn.Module) -> bool:
    return next(encoder.parameters()).device.type == "cpu"
