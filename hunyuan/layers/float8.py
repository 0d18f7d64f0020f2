"""Linear layers whose weights are stored in eight bits: a float8 (e4m3) tensor and one scale for it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FLOAT8 = torch.float8_e4m3fn


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest float8 tensor and its scale, float32: their product is the weight again, nearly."""
    scale = weight.abs().max().float() / torch.finfo(FLOAT8).max
    return (weight.float() / scale).to(FLOAT8), scale


def dequantise(weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """As released: weight and scale are both rounded to `dtype`, and so is their product."""
    return weight.to(dtype) * scale.to(dtype)


class Float8Linear(nn.Module):
    """`nn.Linear` at a byte for each weight; computes in the input's dtype."""

    scale_weight: Tensor

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
        return F.linear(x, dequantise(self.weight, self.scale_weight, x.dtype), bias)


def use_float8(module: nn.Module) -> None:
    """Put a `Float8Linear` in the place of every `nn.Linear` below `module`; values are to be loaded anew."""
    for name, child in list(module.named_modules()):
        if isinstance(child, nn.Linear):
            owner, _, leaf = name.rpartition(".")
            options = {"dtype": child.weight.dtype, "device": child.weight.device}
            layer = Float8Linear(child.in_features, child.out_features, child.bias is not None, **options)
            setattr(module.get_submodule(owner), leaf, layer)
