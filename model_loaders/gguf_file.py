"""GGUF files, read with the package `gguf`: packed weights, as they lie in the file or as plain numbers.

A tensor may have been given rows of a length that its format takes; then the file says under
`comfy.gguf.orig_shape.<name>` what its shape was, as files for ComfyUI do.
Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..hunyuan.layers.packing import PACKINGS, Packing
from .contents import Checkpoint, check_name

if TYPE_CHECKING:
    from gguf import GGUFReader

MAGIC = b"GGUF"
ORIGINAL_SHAPE = "comfy.gguf.orig_shape."
ARCHITECTURE = "hunyuan-foley"
PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
CODES = {dtype: name for name, dtype in PLAIN.items()}
READ = (*PLAIN, "Q8_0", "Q6_K", "Q4_K")
MISSING = "needs the package gguf, which is not installed. Install it with: pip install gguf"


class PackedCheckpoint(Checkpoint):
    """A checkpoint of whose tensors some are packed. Asked for by name, those are float32, as they compute.

    packings: of the packed ones.
    """

    def __init__(self, path: Path, reader: "GGUFReader") -> None:
        self.packings: dict[str, Packing] = {}
        self._stored: dict[str, Any] = {}
        shapes, dtypes = {}, {}
        for tensor in reader.tensors:
            name, form = tensor.name, tensor.tensor_type.name
            check_name(path, name)
            if form not in READ:
                raise ValueError(
                    f"{path.name}: tensor {name} is {form}, which this pack does not read. Choose a file with"
                    f" {', '.join(READ[:-1])} or {READ[-1]}."
                )
            shapes[name] = _shape(path, reader, tensor)
            dtypes[name] = PLAIN.get(form, torch.float32)
            self._stored[name] = tensor.data
            if form in PACKINGS:
                self.packings[name] = PACKINGS[form]
        super().__init__(path, shapes, dtypes, _metadata(reader), self._unpacked)

    def packed(self, name: str) -> Tensor:
        """The bytes of a packed tensor, as `Packing` stores them."""
        stored = torch.from_numpy(np.array(self._stored[name]))
        return stored.reshape(self.packings[name].stored_shape(self.shapes[name]))

    def _unpacked(self, name: str) -> Tensor:
        if name in self.packings:
            return self.packings[name].unpack(self.packed(name), None, self.shapes[name], torch.float32)
        stored = torch.from_numpy(np.array(self._stored[name]))
        return stored.view(self.dtypes[name]).reshape(self.shapes[name])


def open_gguf(path: Path) -> PackedCheckpoint:
    """The file's tensors, memory mapped. Raises ValueError for one that is damaged or of unknown formats."""
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise ValueError(f"{path.name} {MISSING}.") from error
    try:
        with np.errstate(all="ignore"):
            reader = GGUFReader(path)
    except (ValueError, KeyError, IndexError, OverflowError, TypeError, MemoryError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{path.name} is damaged: it is no whole GGUF file ({reason:.120}). Download it again."
        ) from error
    if reader.byte_order != "I":
        raise ValueError(f"{path.name} is a GGUF file for machines of another byte order. Convert it anew.")
    return PackedCheckpoint(path, reader)


def _shape(path: Path, reader: "GGUFReader", tensor: Any) -> tuple[int, ...]:
    """The shape a tensor is meant to have; the file lists sizes from the innermost axis outwards."""
    shape = tuple(int(size) for size in reversed(tensor.shape.tolist()))
    field = reader.get_field(ORIGINAL_SHAPE + tensor.name)
    if field is None:
        return shape
    original = field.contents()
    sizes = tuple(original) if isinstance(original, list) else (original,)
    if not all(type(size) is int and size >= 0 for size in sizes) or prod(sizes) != prod(shape):
        raise ValueError(
            f"{path.name} is damaged: tensor {tensor.name} of shape {shape} was of shape {sizes!s:.60}."
        )
    return sizes


def _metadata(reader: "GGUFReader") -> dict[str, Any]:
    """What the file says about itself in words and numbers."""
    fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    return {name: value for name, value in fields.items() if isinstance(value, str | int | float)}


def write_gguf(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    forms: Mapping[str, Packing | torch.dtype],
    read: Callable[[str], Tensor],
    metadata: Mapping[str, str],
) -> None:
    """Write a file one tensor at a time, so that no more than one need be in memory.

    forms:  for each tensor its format, or the dtype it is stored in as it is.
    read:   a tensor by name, in that dtype or, for a format, in any.
    Raises: ValueError without the package gguf, and for a weight that does not fit its format.
    """
    try:
        from gguf import GGMLQuantizationType, GGUFWriter
    except ImportError as error:
        raise ValueError(f"{path.name} {MISSING}.") from error
    writer = GGUFWriter(None, ARCHITECTURE)
    for key, value in metadata.items():
        writer.add_string(key, value)
    for name, form in forms.items():
        rows = _rows(shapes[name], form)
        if rows != shapes[name]:
            writer.add_array(ORIGINAL_SHAPE + name, list(shapes[name]))
        numbers, size = (form.block, form.block_bytes) if isinstance(form, Packing) else (1, form.itemsize)
        stored = (*rows[:-1], rows[-1] // numbers * size)
        kind = GGMLQuantizationType[form.name if isinstance(form, Packing) else CODES[form]]
        writer.add_tensor_info(name, stored, np.dtype(np.uint8), prod(stored), raw_dtype=kind)

    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, form in forms.items():
        tensor = read(name).detach()
        stored = form.pack(tensor)[0] if isinstance(form, Packing) else tensor.contiguous()
        writer.write_tensor_data(stored.reshape(-1).view(torch.uint8).numpy())
    writer.close()


def _rows(shape: tuple[int, ...], form: Packing | torch.dtype) -> tuple[int, ...]:
    """The shape that the file lists: the tensor's own, or rows that are a whole number of blocks long."""
    if not isinstance(form, Packing) or shape[-1] % form.block == 0:
        return shape
    inner = prod(shape[1:])
    return (shape[0], inner) if inner % form.block == 0 else (prod(shape) // form.block, form.block)
