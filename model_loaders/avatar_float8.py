"""Avatar's 8-bit form: the blocks' linear layers in float8 (e4m3), each with the scale its values are of.

Published are a file with the values and a map with the scales. A file may also hold its scales itself, as
`<layer>.scale_weight`.
"""

from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ..hunyuan.layers.float8 import FLOAT8, dequantise, quantise
from .checkpoint import Checkpoint, open_checkpoint
from .dtypes import FLOAT8 as EIGHT_BITS

SCALE = ".scale_weight"
MARKER = "scaled_fp8"  # a tensor by which some re-saved files say that they hold scales
UNSCALED = 100.0  # plain weights never get there, values that are to be scaled always reach 448


def is_float8(checkpoint: Checkpoint) -> bool:
    """Whether a file's layers are in 8 bits: by their dtype, or by scales in it or in a map beside it."""
    return (
        any(dtype in EIGHT_BITS for dtype in checkpoint.dtypes.values())
        or any(name.endswith(SCALE) for name in checkpoint)
        or beside(checkpoint.path) is not None
    )


def scales_of(
    checkpoint: Checkpoint, layers: Collection[str], map_path: Path | str | None = None
) -> dict[str, Tensor]:
    """The scale of each layer, from a map or from the checkpoint itself; none if neither holds any.

    layers: names of all linear layers in blocks. map_path: without, the map beside the file, if there is one.
    Raises: ValueError for a map without exactly one number for each layer, and for values that need
        scales that are not there.
    """
    own = {name.removesuffix(SCALE): checkpoint[name] for name in checkpoint if name.endswith(SCALE)}
    path = Path(map_path) if map_path else None if own else beside(checkpoint.path)
    scales = dict(open_checkpoint(path)) if path else own
    if scales:
        _check_scales(path or checkpoint.path, scales, layers)
    else:
        _check_unscaled(checkpoint, layers)
    return scales


def beside(path: Path) -> Path | None:
    """The published map of a file, which has its name and `_map`, if it lies in the same folder."""
    found = path.with_name(f"{path.stem}_map{path.suffix}")
    return found if found.is_file() else None


def without_scales(checkpoint: Checkpoint) -> Checkpoint:
    """The file less what only says how its numbers are scaled."""
    names = [name for name in checkpoint if not name.endswith(SCALE) and name != MARKER]
    return _view(checkpoint, names, checkpoint.dtypes, checkpoint.__getitem__)


def stored(checkpoint: Checkpoint, scales: Mapping[str, Tensor], layers: Collection[str]) -> Checkpoint:
    """The file as the 8-bit layers need it: float8 values and a scale, made here if the file has none."""

    @lru_cache(maxsize=1)  # a layer is asked for twice in a row: for its values, then for its scale
    def pair(layer: str) -> tuple[Tensor, Tensor]:
        weight = checkpoint[f"{layer}.weight"]
        if scales:
            # Published files may store the values wider than a byte.
            return weight.to(FLOAT8), scales[layer].float().reshape(())
        return (weight, torch.ones(())) if weight.dtype == FLOAT8 else quantise(weight.float())

    def read(name: str) -> Tensor:
        layer, _, part = name.rpartition(".")
        return pair(layer)[part == "scale_weight"] if name in dtypes else checkpoint[name]

    dtypes = {f"{layer}.weight": FLOAT8 for layer in layers}
    dtypes |= {f"{layer}{SCALE}": torch.float32 for layer in layers}
    shapes = {f"{layer}{SCALE}": () for layer in layers}
    names = [*checkpoint, *shapes]
    return _view(checkpoint, names, {**checkpoint.dtypes, **dtypes}, read, shapes)


def restored(checkpoint: Checkpoint, scales: Mapping[str, Tensor], dtype: torch.dtype) -> Checkpoint:
    """The file with all layers multiplied by their scales, in a dtype that can be computed in."""

    def read(name: str) -> Tensor:
        layer = name.removesuffix(".weight")
        if name == layer or layer not in scales:
            return checkpoint[name]
        return dequantise(checkpoint[name].to(FLOAT8), scales[layer].reshape(()), dtype)

    dtypes = {f"{layer}.weight": dtype for layer in scales}
    return _view(checkpoint, list(checkpoint), {**checkpoint.dtypes, **dtypes}, read)


def _view(
    checkpoint: Checkpoint,
    names: Collection[str],
    dtypes: Mapping[str, torch.dtype],
    read: Callable[[str], Tensor],
    more_shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> Checkpoint:
    shapes = {**checkpoint.shapes, **(more_shapes or {})}
    return Checkpoint(
        checkpoint.path,
        shapes={name: shapes[name] for name in names},
        dtypes={name: dtypes[name] for name in names},
        metadata=checkpoint.metadata,
        read=read,
    )


def _check_scales(path: Path, scales: Mapping[str, Tensor], layers: Collection[str]) -> None:
    for layer in layers:
        if layer not in scales:
            raise ValueError(f"{path.name} does not fit: it has no scale for the layer {layer}.")
    for layer, scale in scales.items():
        if layer not in layers:
            raise ValueError(f"{path.name} does not fit: the transformer has no layer {layer} to scale.")
        if scale.numel() != 1 or not bool(torch.isfinite(scale.float()).all()):
            raise ValueError(f"{path.name} is damaged: the scale of {layer} is no number. Download it again.")


def _check_unscaled(checkpoint: Checkpoint, layers: Collection[str]) -> None:
    """Values that are to be scaled give noise without their scales. They are told by how large they are."""
    name = f"{next(iter(layers))}.weight"
    if name in checkpoint and checkpoint[name].float().abs().max() > UNSCALED:
        expected = f"{checkpoint.path.stem}_map{checkpoint.path.suffix}"
        raise ValueError(
            f"{checkpoint.path.name} holds 8-bit values without their scales. Put the map published with it,"
            f" {expected}, beside it."
        )
