"""Pictures from files, as they are meant to be seen, whatever their format makes of pixels.

Pictures are (h, w, 3) uint8 RGB; masks are (t, h, w) float32 in [0, 1].
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .source import check_readable

if TYPE_CHECKING:
    from PIL.Image import Image

DEEP = ("I", "F")  # the first letter of Pillow's modes with more than 8 bits
LARGEST_8_BIT, LARGEST_16_BIT = 255, 65_535
PAPER = (255, 255, 255)  # behind what is transparent


def read_picture(path: str | Path) -> np.ndarray:
    """A photograph or drawing, turned as its EXIF says, on white where it is transparent.

    Raises: FileNotFoundError, PermissionError; ValueError if Pillow cannot read it.
    """
    from PIL import Image

    with opened(path) as picture:
        upright = shallow(turned(picture))
        layers = upright.convert("RGBA")
        paper = Image.new("RGBA", layers.size, PAPER)
        return np.asarray(Image.alpha_composite(paper, layers).convert("RGB"))


def read_mask(path: str | Path) -> Tensor:
    """A mask: 1 where it is white, 0 where it is black or transparent; all frames of a moving picture.

    Raises: as `read_picture`.
    """
    from PIL import Image, ImageSequence

    frames = []
    with opened(path) as picture:
        for frame in ImageSequence.Iterator(picture):
            layers = shallow(turned(frame)).convert("RGBA")
            ground = Image.new("RGBA", layers.size, (0, 0, 0))
            frames.append(np.asarray(Image.alpha_composite(ground, layers).convert("L")))
    return torch.from_numpy(np.stack(frames)).float() / LARGEST_8_BIT


@contextmanager
def opened(path: str | Path) -> "Iterator[Image]":
    from PIL import Image

    path = Path(path)
    check_readable(path)
    try:
        with Image.open(path) as picture:
            yield picture
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path.name} is no picture that can be read: {error}. Use a PNG or JPEG."
        ) from error


def turned(picture: "Image") -> "Image":
    from PIL import ImageOps

    return ImageOps.exif_transpose(picture)


def shallow(picture: "Image") -> "Image":
    """The picture at 8 bits: Pillow itself would cut off what is brighter than 255."""
    from PIL import Image

    if not picture.mode.startswith(DEEP):
        return picture
    levels = np.asarray(picture, dtype=np.float64)
    if levels.max(initial=0) > LARGEST_8_BIT or picture.mode.startswith("I;16"):
        levels = levels * LARGEST_8_BIT / LARGEST_16_BIT
    return Image.fromarray(np.rint(levels).clip(0, LARGEST_8_BIT).astype(np.uint8))
