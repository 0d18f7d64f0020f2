"""The portrait: brought to a size the model was trained at, and into the ranges that each network reads.

Axes: h w height and width. Images are (h, w, 3) uint8 RGB.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from .video_vae import VideoVAE

MULTIPLE = 64  # pixels: both sides are multiples of it
DEFAULT_SIZE = 704  # short side, in pixels
LONG_SIDES = {704: 1216, 512: 768, 384: 576, 256: 384}  # as trained: the area's other factor
LONG_RATIO = 1.5  # and for other sizes

LLAVA_SIZE = 336  # pixels
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def bucket(height: int, width: int, size: int = DEFAULT_SIZE) -> tuple[int, int]:
    """The height and width to resize an image to: the short side near `size`, the area within its budget.

    As trained: sides are rounded one by one, so proportions change a little, and the area may come out
    above its budget.

    Raises: ValueError for an image so narrow that nothing of it would be left.
    """
    budget = size * LONG_SIDES.get(size, LONG_RATIO * size)
    sides = _rounded(height, width, size / min(height, width))
    if math.prod(sides) > budget:
        sides = _rounded(height, width, math.sqrt(budget / width / height))
    if 0 in sides:
        raise ValueError(
            f"A reference image of {width} x {height} pixels is too narrow for size {size}. Crop it."
        )
    return sides


def _rounded(height: int, width: int, scale: float) -> tuple[int, int]:
    # As trained: halves go to the even multiple.
    return round(height * scale / MULTIPLE) * MULTIPLE, round(width * scale / MULTIPLE) * MULTIPLE


def resize(image: np.ndarray, size: int = DEFAULT_SIZE) -> np.ndarray:
    """The image at its bucket. All networks, the face detector too, look at this one."""
    from PIL import Image

    height, width = bucket(image.shape[0], image.shape[1], size)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def vae_pixels(image: np.ndarray) -> Tensor:
    """For the video VAE: (1, 3, 1, h, w), float32 in [-1, 1]."""
    return (torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 127.5 - 1)[None, :, None]


def llava_pixels(image: np.ndarray) -> Tensor:
    """For LLaVA, proportions lost: (1, 3, 336, 336), float32, normalised as CLIP's."""
    from PIL import Image

    small = Image.fromarray(image).resize((LLAVA_SIZE, LLAVA_SIZE), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(small)).float() / 255
    return ((pixels - torch.tensor(CLIP_MEAN)) / torch.tensor(CLIP_STD)).permute(2, 0, 1)[None]


def reference_latents(vae: "VideoVAE", pixels: Tensor, noise: Tensor | None = None) -> Tensor:
    """The portrait's latents, scaled for the sampler: one frame, which all frames of the video share.

    The released program encodes the portrait repeated to 129 frames and draws from the posterior. Frames that
    are all alike have moments that are all alike: those of one.

    pixels:  (1, 3, 1, h, w), from `vae_pixels`.
    noise:   standard normal, (1, c, 1, h / 8, w / 8), for a draw in place of the mean.
    Returns: (1, c, 1, h / 8, w / 8).
    """
    posterior = vae.encode_tiled(pixels)
    latents = posterior.mode if noise is None else posterior.sample(noise)
    return latents * vae.config.scaling_factor
