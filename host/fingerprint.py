"""What a model object computes, as a text that is the same for the same weights and settings.

Of every tensor a few numbers are looked at. What ComfyUI's nodes have attached to a model (LoRAs, options,
wrappers) counts as far as it can be read.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

NUMBERS = 64  # looked at in each tensor, evenly spaced
PLAIN = (str, bytes, bool, int, float, complex, Fraction, torch.dtype, torch.device, type(None))
ATTACHED = ("patches", "object_patches", "model_options", "wrappers")  # to a patcher of ComfyUI's


def fingerprint(*held: Any) -> str:
    """Of model objects with a patcher, as hexadecimal digits."""
    total = hashlib.sha256()
    for thing in held:
        for piece in _of_patcher(getattr(thing, "patcher", thing)):
            total.update(piece + b"\0")
    return total.hexdigest()


def _of_patcher(patcher: Any) -> Iterator[bytes]:
    before_loras = getattr(patcher, "backup", {})
    for name, tensor in sorted(patcher.model.state_dict().items()):
        yield name.encode()
        yield from _of_tensor(before_loras[name].weight if name in before_loras else tensor)
    yield from _of([getattr(patcher, name, None) for name in ATTACHED], set())


def _of(value: Any, seen: set[int]) -> Iterator[bytes]:
    """What can be read of a value, piece by piece; of what comes again, and of other models, its type."""
    yield type(value).__qualname__.encode()
    if isinstance(value, Tensor):
        yield from _of_tensor(value)
    elif isinstance(value, PLAIN):
        yield repr(value).encode()
    elif id(value) not in seen:
        seen.add(id(value))
        for part in _parts(value):
            yield from _of(part, seen)


def _of_tensor(tensor: Tensor) -> Iterator[bytes]:
    yield f"{tuple(tensor.shape)} {tensor.dtype}".encode()
    if tensor.numel():
        flat = tensor.detach().reshape(-1)
        places = torch.linspace(0, len(flat) - 1, min(NUMBERS, len(flat)), dtype=torch.float64).long()
        yield flat[places.to(flat.device)].cpu().view(torch.uint8).numpy().tobytes()


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return [part for pair in sorted(value.items(), key=lambda pair: str(pair[0])) for part in pair]
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if isinstance(value, MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, FunctionType):
        remembered = [cell.cell_contents for cell in value.__closure__ or ()]
        return [value.__qualname__, value.__defaults__, *remembered]
    is_model = isinstance(value, nn.Module) or hasattr(value, "patcher") or hasattr(value, "model")
    return [] if is_model else [getattr(value, "__dict__", None)]
