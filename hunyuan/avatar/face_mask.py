"""A face's box to the mask inside which its speech acts: geometry only.

Axes: b batch, h w height and width, in pixels and then in latents.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .config import PATCH
from .timing import FRAMES_PER_LATENT, AvatarTiming
from .video_vae_config import SPACE_RATIO

ENLARGE = 3.0  # as trained: a side of the mask, in sides of the face's box
SAME_SHAPE = 1.25  # by how much proportions may differ: the picture's own change when it is resized


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


def fit_mask(
    mask: Tensor, height: int, width: int, timing: AvatarTiming, original: tuple[int, int] | None = None
) -> Tensor:
    """Any mask, drawn or computed, as `latent_mask` gives it for this picture and this length of speech.

    mask:    (t, h, w) in [0, 1], of any size in the picture's proportions: one for the whole video, one for
        each latent, or at least one for each video frame, of which a latent takes the mean of its own.
    original: height and width of the picture before it was resized, whose proportions do as well.
    Returns: (1, 1, 1 or ring latents, height / 8, width / 8).
    Raises:  ValueError for a mask that marks nothing, other proportions, or another number.
    """
    _check_mask(mask, (height, width), original or (height, width))
    groups = _by_latent(mask, timing)
    latents = [latent_mask(_resized(group, height, width).mean(0, keepdim=True)) for group in groups]
    filled = latents + [latents[-1]] * (timing.ring_latents - len(latents) if len(latents) > 1 else 0)
    fitted = torch.cat(filled, dim=2)
    if not fitted[..., ::PATCH, ::PATCH].any():  # as trained, a token looks at one of its latents alone
        token = PATCH * SPACE_RATIO
        raise ValueError(
            f"What the mask marks is too small for a video of {width} x {height}: the model tells"
            f" {token} x {token} pixels apart, so nobody would speak. Mark more, or make the video larger."
        )
    return fitted


def _check_mask(mask: Tensor, size: tuple[int, int], original: tuple[int, int]) -> None:
    if mask.ndim != 3 or 0 in mask.shape:
        raise ValueError(f"A mask is (frames, height, width), not {tuple(mask.shape)}. Draw one.")
    if not mask.isfinite().all():
        raise ValueError("The mask holds values that are no numbers (NaN or infinity). Make it anew.")
    if not mask.any():
        raise ValueError("The mask is empty: nothing in it is white, so nobody would speak. Mark the face.")
    height, width = mask.shape[1:]
    changes = [width / height * h / w for h, w in (size, original)]
    if not any(1 / SAME_SHAPE < change < SAME_SHAPE for change in changes):
        raise ValueError(
            f"The mask of {width} x {height} pixels has not the proportions of the reference image of"
            f" {original[1]} x {original[0]}. Draw it over that image."
        )


def _by_latent(mask: Tensor, timing: AvatarTiming) -> list[Tensor]:
    """The masks that each latent takes the mean of."""
    # A short clip may have as many frames as its ring has latents: then each frame has its mask.
    if len(mask) in (1, timing.latents) or len(mask) == timing.ring_latents != timing.kept_frames:
        return list(mask.split(1))
    if len(mask) < timing.kept_frames:
        raise ValueError(
            f"There are {len(mask)} masks for {timing.kept_frames} video frames ({timing.latents} latents)."
            " Give one for the whole video, or one for each frame."
        )
    frames = mask[: timing.decoded_frames]
    return [frames[:1], *frames[1:].split(FRAMES_PER_LATENT)]


def _resized(mask: Tensor, height: int, width: int) -> Tensor:
    if mask.shape[1:] == (height, width):
        return mask.float()
    return F.interpolate(mask[None].float(), (height, width), mode="bilinear", antialias=True)[0].clamp(0, 1)
