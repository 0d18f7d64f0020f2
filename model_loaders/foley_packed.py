"""Foley's transformer with its layers packed: as a GGUF file holds them, or packed while it is read."""

from pathlib import Path

import torch
from torch import Tensor, nn

from ..hunyuan.foley.config import FoleyConfig
from ..hunyuan.foley.transformer import FoleyTransformer
from ..hunyuan.layers.packed import use_packed
from ..hunyuan.layers.packing import PACKINGS, Packing
from .checkpoint import Checkpoint, is_gguf, open_checkpoint
from .gguf_file import PackedCheckpoint
from .kinds import FOLEY_TRANSFORMER
from .strict import check_contents, read_tensor, reading_sizes, require

BLOCKS = ("triple_blocks.", "single_blocks.")
# A modulation's error is every token's alike, and does not average out as those of other layers do.
MODULATIONS = ("audio_mod.linear", "v_cond_mod.linear", "modulation.linear")


def packable_layers(transformer: FoleyTransformer) -> list[str]:
    """Names of the layers that may be narrow: the blocks' linear layers and convolutions, less modulations.

    Norms, biases, embeddings, the final layer and modulations stay wide: at published size a quarter of all
    weights, and what the others' outputs are measured by.
    """
    return [
        name
        for name, module in transformer.named_modules()
        if isinstance(module, nn.Linear | nn.Conv1d)
        and name.startswith(BLOCKS)
        and not name.endswith(MODULATIONS)
    ]


def wide_tensors(transformer: FoleyTransformer) -> set[str]:
    """Names of all tensors that stay wide when layers are narrow; see `packable_layers`."""
    narrow = {f"{name}.weight" for name in packable_layers(transformer)}
    return {name for name in transformer.state_dict() if name not in narrow}


def is_packed(path: Path | str) -> bool:
    """Whether a file's layers are packed already, as those of most GGUF files are."""
    if not is_gguf(path):  # others are not opened for this: that reads a part of them, or all
        return False
    checkpoint = open_checkpoint(path)
    return isinstance(checkpoint, PackedCheckpoint) and bool(checkpoint.packings)


def read_form(path: Path | str, packing: str | None) -> tuple[FoleyConfig, dict[str, Packing]]:
    """A transformer's sizes, and the format of each layer that is to be packed; reads no values.

    packing: one of `PACKINGS`, or None for what the file has itself, which may be nothing.
    Raises:  as `load_packed_transformer`.
    """
    transformer, checkpoint = _checked(path)
    return transformer.config, _packings(transformer, checkpoint, packing)


def load_packed_transformer(
    path: Path | str, packing: str | None, dtype: torch.dtype | None = None
) -> FoleyTransformer:
    """The transformer with packed layers, in eval mode on the CPU.

    packing: one of `PACKINGS`; None for a file whose layers are packed already, which then stay as they are.
    dtype:   of all that is not packed; None keeps the file's.
    Raises:  FileNotFoundError, PermissionError; ValueError naming the file, the tensor and the expectation.
    """
    transformer, checkpoint = _checked(path)
    packings = _packings(transformer, checkpoint, packing)
    if not packings:
        raise ValueError(
            f"{checkpoint.path.name} holds no packed weights. Say how to pack them: {', '.join(PACKINGS)}."
        )
    use_packed(transformer, packings)

    values: dict[str, Tensor] = {}
    for name in transformer.state_dict():
        layer, _, part = name.rpartition(".")
        if layer not in packings or part == "bias":
            values[name] = read_tensor(checkpoint, name, dtype)
        elif part == "weight":
            stored, scale = _stored(checkpoint, name, packings[layer])
            values |= {name: stored} if scale is None else {name: stored, f"{layer}.scale": scale}
    transformer.load_state_dict(values, strict=True, assign=True)
    return transformer.requires_grad_(False).eval()


def open_transformer(path: Path | str) -> tuple[FoleyTransformer, Checkpoint]:
    """The transformer of the size that a file's tensors have, without values, and the file.

    Raises: FileNotFoundError, PermissionError; ValueError for the file of another network.
    """
    checkpoint = open_checkpoint(path)
    require(checkpoint, FOLEY_TRANSFORMER)
    with reading_sizes(checkpoint, FOLEY_TRANSFORMER):
        return FoleyTransformer(FoleyConfig.from_shapes(checkpoint.shapes), device="meta"), checkpoint


def _checked(path: Path | str) -> tuple[FoleyTransformer, Checkpoint]:
    """As `open_transformer`; the file holds the transformer's tensors and no others."""
    transformer, checkpoint = open_transformer(path)
    check_contents(transformer, checkpoint, FOLEY_TRANSFORMER)
    return transformer, checkpoint


def _packings(
    transformer: FoleyTransformer, checkpoint: Checkpoint, packing: str | None
) -> dict[str, Packing]:
    """The format of each layer that is to be packed."""
    own = checkpoint.packings if isinstance(checkpoint, PackedCheckpoint) else {}
    if own and packing is not None:
        forms = ", ".join(sorted({form.name for form in own.values()}))
        raise ValueError(
            f"{checkpoint.path.name} is packed already ({forms}), not to be packed as {packing}."
        )
    if packing is not None:
        form, shapes = PACKINGS[packing], checkpoint.shapes
        return {name: form for name in packable_layers(transformer) if form.fits(shapes[f"{name}.weight"])}
    # What is packed and is no layer, as in files made by other programs, is unpacked while it is read.
    modules = dict(transformer.named_modules())
    layers = {name.removesuffix(".weight"): form for name, form in own.items()}
    return {
        name: form for name, form in layers.items() if isinstance(modules.get(name), nn.Linear | nn.Conv1d)
    }


def _stored(checkpoint: Checkpoint, name: str, packing: Packing) -> tuple[Tensor, Tensor | None]:
    if isinstance(checkpoint, PackedCheckpoint) and name in checkpoint.packings:
        return checkpoint.packed(name), None
    return packing.pack(checkpoint[name])
