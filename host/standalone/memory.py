"""Where networks compute, and in which number format: one device, explicit.

A network moves to the device when it is used and stays there until another one needs the room; the one that
was used longest ago goes first.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
WORKING_MEMORY = 2 << 30  # bytes kept free beside the weights, for what they compute

Held = TypeVar("Held")


@dataclass(frozen=True)
class Placement:
    """A device, and the dtype that a large network's weights get there."""

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def choose(cls, device: str | None = None, dtype: str | None = None) -> "Placement":
        """By name, or by what the machine has: bfloat16 on a GPU that computes in it, else float32.

        HUNYUAN_AV_DEVICE names the device where no argument does.
        Raises ValueError for a name that means nothing here.
        """
        place = _device(device or os.environ.get("HUNYUAN_AV_DEVICE") or _best_device())
        if dtype is None:
            return cls(place, torch.bfloat16 if _computes_bfloat16(place) else torch.float32)
        if dtype not in DTYPES:
            raise ValueError(f"There is no dtype {dtype}. Choose one of {', '.join(DTYPES)}.")
        return cls(place, DTYPES[dtype])


class HasPatcher(Protocol):
    """A model object, ours or ComfyUI's: its patcher says which network it holds."""

    @property
    def patcher(self) -> "Patcher": ...


@dataclass(frozen=True, eq=False)
class Patcher:
    """The network that a model object holds, under the name ComfyUI gives such a thing."""

    model: nn.Module


# Networks left on a device and not in use, the one used longest ago first. Being here keeps none alive.
_idle: WeakKeyDictionary[nn.Module, None] = WeakKeyDictionary()


@contextmanager
def resident(*held: nn.Module | HasPatcher, memory: int = 0) -> Iterator[torch.device]:
    """Networks on the device while the context lasts; yields the device.

    memory: bytes that they need beside their weights, where that is more than WORKING_MEMORY.
    """
    device = Placement.choose().device
    modules = [thing if isinstance(thing, nn.Module) else thing.patcher.model for thing in held]
    for module in modules:
        _idle.pop(module, None)
    _make_room(modules, device, max(memory, WORKING_MEMORY))
    try:
        for module in modules:
            module.to(device)
        yield device
    finally:
        _idle.update(dict.fromkeys(modules))


def _make_room(modules: Sequence[nn.Module], device: torch.device, memory: int) -> None:
    if device.type != "cuda":
        return
    needed = sum(_bytes(module) for module in modules if not _is_on(module, device))
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    sizes = [(module, _bytes(module)) for module in _idle if _is_on(module, device)]
    for module in to_evict(sizes, free=free, needed=needed + memory):
        module.to("cpu")
        del _idle[module]


def to_evict(sizes: Sequence[tuple[Held, int]], *, free: int, needed: int) -> list[Held]:
    """The first of these, as few as make `needed` bytes free; all of them if even that is not enough."""
    evicted = []
    for held, size in sizes:
        if free >= needed:
            break
        evicted.append(held)
        free += size
    return evicted


def _bytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


def _is_on(module: nn.Module, device: torch.device) -> bool:
    return all(parameter.device == device for parameter in module.parameters())


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"There is no device {name}. Choose cpu, cuda, cuda:1 or mps.") from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise ValueError(f"There is no device {name} to compute on. Choose cpu, cuda, cuda:1 or mps.")
    count = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= count.get(device.type, 1):
        raise ValueError(f"This machine has no device {name}, as far as torch can see. Choose cpu, say.")
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _computes_bfloat16(device: torch.device) -> bool:
    # From 8.0 on, NVIDIA's own units compute in bfloat16; before, it is imitated, slowly. ROCm always does.
    return device.type == "cuda" and (
        torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)
    )
