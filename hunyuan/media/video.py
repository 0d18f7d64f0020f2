"""Frames on their way to the encoders: which ones are seen, and at what size.

Frames are picked by their times; nothing is interpolated. The two resizes are exact to the last bit: a level
more or less in a pixel shows in the encoders' features.

Axes: t frames, c channels (RGB), h w height and width.
"""

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .container import after

LONGEST_RATIO = 100  # long to short side; beyond it a frame, scaled by its short side, fills the memory


class FramePicker:
    """Picks frames for a steady `rate` (frames per second) from frames that come at any times.

    Each frame fills every grid point up to its own time that is still empty: the published selection rule.
    """

    def __init__(self, rate: float, max_seconds: float, restart: float = math.inf) -> None:
        """restart: seconds, many steps, after which the grid begins anew, as in a clip that is cut there."""
        self.step, self.restart = 1 / rate, restart
        self.max_seconds = max_seconds
        self.begin, self.next = 0.0, 0.0  # next: seconds after `begin`

    def take(self, time: float) -> int:
        """How often the frame shown at `time` (seconds) is picked: not at all, once, or several times."""
        if time < 0 or time > self.max_seconds:
            return 0
        picks = 0
        # As trained: the grid is accumulated in float64, not multiplied. At 25 fps it drifts by some 1e-13 s,
        # so that even a true 25 fps source is not copied one to one.
        while after(self.begin, time) >= self.next:
            picks += 1
            self.next += self.step
            if self.next > self.restart - self.step / 2:
                self.begin, self.next = self.begin + self.restart, 0.0
        return picks


def resize_squashed(frame: np.ndarray, size: int = 512) -> np.ndarray:
    """The whole frame in a square, its aspect ratio ignored, for SigLIP 2.

    frame:   (h, w, 3) uint8. Returns (size, size, 3) uint8.
    Raises:  ValueError if it is no such frame.
    """
    from PIL import Image

    check_frame(frame)
    image = Image.fromarray(np.ascontiguousarray(frame))
    # As trained: PIL's bilinear filter, which averages over an area when it shrinks. No other is exact.
    return np.array(image.resize((size, size), Image.Resampling.BILINEAR))


def resize_and_crop(frame: np.ndarray, size: int = 224) -> Tensor:
    """The frame's centre square, the short side scaled to `size`, for Synchformer.

    frame:   (h, w, 3) uint8. Returns (3, size, size) uint8.
    Raises:  ValueError if it is no such frame, or more than 100 times as long as it is wide.
    """
    check_frame(frame)
    image = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None]
    height, width = resized_shape(frame.shape[0], frame.shape[1], size)
    if (height, width) != frame.shape[:2]:
        # As trained: torch's own uint8 kernel, which rounds and clamps between its two passes. A resize in
        # float is off by up to 20 levels.
        image = F.interpolate(image, (height, width), mode="bicubic", antialias=True, align_corners=False)

    # As trained: Python's rounding, halves to even.
    top, left = round((height - size) / 2), round((width - size) / 2)
    return image[0, :, top : top + size, left : left + size].contiguous()


def resized_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width once the short side is `size`."""
    short, long = sorted((height, width))
    if long > LONGEST_RATIO * short:
        raise ValueError(
            f"The picture is {width} x {height}, more than {LONGEST_RATIO} times as long as it is wide."
            " Crop the video first."
        )
    scaled = int(size * long / short)  # As trained: truncated, not rounded.
    return (scaled, size) if height > width else (size, scaled)


def normalise(frames: Tensor) -> Tensor:
    """uint8 levels of squashed frames to float32 in [-1, 1], in the published order of operations."""
    return (frames.float() / 255 - 0.5) / 0.5


def normalise_crops(frames: Tensor) -> Tensor:
    """uint8 levels of cropped frames to float32 in [-1, 1].

    As trained: multiplied by 1/255 where the other frames are divided by 255; the last digit differs.
    """
    return (frames.float() * (1 / 255) - 0.5) / 0.5


def frames_from_tensor(
    images: Tensor | np.ndarray, fps: Fraction | float
) -> Iterator[tuple[float, np.ndarray]]:
    """Images at a steady rate, as frames with their times in seconds.

    images: (t, h, w, 3), float in [0, 1] or uint8.
    Raises: ValueError for other images, or a rate that is not above 0.
    """
    if not 0 < fps < float("inf"):
        raise ValueError(f"A frame rate of {fps} fps is none: it must be above 0.")
    if images.ndim != 4:
        raise ValueError(f"Images have 4 axes (frames, height, width, RGB), these have {images.ndim}.")
    numerator, denominator = (fps, 1) if isinstance(fps, float) else Fraction(fps).as_integer_ratio()
    for i, image in enumerate(images):
        yield float(i) * denominator / numerator, to_levels(image)


def to_levels(image: Tensor | np.ndarray) -> np.ndarray:
    """One image as uint8: floats in [0, 1] are scaled to 0..255 and rounded."""
    if isinstance(image, Tensor):
        image = (image.float() if image.is_floating_point() else image).cpu().numpy()
    if image.dtype.kind == "f":
        image = np.clip(np.rint(image.astype(np.float32) * 255), 0, 255).astype(np.uint8)
    check_frame(image)
    return image


def check_frame(frame: np.ndarray) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0:
        raise ValueError(
            f"A frame is (height, width, 3) in uint8, RGB; this one is {frame.shape} in {frame.dtype}."
            " Convert the images to RGB first."
        )
