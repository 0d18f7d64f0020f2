"""What a call costs, counted and not timed: operations, what they move, conversions, copies, waits, memory.

    with Count() as cost:
        run()
    cost.kernels, cost.flop, cost.peak_bytes

It works on the meta device too, where nothing is computed, so that sizes can be counted that do not fit
here. A kernel is an operation that writes memory: views are free, a norm or an attention counts as one, as
accelerators run them. Call it under `torch.inference_mode()`, or norms are counted in their parts. Attention
on the meta device answers as the fused kernels of accelerators do, its heads innermost but one in memory, so
that joining them is a view.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

import _pack  # noqa: F401 - makes hunyuan_av importable
from hunyuan_av.host.standalone.activations import LiveBytes, tensors_in

aten = torch.ops.aten
WHOLE = {
    aten.rms_norm,
    aten.layer_norm,
    aten.scaled_dot_product_attention,
    aten._upsample_nearest_exact1d,
}  # one kernel each
WAITING = {
    aten._local_scalar_dense, aten.item, aten.nonzero, aten.is_nonzero, aten.masked_select, aten.equal,
    aten.unique_dim, aten._unique2, aten.bincount,
}  # fmt: skip
NORMS = {aten.rms_norm, aten.layer_norm}
OVERWRITING = {aten.copy_, aten.zero_, aten.fill_}
PICKING = {aten.index, aten.index_select, aten.gather, aten.embedding}
CONVERSIONS = {aten._to_copy, aten.to}
SILENT = {torch.ops.prim.device, aten.detach, aten.alias, aten.lift_fresh}
ALLOCATIONS = {aten.empty, aten.empty_strided, aten.empty_like, aten.new_empty}  # nothing is written


class Count(TorchDispatchMode):
    """Counts what is dispatched while it lasts.

    kernels:     operations that write memory, by name.
    flop:        of matrix products, convolutions and attention.
    moved:       bytes that all other operations read and write, by name.
    conversions: (from, to) of tensors whose numbers changed their format.
    copies:      (from, to) of tensors that went to another device.
    waits:       operations whose result the program needs before it goes on, by name.
    peak_bytes:  the most that tensors made meanwhile took at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernels: Counter[str] = Counter()
        self.moved: Counter[str] = Counter()
        self.conversions: Counter[tuple[str, str]] = Counter()
        self.copies: Counter[tuple[str, str]] = Counter()
        self.waits: Counter[str] = Counter()
        self.flop = 0
        self._live = LiveBytes()

    @property
    def peak_bytes(self) -> int:
        return self._live.peak

    @property
    def launches(self) -> int:
        return self.kernels.total()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        packet = func._overloadpacket
        if packet in SILENT:
            return func(*args, **kwargs)
        if packet not in WHOLE and packet not in flop_registry:
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts

        given = {id(tensor.untyped_storage()) for tensor in tensors_in((args, kwargs))}
        out = func(*args, **kwargs)
        if packet is aten.scaled_dot_product_attention and out.is_meta:
            out = out.transpose(1, 2).contiguous().transpose(1, 2)
        self._note_waits(packet, args)
        flop = _flop(packet, args, kwargs, out)
        self.flop += flop
        if packet not in ALLOCATIONS and not func.is_view and not _is_same(out, args, given, func):
            self.kernels[packet.__name__] += 1
            self._note_conversion(packet, args, out)
            if not flop:
                self.moved[packet.__name__] += _moved(packet, args, kwargs, out)
        self._live.note(tensors_in(out), tensors_in((args, kwargs)))
        return out

    def _note_waits(self, packet: Any, args: tuple[Any, ...]) -> None:
        masked = packet in (aten.index, aten.index_put, aten.index_put_) and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if packet in WAITING or masked:
            self.waits[packet.__name__] += 1

    def _note_conversion(self, packet: Any, args: tuple[Any, ...], out: Any) -> None:
        if packet is aten.copy_:
            out, source = args[:2]
        elif packet in CONVERSIONS:
            source = args[0]
        else:
            return
        if source.dtype != out.dtype:
            self.conversions[_name(source.dtype), _name(out.dtype)] += 1
        if source.device != out.device:
            self.copies[str(source.device), str(out.device)] += 1


def count(run: Callable[[], object]) -> Count:
    """What one call costs."""
    with torch.inference_mode(), Count() as cost:
        run()
    return cost


def weight_bytes(network: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))


def _is_same(out: Any, args: tuple[Any, ...], given: set[int], func: Any) -> bool:
    """Whether nothing was written: an answer that is an argument, as of `contiguous` or `to` for nothing."""
    if func._schema.is_mutable or not tensors_in(out):
        return func._schema.is_mutable is False
    return all(id(tensor.untyped_storage()) in given for tensor in tensors_in(out))


def _flop(packet: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> int:
    if packet is aten.scaled_dot_product_attention:
        return sdpa_flop_count(*(tensor.shape for tensor in args[:3]))
    rule = flop_registry.get(packet)
    return rule(*args, **kwargs, out_val=out) if rule else 0


def _moved(packet: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> int:
    """Bytes read and written, each number once; a norm copies what is not contiguous before it begins."""
    written = tensors_in(out)
    read = [x for x in tensors_in((args, kwargs)) if x is not kwargs.get("out")]
    if packet in OVERWRITING:
        read = [x for x in read if x is not args[0]]
    if packet in PICKING:  # no more of it than is picked
        read = [*(x for x in read if x is not args[0]), *written]
    apart = [x for x in read[:1] if packet in NORMS and not x.is_contiguous()]
    return _distinct_bytes([*read, *written, *apart, *apart])


def _distinct_bytes(tensors: Iterable[Tensor]) -> int:
    """What an expanded tensor repeats is read once."""
    return sum(
        prod(size for size, stride in zip(x.shape, x.stride(), strict=True) if stride) * x.element_size()
        for x in tensors
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
