"""Linear layers whose weights are stored in eight bits: a float8 (e4m3) tensor and one scale for it.

What enters a layer may be rounded to eight bits, too, where a device multiplies such numbers: see
`use_float8_products`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .places import put

FLOAT8 = torch.float8_e4m3fn
SMALLEST = torch.finfo(torch.float32).tiny * 2**10  # of a tensor's largest value: zeros stay zeros
MULTIPLIES_FLOAT8 = (8, 9)  # CUDA's compute capability from which on there are units for it
MULTIPLE = 16  # of which both sides of a weight must be
FEW_TOKENS = 16  # fewer make up no product worth rounding for: modulation, above all


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest float8 tensor and its scale, float32: their product is the weight again, nearly."""
    scale = weight.abs().max().float().clamp(min=SMALLEST) / torch.finfo(FLOAT8).max
    return (weight.float() / scale).to(FLOAT8), scale


def dequantise(weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """As released: weight and scale are both rounded to `dtype`, and so is their product."""
    return weight.to(dtype) * scale.to(dtype)


class Float8Linear(nn.Module):
    """`nn.Linear` at a byte for each weight; computes in the input's dtype.

    rounds_input: whether 16-bit inputs become float8 and are multiplied as such.
    """

    scale_weight: Tensor
    rounds_input = False

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, dtype=None, device=None
    ) -> None:
        super().__init__()
        weight = torch.empty(out_features, in_features, dtype=FLOAT8, device=device)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(torch.empty(out_features, dtype=dtype, device=device)) if bias else None
        self.register_buffer("scale_weight", torch.empty((), dtype=torch.float32, device=device))

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x)
        if self.rounds_input and x.dtype.itemsize == 2 and x.shape[-2] >= FEW_TOKENS:
            return multiply_float8(x, self.weight, self.scale_weight, bias)
        return F.linear(x, dequantise(self.weight, self.scale_weight, x.dtype), bias)


def multiply_float8(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    """x weightᵀ + bias, both factors in float8; sums are float32.

    x: (..., n, in), float16 or bfloat16, rounded with one scale for all of it. weight: (out, in). Returns x's
    dtype.
    """
    values, x_scale = quantise(x.flatten(0, -2))
    product = torch._scaled_mm(  # type: ignore[reportPrivateImportUsage]
        values, weight.t(), scale_a=x_scale, scale_b=scale.float(), bias=bias, out_dtype=x.dtype
    )
    return product.view(*x.shape[:-1], -1)


def check_multiplies_float8(device: torch.device) -> None:
    """Raise ValueError where the device has no units for it: rounding would cost and save nothing."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < MULTIPLIES_FLOAT8:
        needed = ".".join(map(str, MULTIPLIES_FLOAT8))
        raise ValueError(
            f"{device} does not multiply in float8: that takes an NVIDIA GPU of compute capability {needed}"
            " or above (Ada, Hopper, Blackwell). Keep 8-bit weights, and leave products as they are."
        )


def use_float8_products(module: nn.Module, device: torch.device) -> None:
    """Have all `Float8Linear` below `module` round what enters them, and multiply in float8.

    Raises: as `check_multiplies_float8`.
    """
    check_multiplies_float8(device)
    for layer in module.modules():
        if isinstance(layer, Float8Linear):
            layer.rounds_input = not any(side % MULTIPLE for side in layer.weight.shape)


def use_float8(module: nn.Module) -> None:
    """Put a `Float8Linear` in the place of every `nn.Linear` below `module`; values are to be loaded anew."""
    for name, child in list(module.named_modules()):
        if isinstance(child, nn.Linear):
            options = {"dtype": child.weight.dtype, "device": child.weight.device}
            layer = Float8Linear(child.in_features, child.out_features, child.bias is not None, **options)
            put(module, name, layer)
