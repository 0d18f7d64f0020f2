"""Layers whose weights stay packed in memory and are unpacked where they are used, one layer at a time."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .convolution import convolve_tokens
from .packing import Packing
from .places import put


class PackedLayer(nn.Module):
    """What a linear layer and a convolution with packed weights have in common.

    `weight` holds what the packing stores and `scale` the scales of its rows; `bias` is as wide as ever. What
    LoRAs add is kept apart and joins the weight each time that it is unpacked.
    """

    weight: nn.Parameter
    scale: Tensor | None
    bias: nn.Parameter | None

    def __init__(
        self, packing: Packing, shape: tuple[int, ...], bias: bool, *, dtype=None, device=None
    ) -> None:
        super().__init__()
        self.packing, self.shape = packing, shape
        self.additions: list[float] = []  # what each is multiplied by
        stored = torch.empty(packing.stored_shape(shape), dtype=packing.dtype, device=device)
        self.weight = nn.Parameter(stored, requires_grad=False)
        scale = torch.empty(shape[0], 1, dtype=torch.float32, device=device) if packing.has_scale else None
        self.register_buffer("scale", scale)
        self.bias = nn.Parameter(torch.empty(shape[0], dtype=dtype, device=device)) if bias else None

    def unpacked(self, dtype: torch.dtype) -> Tensor:
        """The weight in its own shape, with what was added to it."""
        if not self.additions:
            return self.packing.unpack(self.weight, self.scale, self.shape, dtype)
        weight = self.packing.unpack(self.weight, self.scale, self.shape, torch.float32)
        for number, factor in enumerate(self.additions):
            product = self.get_buffer(f"up_{number}").float() @ self.get_buffer(f"down_{number}").float()
            weight = weight + factor * product.reshape(self.shape)
        return weight.to(dtype)

    def add(self, up: Tensor, down: Tensor, factor: float = 1.0) -> None:
        """Add a product of two matrices to the weight, each kept in its dtype.

        up: (outputs, r). down: (r, all else), flat.
        """
        for name, matrix in (("up", up), ("down", down)):
            place = f"{name}_{len(self.additions)}"
            self.register_buffer(place, matrix.to(self.weight.device, copy=True), persistent=False)
        self.additions.append(factor)

    def extra_repr(self) -> str:
        return f"{tuple(self.shape)}, {self.packing.name}, bias={self.bias is not None}"

    def _bias(self, x: Tensor) -> Tensor | None:
        return None if self.bias is None else self.bias.to(x)


class PackedLinear(PackedLayer):
    """`nn.Linear`; computes in the input's dtype."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.unpacked(x.dtype), self._bias(x))


class PackedConv1d(PackedLayer):
    """`nn.Conv1d` with zeros as padding; computes in the input's dtype."""

    def __init__(
        self, packing: Packing, shape: tuple[int, ...], bias: bool, *, padding: int, dtype=None, device=None
    ) -> None:
        super().__init__(packing, shape, bias, dtype=dtype, device=device)
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        return convolve_tokens(x, self.unpacked(x.dtype), self._bias(x), padding=self.padding)


def use_packed(network: nn.Module, packings: Mapping[str, Packing]) -> None:
    """Put packed layers in the places of those that are named; their values are to be loaded anew.

    Raises: TypeError for a layer of another kind: only plain linear layers and convolutions have this form.
    """
    for name, packing in packings.items():
        put(network, name, packed(network.get_submodule(name), packing))


def packed(layer: nn.Module, packing: Packing) -> PackedLayer:
    """A packed layer in the form of a plain one, without its values."""
    if isinstance(layer, nn.Linear):
        kind, more = PackedLinear, {}
    elif isinstance(layer, nn.Conv1d) and is_plain(layer):
        kind, more = PackedConv1d, {"padding": layer.padding[0]}
    else:
        raise TypeError(f"{layer} has no packed form.")
    build = {"dtype": layer.weight.dtype, "device": layer.weight.device}
    return kind(packing, tuple(layer.weight.shape), layer.bias is not None, **more, **build)


def is_plain(layer: nn.Conv1d) -> bool:
    """Whether a convolution has neither stride nor dilation nor groups, and pads with zeros."""
    plain = layer.stride == layer.dilation == (1,) and layer.groups == 1 and layer.padding_mode == "zeros"
    return plain and not isinstance(layer.padding, str)


def packed_layers(network: nn.Module) -> dict[str, PackedLayer]:
    """The network's packed layers by name."""
    return {name: module for name, module in network.named_modules() if isinstance(module, PackedLayer)}


def weight_shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shapes of all parameters as they are meant, by name, whatever they are stored as."""
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    for name, layer in packed_layers(network).items():
        shapes[f"{name}.weight"] = layer.shape
        shapes.pop(f"{name}.scale", None)
    return shapes
