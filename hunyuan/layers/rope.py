"""Rotary position embedding over adjacent channel pairs (RoFormer, arXiv:2104.09864), in float32.

Axes: b batch, n tokens, d channels per head.
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor

from .rounding import multiply_add

THETA = 10_000.0  # base of the geometric series of frequencies


def rotary_table(positions: Tensor, head_size: int, theta: float = THETA) -> Tensor:
    """What `rotate` multiplies every channel with, and its partner in the pair: the cosine, and plus or minus
    the sine of the pair's angle.

    positions: (n,), any number type. Returns (2, n, head_size), float32.
    """
    exponents = torch.arange(0, head_size, 2, dtype=torch.float32, device=positions.device) / head_size
    angles = torch.outer(positions.float(), 1.0 / theta**exponents)
    cos, sin = angles.cos(), angles.sin()
    return rearrange([cos, cos, -sin, sin], "(two pair) n m -> two n (m pair)", two=2)


def grid_rotary_table(axes: Sequence[Tensor], sizes: Sequence[int], theta: float) -> Tensor:
    """The table of tokens with several coordinates, each turning channels of its own.

    axes: for each coordinate, (n,). sizes: how many channels of a head it turns, in the same order.
    Returns (2, n, head size), float32.
    """
    parts = [rotary_table(axis, size, theta) for axis, size in zip(axes, sizes, strict=True)]
    return torch.cat(parts, dim=-1)


def rotate(x: Tensor, table: Tensor, into: Tensor | None = None) -> Tensor:
    """Turn each pair (2m, 2m + 1) of the last axis by its position's angle.

    x: (..., n, d). table: (2, n, d) from `rotary_table`. Returns x's shape and dtype.
    into: a tensor of that shape, and of any dtype, in which the answer is written instead.
    """
    cos, sin = table
    partners = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    # The table is float32, and so is what is multiplied with it, whatever x is.
    return multiply_add(x * cos, partners, sin, x.new_empty(x.shape) if into is None else into)
