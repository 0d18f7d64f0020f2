"""Safetensors files: the header is checked here before anything else looks at the file.

Layout: 8 bytes with the header's length, little endian; the header, JSON; the tensors' bytes without gaps.
Source: https://github.com/huggingface/safetensors (format).
"""

import json
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .contents import Checkpoint, check_name

MAX_HEADER = 100_000_000  # bytes, the library's own limit
ALIGNMENT = 8  # bytes, the widest number

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
CODES = {dtype: code for code, dtype in DTYPES.items()}


class Span(NamedTuple):
    """One tensor as the header describes it; begin and end count bytes from the end of the header."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


def open_safetensors(path: Path) -> Checkpoint:
    """The file's tensors, memory mapped: bytes that nobody asks for are never read.

    Raises ValueError if the header is not exactly true of the file.
    """
    spans, metadata = read_header(path)
    try:
        file = safe_open(path, framework="pt", device="cpu")
    except SafetensorError as error:
        raise ValueError(f"{path.name} is not a valid safetensors file: {error}.") from error
    return Checkpoint(
        path,
        shapes={span.name: span.shape for span in spans},
        dtypes={span.name: span.dtype for span in spans},
        metadata=metadata,
        read=file.get_tensor,
    )


def read_header(path: Path) -> tuple[list[Span], dict[str, str]]:
    """The tensors in the order of their bytes, and the metadata."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, MAX_HEADER):
            raise ValueError(
                f"{path.name} is truncated or not a safetensors file: its header should take {length} bytes, "
                f"the file has {size}."
            )
        text = file.read(length)

    try:
        header = json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is damaged: its header cannot be read ({error}).") from error
    if not isinstance(header, dict):
        raise ValueError(f"{path.name} is damaged: its safetensors header is not a table of tensors.")

    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError(f"{path.name} is damaged: its safetensors metadata is not text.")
    spans = sorted((_span(path, *entry) for entry in header.items()), key=lambda span: (span.begin, span.end))
    _check_spans(path, spans, size - 8 - length)
    return spans, metadata


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a name appears twice")
    return table


def _span(path: Path, name: str, entry: Any) -> Span:
    check_name(path, name)
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end]} if all(
            type(number) is int and number >= 0 for number in (*shape, begin, end)
        ):
            pass
        case _:
            raise ValueError(f"{path.name} is damaged: its header describes tensor {name} wrongly.")
    if dtype not in DTYPES:
        raise ValueError(f"{path.name}: tensor {name} has dtype {dtype:.20}, which this pack does not read.")

    span = Span(name, DTYPES[dtype], tuple(shape), begin, end)
    expected = prod(shape) * span.dtype.itemsize
    if end - begin != expected:
        raise ValueError(
            f"{path.name} is damaged: tensor {name} of shape {span.shape} and dtype {dtype} needs "
            f"{expected} bytes, its header gives it {end - begin}."
        )
    return span


def _check_spans(path: Path, spans: list[Span], size: int) -> None:
    """Raises ValueError unless the spans cover `size` bytes, each exactly once."""
    position = 0
    for span in spans:
        if span.end > size:
            raise ValueError(
                f"{path.name} is truncated: tensor {span.name} ends at byte {span.end} of its data, "
                f"the file has {size}. Download it again."
            )
        if span.begin != position:
            fault = "overlaps another tensor" if span.begin < position else "leaves a gap before it"
            raise ValueError(f"{path.name} is damaged: tensor {span.name} {fault}.")
        position = span.end
    if position != size:
        raise ValueError(f"{path.name} is damaged: {size - position} bytes at its end belong to no tensor.")


def write_safetensors(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, torch.dtype],
    read: Callable[[str], Tensor],
    metadata: Mapping[str, str],
) -> None:
    """Write a file one tensor at a time, so that no more than one need be in memory.

    Wider dtypes come first, and the header is padded, so that every tensor lies where its dtype wants it.
    """
    for name, dtype in dtypes.items():
        if dtype not in CODES:
            raise ValueError(f"Tensor {name} is {dtype}, which this pack does not write.")
    names = sorted(shapes, key=lambda name: (-dtypes[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    position = 0
    for name in names:
        end = position + prod(shapes[name]) * dtypes[name].itemsize
        header[name] = {
            "dtype": CODES[dtypes[name]],
            "shape": shapes[name],
            "data_offsets": [position, end],
        }
        position = end

    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            file.write(read(name).contiguous().reshape(-1).view(torch.uint8).numpy().data)
