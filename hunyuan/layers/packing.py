"""Weights in fewer bits than they are computed in: how each format packs numbers, and what it gives back.

Two families. `fp8`, `fp8_e5m2` and `int8` hold a byte for each number and a float32 scale for each row of
the weight, a row being what makes one output. The formats named as in GGUF files hold blocks of 32 or 256
numbers, each with its own scales, in exactly the bytes of those files.
Source of the block layouts: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and gguf-py's `quants`.

Axes: n blocks of a weight, or rows of it; everything is unpacked to float32 and rounded once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat

import torch
from torch import Tensor

INT8_MAX = 127
SUPERBLOCK = 256  # numbers in a block of a K format
CHUNK = 2**18  # numbers that a CPU packs or unpacks at a time


@dataclass(frozen=True)
class Packing:
    """A format. A row format has a scale for each row; a block format has everything in its bytes."""

    name: str
    dtype: torch.dtype  # of what is stored
    block: int  # numbers in a block; 1 in row formats
    block_bytes: int
    has_scale: bool
    pack_rows: Callable[[Tensor], tuple[Tensor, Tensor | None]]
    unpack_rows: Callable[[Tensor, Tensor | None, torch.dtype], Tensor]

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a weight of this shape is a whole number of blocks."""
        return torch.Size(shape).numel() % self.block == 0

    def stored_shape(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Of the tensor that stands for a weight of `shape`: its rows, or its numbers in blocks."""
        numbers = torch.Size(shape).numel()
        if self.has_scale:
            return shape[0], numbers // shape[0]
        return numbers // self.block, self.block_bytes

    def bytes(self, shape: tuple[int, ...]) -> int:
        """What a weight of `shape` takes, scales included."""
        rows, columns = self.stored_shape(shape)
        return rows * columns * self.dtype.itemsize + (4 * rows if self.has_scale else 0)

    def pack(self, weight: Tensor) -> tuple[Tensor, Tensor | None]:
        """What is stored for a weight, and the scales of its rows, (rows, 1) float32, if the format has any.

        Raises: ValueError if the weight is no whole number of blocks.
        """
        if not self.fits(tuple(weight.shape)):
            raise ValueError(
                f"A weight of shape {tuple(weight.shape)} does not fit {self.name}: it is no whole number of"
                f" blocks of {self.block}. Store it in 16 bits."
            )
        rows = weight.reshape(self.stored_shape(tuple(weight.shape))[0], -1)
        if weight.dtype == self.dtype or not weight.is_cpu:  # packed already, and maybe mapped from a file
            return self.pack_rows(rows)
        parts = [self.pack_rows(some) for some in rows.split(rows_at_a_time(rows.shape[1]))]
        stored, scales = zip(*parts, strict=True)
        return torch.cat(stored), torch.cat(scales) if self.has_scale else None

    def unpack(
        self, stored: Tensor, scale: Tensor | None, shape: tuple[int, ...], dtype: torch.dtype
    ) -> Tensor:
        """The weight again, in a dtype to compute in; see `pack`."""
        if not stored.is_cpu or torch.compiler.is_compiling():
            return self.unpack_rows(stored, scale, dtype).reshape(shape)
        out = torch.empty(shape, dtype=dtype)
        rows, step = out.view(len(stored), -1), rows_at_a_time(out.numel() // len(stored))
        scales = repeat(None) if scale is None else scale.split(step)
        for place, some, their_scales in zip(rows.split(step), stored.split(step), scales, strict=False):
            place.copy_(self.unpack_rows(some, their_scales, dtype))
        return out


def rows_at_a_time(numbers: int) -> int:
    """Of so many numbers each: what a CPU makes on the way then stays in its caches, and leaves no holes."""
    return max(1, CHUNK // numbers)


def _scaled(values: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Values of a byte, exact in any dtype that is computed in, times their row's scale, rounded once."""
    values = values.to(dtype)
    assert scale is not None
    return torch.mul(values, scale, out=torch.empty_like(values))


def _row_scale(weight: Tensor, largest: float) -> Tensor:
    """So that the largest number of each row becomes the largest that the format has; 1 for rows of zeros."""
    peak = weight.abs().amax(dim=1, keepdim=True)
    return torch.where(peak == 0, torch.ones_like(peak), peak / largest)


def _float8(name: str, dtype: torch.dtype) -> Packing:
    def pack(weight: Tensor) -> tuple[Tensor, Tensor]:
        if weight.dtype == dtype:  # a file's own values: no scale makes them better
            return weight, torch.ones(len(weight), 1, device=weight.device)
        scale = _row_scale(weight.float(), torch.finfo(dtype).max)
        return (weight.float() / scale).to(dtype), scale

    return Packing(name, dtype, 1, 1, True, pack, _scaled)


def _pack_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    scale = _row_scale(weight.float(), INT8_MAX)
    return (weight.float() / scale).round().to(torch.int8), scale


def _halves(scale: Tensor) -> Tensor:
    """Float32 scales as the two bytes of a float16: (n, 1) -> (n, 2) uint8."""
    return scale.to(torch.float16).contiguous().view(torch.uint8)


def _from_halves(stored: Tensor) -> Tensor:
    """(n, 2) uint8 -> (n, 1) float32."""
    return stored.contiguous().view(torch.float16).float()


def _round_away(x: Tensor) -> Tensor:
    """To the nearest whole number, halves away from zero, as ggml rounds."""
    return x.sign() * (x.abs() + 0.5).floor()


def _divide(x: Tensor, by: Tensor) -> Tensor:
    """x / by, and 0 where that is a division by 0."""
    return torch.where(by == 0, torch.zeros_like(x), x / torch.where(by == 0, torch.ones_like(by), by))


def _pack_q8_0(blocks: Tensor) -> tuple[Tensor, None]:
    """A block is a float16 scale and 32 signed bytes."""
    blocks = blocks.float()
    scale = blocks.abs().amax(dim=1, keepdim=True) / INT8_MAX
    inverse = _divide(torch.ones_like(scale), scale)
    values = _round_away(blocks * inverse).to(torch.int8).view(torch.uint8)
    return torch.cat([_halves(scale), values], dim=1), None


def _unpack_q8_0(stored: Tensor, _: Tensor | None, dtype: torch.dtype) -> Tensor:
    return (stored[:, 2:].view(torch.int8).float() * _from_halves(stored[:, :2])).to(dtype)


def _pack_q6_k(blocks: Tensor) -> tuple[Tensor, None]:
    """A block is 256 numbers of 6 bits in 16 groups, a signed byte for each group's scale, and their float16.

    Each group's largest number becomes -32, of which there is one more than of positive ones.
    """
    groups = blocks.float().reshape(-1, 16, 16)
    peak = groups.gather(2, groups.abs().argmax(dim=2, keepdim=True))[..., 0]  # (n, 16), with its sign
    scale = peak / -32
    widest = scale.gather(1, scale.abs().argmax(dim=1, keepdim=True))
    d = (widest / -128).to(torch.float16).float()
    steps = _divide(scale, d).round().clamp(-128, 127)  # (n, 16)
    q = (_divide(groups, (d * steps)[..., None]).round().clamp(-32, 31) + 32).to(torch.uint8)

    q = q.reshape(-1, 2, 4, 32)  # halves of 128 numbers, each four rows of 32
    low = (q & 15).reshape(-1, 2, 2, 64)
    low = low[:, :, 0] | (low[:, :, 1] << 4)
    high = q >> 4
    high = high[:, :, 0] | (high[:, :, 1] << 2) | (high[:, :, 2] << 4) | (high[:, :, 3] << 6)
    return torch.cat(
        [low.flatten(1), high.flatten(1), steps.to(torch.int8).view(torch.uint8), _halves(d)], 1
    ), None


def _unpack_q6_k(stored: Tensor, _: Tensor | None, dtype: torch.dtype) -> Tensor:
    low, high, steps, d = stored.split([128, 64, 16, 2], dim=1)
    scale = _from_halves(d) * steps.view(torch.int8).float()  # (n, 16)
    low = low.reshape(-1, 2, 1, 64)
    low = torch.cat([low & 15, low >> 4], dim=2).reshape(-1, 2, 4, 32)
    high = high.reshape(-1, 2, 1, 32)
    high = torch.cat([(high >> shift) & 3 for shift in (0, 2, 4, 6)], dim=2)
    q = (low | (high << 4)).view(torch.int8) - 32
    return (scale[..., None] * q.reshape(-1, 16, 16).float()).to(dtype).flatten(1)


def _pack_q4_k(blocks: Tensor) -> tuple[Tensor, None]:
    """A block is 256 numbers of 4 bits in 8 groups, with steps and offsets of 6 bits, and two float16."""
    groups = blocks.float().reshape(-1, 8, 32)
    least = groups.amin(dim=2).clamp(max=0.0)  # (n, 8)
    step = (groups.amax(dim=2).clamp(min=0.0) - least) / 15
    d = (step.amax(dim=1, keepdim=True) / 63).to(torch.float16).float()
    d_min = (-least.amin(dim=1, keepdim=True) / 63).to(torch.float16).float()
    steps = _divide(step, d).round().clamp(0, 63)
    offsets = _divide(-least, d_min).round().clamp(0, 63)
    q = _divide(groups + (d_min * offsets)[..., None], (d * steps)[..., None]).round().clamp(0, 15)

    q = q.to(torch.uint8).reshape(-1, 4, 2, 32)
    steps, offsets = steps.to(torch.uint8), offsets.to(torch.uint8)
    scales = [
        steps[:, :4] | (steps[:, 4:] >> 4 << 6),
        offsets[:, :4] | (offsets[:, 4:] >> 4 << 6),
        (steps[:, 4:] & 15) | (offsets[:, 4:] & 15) << 4,
    ]
    nibbles = (q[:, :, 0] | (q[:, :, 1] << 4)).flatten(1)
    return torch.cat([_halves(d), _halves(d_min), *scales, nibbles], dim=1), None


def _unpack_q4_k(stored: Tensor, _: Tensor | None, dtype: torch.dtype) -> Tensor:
    d, d_min, first, second, third, nibbles = stored.split([2, 2, 4, 4, 4, 128], dim=1)
    steps = torch.cat([first & 63, (third & 15) | (first >> 2 & 48)], dim=1)
    offsets = torch.cat([second & 63, (third >> 4) | (second >> 2 & 48)], dim=1)
    step, offset = _from_halves(d) * steps.float(), _from_halves(d_min) * offsets.float()  # (n, 8)
    nibbles = nibbles.reshape(-1, 4, 1, 32)
    q = torch.cat([nibbles & 15, nibbles >> 4], dim=2).reshape(-1, 8, 32).float()
    return (step[..., None] * q - offset[..., None]).to(dtype).flatten(1)


FP8 = _float8("fp8", torch.float8_e4m3fn)
FP8_E5M2 = _float8("fp8_e5m2", torch.float8_e5m2)
INT8 = Packing("int8", torch.int8, 1, 1, True, _pack_int8, _scaled)
Q8_0 = Packing("Q8_0", torch.uint8, 32, 34, False, _pack_q8_0, _unpack_q8_0)
Q6_K = Packing("Q6_K", torch.uint8, SUPERBLOCK, 210, False, _pack_q6_k, _unpack_q6_k)
Q4_K = Packing("Q4_K", torch.uint8, SUPERBLOCK, 144, False, _pack_q4_k, _unpack_q4_k)

PACKINGS = {packing.name: packing for packing in (FP8, FP8_E5M2, INT8, Q8_0, Q6_K, Q4_K)}
