"""Tensors into a network, strictly: every name, shape and dtype must be the expected one, or the file is
refused in words that name it, the tensor and what was expected.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NoReturn, TypeVar

import torch
from torch import Tensor, nn

from ..hunyuan.layers.places import put
from .contents import Checkpoint
from .dtypes import FLOAT8, WEIGHT_DTYPES, cast
from .kinds import UNKNOWN, FileKind, identify

Module = TypeVar("Module", bound=nn.Module)

BLOCK_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


def require(checkpoint: Checkpoint, kind: FileKind) -> None:
    """Raises ValueError, with advice, unless the checkpoint can be of this kind."""
    if kind.sample not in checkpoint:
        refuse_missing(kind.sample, checkpoint, kind)
    for name, shape in checkpoint.shapes.items():
        # Either would have a network of any size built before the first comparison.
        numbered_wildly = any(int(n[:9]) >= len(checkpoint) for n in BLOCK_NUMBER.findall(name))
        if numbered_wildly or 0 in shape:
            raise ValueError(
                f"{checkpoint.path.name} is damaged: {kind.what} has no tensor {name} of shape {shape}."
            )


def refuse_missing(missing: str, checkpoint: Checkpoint, kind: FileKind) -> NoReturn:
    """Raises ValueError for a file that lacks a tensor, saying what it seems to be instead."""
    path, found = checkpoint.path, identify(checkpoint)
    if found is kind:
        raise ValueError(f"{path.name} is incomplete: {kind.what} needs {missing}. Download it again.")
    advice = f"Look for {kind.published}." if found is UNKNOWN else found.advice
    raise ValueError(f"{path.name} is not {kind.what}: no tensor named {missing}. {advice}")


@contextmanager
def reading_sizes(checkpoint: Checkpoint, kind: FileKind, prefix: str = "") -> Iterator[None]:
    """Says of the file what goes wrong while sizes are read from its shapes, under names less `prefix`."""
    try:
        yield
    except KeyError as missing:
        refuse_missing(f"{prefix}{missing.args[0]}", checkpoint, kind)
    except (ValueError, TypeError, IndexError, ArithmeticError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{checkpoint.path.name} is not {kind.what} of any known form: {reason:.200}"
        ) from error


def load_strict(
    module: Module,
    checkpoint: Checkpoint,
    kind: FileKind,
    *,
    prefix: str = "",
    ignore: Iterable[str] = (),
    dtype: torch.dtype | None = None,
    constants: Mapping[str, Tensor] | None = None,
    keep: Collection[str] = (),
    wide: Collection[str] = (),
) -> Module:
    """The module with its values from a checkpoint, in eval mode, without gradients, on the CPU.

    module:    built on the meta device; its names are the checkpoint's, less `prefix`.
    ignore:    beginnings of names, prefix included, that the file may hold and this module has no use for;
               they are not read. Any other name that the module lacks is an error.
    dtype:     None keeps each tensor's dtype, except that 8-bit floats become bfloat16, as a torch.nn.Linear
               cannot compute in them. Ask for an 8-bit dtype by name to keep or to make one.
    constants: buffers that follow from the configuration. The file may lack them; what it says is not read.
    keep:      names in the file of tensors that stay in the file's dtype, whatever is asked for.
    wide:      names in the file of tensors that become bfloat16, whatever is asked for.
    Raises:    ValueError naming the file, the tensor and the expectation.
    """
    constants = constants or {}
    wanted = {prefix + name: value for name, value in module.state_dict().items() if name not in constants}
    skipped = (*ignore, *(prefix + name for name in constants))

    _check(checkpoint, wanted, skipped, kind)
    values = {
        name.removeprefix(prefix): (
            checkpoint[name]
            if name in keep
            else read_tensor(checkpoint, name, torch.bfloat16 if name in wide else dtype)
        )
        for name in wanted
    }
    _assign(module, values, constants)
    return module.requires_grad_(False).eval()


def check_contents(module: nn.Module, checkpoint: Checkpoint, kind: FileKind) -> None:
    """Raises ValueError unless the file holds the module's tensors in their shapes, and no others."""
    _check(checkpoint, module.state_dict(), (), kind)


def _check(
    checkpoint: Checkpoint, wanted: Mapping[str, Tensor], skipped: tuple[str, ...], kind: FileKind
) -> None:
    _check_names(checkpoint, wanted, skipped, kind)
    for name, expected in wanted.items():
        check_tensor(checkpoint, name, tuple(expected.shape), kind)


def _check_names(
    checkpoint: Checkpoint, wanted: Mapping[str, Tensor], skipped: tuple[str, ...], kind: FileKind
) -> None:
    for name in wanted:
        if name not in checkpoint:
            refuse_missing(name, checkpoint, kind)
    for name in checkpoint:
        if name not in wanted and not name.startswith(skipped):
            raise ValueError(
                f"{checkpoint.path.name} does not fit: {kind.what} of its size has no tensor named {name}."
            )


def check_tensor(checkpoint: Checkpoint, name: str, expected: tuple[int, ...], kind: FileKind) -> None:
    """Raises ValueError unless the tensor has the expected shape and holds floating-point weights."""
    shape, dtype = checkpoint.shapes[name], checkpoint.dtypes[name]
    if shape != expected:
        raise ValueError(
            f"{checkpoint.path.name} does not fit: tensor {name} is {shape}, "
            f"{kind.what} of its size needs {expected}."
        )
    if dtype not in WEIGHT_DTYPES:
        accepted = ", ".join(map(_plain, WEIGHT_DTYPES))
        raise ValueError(
            f"{checkpoint.path.name} does not fit: tensor {name} is {_plain(dtype)}, expected {accepted}."
        )


def read_tensor(checkpoint: Checkpoint, name: str, dtype: torch.dtype | None) -> Tensor:
    """A tensor in a dtype; with None in its own, or in bfloat16 if that is an 8-bit float."""
    tensor = checkpoint[name]
    if dtype is None:
        dtype = torch.bfloat16 if tensor.dtype in FLOAT8 else tensor.dtype
    return cast(tensor, dtype, f"{name} of {checkpoint.path.name}")


def _assign(module: nn.Module, values: dict[str, Tensor], constants: Mapping[str, Tensor]) -> None:
    saved = module.state_dict()
    kept = {name: value for name, value in constants.items() if name in saved}
    module.load_state_dict(values | kept, strict=True, assign=True)
    for name, value in constants.items():
        put(module, name, value)

    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_meta:
            raise RuntimeError(
                f"{type(module).__name__}.{name} has a value neither in the file nor of its own."
            )


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
