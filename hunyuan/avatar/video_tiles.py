"""Overlapping tiles in space and time, blended: how the video autoencoder stays within a GPU's memory.

Every tile goes through the whole network, so that its borders and its statistics are its own: tiled and
untiled results differ. As trained: the released program always tiles.

A direction has a tile length in what goes in (source) and in what comes out (target). Tiles start every 3/4
source, are blended over 1/4 target, and 3/4 target of each is kept.

Axes: b batch, c channels, t frames, h w height and width.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

Network = Callable[[Tensor], Tensor]


class Tile(NamedTuple):
    """Length of a tile before and after the network, both multiples of four."""

    source: int
    target: int

    @property
    def step(self) -> int:
        return self.source * 3 // 4

    @property
    def overlap(self) -> int:
        return self.target // 4

    @property
    def kept(self) -> int:
        return self.target - self.overlap


def tiled_in_space(network: Network, x: Tensor, tile: Tile) -> Tensor:
    """`network(x)`, tile by tile if either side is longer than one.

    x: (b, c, t, h, w).
    """
    height, width = x.shape[-2:]
    if max(height, width) <= tile.source:
        return network(x)
    rows: list[Tensor] = []
    above: list[Tensor] = []
    for top in range(0, height, tile.step):
        row: list[Tensor] = []
        for left in range(0, width, tile.step):
            piece = network(x[..., top : top + tile.source, left : left + tile.source])
            if above:
                piece = blend(above[len(row)], piece, tile.overlap, dim=-2)
            if row:
                piece = blend(row[-1], piece, tile.overlap, dim=-1)
            row.append(piece)
        rows.append(torch.cat([piece[..., : tile.kept, : tile.kept] for piece in row], dim=-1))
        above = row
    return torch.cat(rows, dim=-2)


def tiled_in_time(network: Network, x: Tensor, tile: Tile) -> Iterator[Tensor]:
    """`network(x)` in consecutive pieces, a tile at a time if there are more frames than `tile.source`.

    A tile is one frame longer than its length, and only the first keeps what becomes of that frame: the
    network treats a first frame differently from all others.

    x: (b, c, t, h, w).
    """
    frames = x.shape[2]
    if frames <= tile.source:
        yield network(x)
        return
    before = network(x[:, :, : tile.source + 1])
    yield before[:, :, : tile.kept + 1]
    for start in range(tile.step, frames - 1, tile.step):  # a tile of one frame would have nothing to keep
        after = network(x[:, :, start : start + tile.source + 1])[:, :, 1:]
        after = blend(before, after, tile.overlap, dim=-3)
        yield after[:, :, : tile.kept]
        before = after


def blend(before: Tensor, after: Tensor, overlap: int, dim: int) -> Tensor:
    """`after`, its first cells faded in over the last cells of `before`; the very first is `before`'s alone.

    As trained: where either tile is shorter than the overlap, the fade runs over what there is.

    dim: counted from the end, so negative.
    """
    length = min(overlap, before.shape[dim], after.shape[dim])
    ending = before.narrow(dim, before.shape[dim] - length, length)
    beginning = after.narrow(dim, 0, length)
    rest = after.narrow(dim, length, after.shape[dim] - length)
    weights = (torch.arange(length, device=after.device) / max(length, 1)).to(after.dtype)
    weights = weights.view(-1, *[1] * (-dim - 1))
    return torch.cat([torch.lerp(ending, beginning, weights), rest], dim=dim)
