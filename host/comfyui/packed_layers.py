"""Packed weights as ComfyUI's own kind of quantized tensor, and the layers that unpack them.

Such a tensor has the shape and the dtype of the weight that it stands for, and moves in the bytes that it
stores. Source: `QuantizedTensor` of comfy-kitchen, which core's scaled checkpoints are held in, too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from comfy import ops
from comfy_kitchen.tensor import BaseLayoutParams, QuantizedLayout, QuantizedTensor, register_layout_class
from torch import Tensor, nn

from ...hunyuan.foley.transformer import FoleyTransformer
from ...hunyuan.layers.packed import PackedLayer, packed_layers
from ...hunyuan.layers.packing import Packing

LAYOUT = "HunyuanAVPacked"


@dataclass(frozen=True)
class PackedParams(BaseLayoutParams):
    """What belongs to the stored bytes.

    scale: of the rows, (rows, 1) float32; None in formats that hold their scales among the bytes.
    """

    scale: Tensor | None  # type: ignore[assignment]
    packing: Packing

    def _tensor_fields(self) -> list[str]:
        return [] if self.scale is None else ["scale"]


class PackedLayout(QuantizedLayout):
    """How core unpacks such a tensor. It has none to pack: what changes a weight joins its numbers."""

    Params = PackedParams

    @classmethod
    def dequantize(cls, qdata: Tensor, params: PackedParams) -> Tensor:
        return params.packing.unpack(qdata, params.scale, params.orig_shape, params.orig_dtype)

    @classmethod
    def state_dict_tensors(cls, qdata: Tensor, params: PackedParams) -> dict[str, Tensor]:
        return {"": qdata} if params.scale is None else {"": qdata, "_scale": params.scale}


register_layout_class(LAYOUT, PackedLayout)


def quantized(layer: PackedLayer, dtype: torch.dtype) -> QuantizedTensor:
    """A packed layer's weight, to be unpacked to `dtype`; the bytes are shared."""
    params = PackedParams(layer.scale, dtype, layer.shape, layer.packing)
    return QuantizedTensor(layer.weight.data, LAYOUT, params)


def is_quantized(weight: Tensor | None) -> bool:
    return isinstance(weight, QuantizedTensor)


def dense(weight: Tensor) -> Tensor:
    """A weight as numbers, whether it is packed or not."""
    return weight.dequantize() if is_quantized(weight) else weight


def state_of(packed: FoleyTransformer, dtype: torch.dtype) -> dict[str, Tensor]:
    """A packed transformer's tensors by their names: packed weights as core's, all else in `dtype`."""
    layers = packed_layers(packed)
    weights = {f"{name}.weight": quantized(layer, dtype) for name, layer in layers.items()}
    scales = {f"{name}.scale" for name in layers}
    wide = packed.state_dict().items()
    return weights | {name: t.to(dtype) for name, t in wide if name not in weights and name not in scales}


class Unpacking(nn.Module):
    """What core's layers lack for packed weights; a layer with an ordinary weight is what it was."""

    compute: Callable[..., Tensor]

    def forward_comfy_cast_weights(self, input: Tensor) -> Tensor:
        # What joins a packed weight does so in float32, and all is rounded once.
        joined = is_quantized(self.weight) and bool(self.weight_function)
        dtype = torch.float32 if joined else input.dtype
        weight, bias, offloaded = ops.cast_bias_weight(
            self, input, dtype=dtype, bias_dtype=input.dtype, offloadable=True
        )
        out = self.compute(input, dense(weight).to(input.dtype), bias)
        ops.uncast_bias_weight(self, weight, bias, offloaded)
        return out

    def convert_weight(self, weight: Tensor, **_: Any) -> Tensor:
        """Asked by core for the numbers of a weight, to merge it or to add to it."""
        return dense(weight)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Unpacking":
        """torch swaps a packed weight for a moved one, so that merges, which hold it, follow.

        It refuses while something refers to the weight weakly, as `torch.compile` does: then it is replaced.
        """
        weight = self.weight
        if not is_quantized(weight):
            return super()._apply(fn, recurse)
        self._parameters["weight"] = None  # all but the weight
        try:
            super()._apply(fn, recurse)
        finally:
            self._parameters["weight"] = weight
        with torch.no_grad():
            moved = nn.Parameter(fn(weight), requires_grad=False)
        try:
            torch.utils.swap_tensors(weight, moved)
        except RuntimeError:
            self.weight = moved
        return self


class PackedOperations(ops.manual_cast):
    """Core's layers; linear ones and convolutions may have packed weights."""

    class Linear(Unpacking, ops.manual_cast.Linear):
        compute = staticmethod(F.linear)

    class Conv1d(Unpacking, ops.manual_cast.Conv1d):
        def compute(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            return self._conv_forward(input, weight, bias)
