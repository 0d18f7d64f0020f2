"""A face's box to the mask inside which its speech acts: geometry only.

Axes: b batch, h w height and width, in pixels and then in latents.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .video_vae_config import SPACE_RATIO

ENLARGE = 3.0  # as trained: a side of the mask, in sides of the face's box


def face_rectangle(
    box: Sequence[float], height: int, width: int, enlarge: float = ENLARGE
) -> tuple[int, int, int, int]:
    """The enlarged box, cut at the borders of the image: x1, y1, x2, y2 in whole pixels, ends excluded.

    Empty, x2 = x1 or y2 = y1, if none of it lies within the image.

    box: x and y of the upper left corner, width, height; in pixels of the image.
    """
    x, y, box_width, box_height = map(float, box)
    x2, y2 = x + box_width, y + box_height
    # As trained: sides are differences of corners, with their rounding, and halves are rounded down.
    centre_x, centre_y = math.floor((x2 + x) / 2), math.floor((y2 + y) / 2)
    half_width, half_height = math.floor(enlarge * (x2 - x) / 2), math.floor(enlarge * (y2 - y) / 2)
    left, top = max(centre_x - half_width, 0), max(centre_y - half_height, 0)
    right, bottom = min(centre_x + half_width, width), min(centre_y + half_height, height)
    return left, top, max(left, right), max(top, bottom)


def face_mask(box: Sequence[float] | None, height: int, width: int, enlarge: float = ENLARGE) -> Tensor:
    """Ones inside the enlarged box, or, as released, everywhere if there is no face: (h, w) float32."""
    if box is None:
        return torch.ones(height, width)
    left, top, right, bottom = face_rectangle(box, height, width, enlarge)
    mask = torch.zeros(height, width)
    mask[top:bottom, left:right] = 1
    return mask


def latent_mask(mask: Tensor) -> Tensor:
    """A mask in pixels at the resolution of latents, with soft borders, as the transformer takes it.

    As trained: bilinear without smoothing, so a latent takes the mean of the four pixels in its middle.

    mask:    (t, h, w) in [0, 1], a mask for each latent frame, or t = 1 for all of them; h, w multiples of 8.
    Returns: (1, 1, t, h / 8, w / 8).
    Raises:  ValueError for another shape.
    """
    if mask.ndim != 3 or any(side % SPACE_RATIO or not side for side in mask.shape[1:]):
        raise ValueError(
            f"A mask is (frames, height, width) like the reference image, in multiples of {SPACE_RATIO} "
            f"pixels, not {tuple(mask.shape)}. Resize it to the image."
        )
    size = [side // SPACE_RATIO for side in mask.shape[1:]]
    small = F.interpolate(mask[:, None].float(), size, mode="bilinear", align_corners=False)
    return small.transpose(0, 1)[None]
