"""Frames of which only a part is shown, so that only that part is heard."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch.nn.functional as F
from torch import Tensor

GREY = 127.5  # where nothing is shown: 0 once levels are normalised to [-1, 1]


def mask_frames(
    frames: Iterable[tuple[float, np.ndarray]], mask: Tensor
) -> Iterator[tuple[float, np.ndarray]]:
    """The frames, grey where the mask is 0.

    frames: (time, (h, w, 3) uint8).
    mask:   (t, h, w) in [0, 1], of any size: one for all frames, or one for each.
    Raises: ValueError if the masks are neither one nor as many as the frames.
    """
    count = 0
    for i, (time, frame) in enumerate(frames):
        count += 1
        if len(mask) == 1:
            yield time, _masked(frame, mask[0])
        elif i < len(mask):
            yield time, _masked(frame, mask[i])
    if len(mask) not in (1, count):
        raise ValueError(
            f"There are {len(mask)} masks for {count} frames. Give one for all frames, or one for each frame"
            " of the part that is watched."
        )


def _masked(frame: np.ndarray, mask: Tensor) -> np.ndarray:
    resized = F.interpolate(mask[None, None].float(), frame.shape[:2], mode="bilinear", antialias=True)
    shown = resized[0, 0].cpu().numpy()[..., None]
    return np.rint(np.float32(GREY) + (frame - np.float32(GREY)) * shown).clip(0, 255).astype(np.uint8)
