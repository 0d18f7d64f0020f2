"""Checkpoints that torch.save wrote (.pth, .pt, .ckpt, .bin). Nothing in them is ever executed.

Two layouts exist: a zip archive with one stored entry per tensor (since PyTorch 1.6), and the older sequence
of five pickles followed by the tensors' bytes. The published files are of the first kind.
"""

import io
import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .contents import MAX_TENSORS, Checkpoint, check_name
from .pickle_scan import check_pickles

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa85019")  # a long integer in the first pickle
LEGACY_PICKLES = 5  # mark, protocol, system, the saved object, the order of its storages

MAX_PICKLE = 32_000_000  # bytes; the published files need 0.2 million

WRAPPERS = ("state_dict", "module")  # the keys under which published files keep their tensors, if under any

# What zipfile and torch.load raise on a file that is damaged behind a correct beginning.
DAMAGE = (
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    struct.error,
    EOFError,
    RuntimeError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    OverflowError,
    TypeError,
    ValueError,
)


def open_zip(path: Path) -> Checkpoint:
    """A torch.save archive, memory mapped: tensors that nobody uses are never read."""
    check_pickles(path, io.BytesIO(_archived_pickle(path)))
    return _open(path, mmap=True)


def open_legacy(path: Path) -> Checkpoint:
    """A file written before PyTorch 1.6. It is read whole: its layout allows nothing else."""
    with path.open("rb") as file:
        check_pickles(path, io.BytesIO(file.read(MAX_PICKLE)), LEGACY_PICKLES)
    return _open(path, mmap=False)


def _archived_pickle(path: Path) -> bytes:
    """The archive's pickle, once the archive is seen to be torch.save's and no larger than it looks.

    Raises ValueError.
    """
    with _damage_told(path, "archive"):
        archive = zipfile.ZipFile(path)
    with archive:
        entries = archive.infolist()
        _check_entries(path, entries)
        pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
        if len(pickles) != 1 or pickles[0].file_size > MAX_PICKLE:
            raise ValueError(f"{path.name} is a zip archive, but none that torch.save wrote.")
        with _damage_told(path, "archive"):
            return archive.read(pickles[0])


def _check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > 2 * MAX_TENSORS:
        raise ValueError(f"{path.name} is refused: {len(entries)} entries are more than any checkpoint has.")
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise ValueError(f"{path.name} is a TorchScript program. Choose a file with weights alone.")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise ValueError(
                f"{path.name} is refused: its entry {entry.filename!r:.80} claims {entry.file_size} "
                f"bytes out of {entry.compress_size}, and torch.save compresses nothing."
            )
    claimed, size = sum(entry.file_size for entry in entries), path.stat().st_size
    if claimed > size or not all(0 <= entry.header_offset < size for entry in entries):
        raise ValueError(f"{path.name} is refused: its entries claim {claimed} bytes, the file has {size}.")


@contextmanager
def _damage_told(path: Path, part: str) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        raise ValueError(f"{path.name} is truncated or damaged: its {part} cannot be read.") from error


def _open(path: Path, *, mmap: bool) -> Checkpoint:
    with _damage_told(path, "tensor list"):
        saved = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)

    tensors, metadata = _unwrap(path, saved)
    tensors = {name: _checked(path, name, tensor) for name, tensor in tensors.items()}
    return Checkpoint(
        path,
        shapes={name: tuple(tensor.shape) for name, tensor in tensors.items()},
        dtypes={name: tensor.dtype for name, tensor in tensors.items()},
        metadata=metadata,
        read=tensors.__getitem__,
    )


def _unwrap(path: Path, saved: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    if not isinstance(saved, dict):
        raise ValueError(f"{path.name} holds one {type(saved).__name__}, not a table of tensors by name.")
    for key in WRAPPERS:
        if isinstance(saved.get(key), dict):
            metadata = saved.get("metadata", {})
            return saved[key], metadata if isinstance(metadata, dict) else {}
    return saved, {}


def _checked(path: Path, name: Any, tensor: Any) -> Tensor:
    check_name(path, name)
    if type(tensor) not in (Tensor, torch.nn.Parameter):
        raise ValueError(f"{path.name}: its entry {name} is a {type(tensor).__name__}, not a tensor.")
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    if not plain or tensor.nbytes > tensor.untyped_storage().nbytes():
        raise ValueError(f"{path.name}: tensor {name} is not stored in full, element by element.")
    return tensor.detach()
