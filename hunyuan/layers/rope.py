"""Rotary position embedding over adjacent channel pairs (RoFormer, arXiv:2104.09864), in float32.

Axes: b batch, n tokens, d channels per head.
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor

THETA = 10_000.0  # base of the geometric series of frequencies


def rotary_table(positions: Tensor, head_size: int, theta: float = THETA) -> Tensor:
    """Cosines and sines of every position and channel pair.

    positions: (n,), any number type. Returns (2, n, head_size / 2), float32.
    """
    exponents = torch.arange(0, head_size, 2, dtype=torch.float32, device=positions.device) / head_size
    angles = torch.outer(positions.float(), 1.0 / theta**exponents)
    return torch.stack([angles.cos(), angles.sin()])


def grid_rotary_table(axes: Sequence[Tensor], sizes: Sequence[int], theta: float) -> Tensor:
    """The table of tokens with several coordinates, each turning channels of its own.

    axes: for each coordinate, (n,). sizes: how many channels of a head it turns, in the same order.
    Returns (2, n, head size / 2), float32.
    """
    parts = [rotary_table(axis, size, theta) for axis, size in zip(axes, sizes, strict=True)]
    return torch.cat(parts, dim=-1)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn each pair (2m, 2m + 1) of the last axis by its position's angle.

    x: (b, heads, n, d). table: (2, n, d / 2) from `rotary_table`. Returns x's shape and dtype.
    """
    cos, sin = table
    even, odd = rearrange(x.float(), "... (pairs two) -> two ... pairs", two=2)
    turned = torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1)
    return turned.flatten(-2).to(x.dtype)
