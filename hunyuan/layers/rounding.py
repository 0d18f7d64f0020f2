"""Float32 arithmetic whose answer is rounded as it is written: with CUDA one kernel and nothing between."""

import torch
from torch import Tensor


def is_float32_inside(x: Tensor) -> bool:
    """Whether torch's kernels for x's device compute in float32, and round once, whatever goes in and out."""
    return x.device.type != "mps" or x.dtype == torch.float32


def multiply_add(summand: Tensor, x: Tensor, y: Tensor, into: Tensor) -> Tensor:
    """summand + x * y in the widest of their dtypes, rounded to that of `into`, where it is written.

    into: of the shape that theirs are broadcast to; it is returned.
    """
    # torch has no gradient of what an operation writes into a given tensor; compilers see to it themselves.
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or not is_float32_inside(into):
        return into.copy_(torch.addcmul(summand, x, y))
    return torch.addcmul(summand, x, y, out=into)
