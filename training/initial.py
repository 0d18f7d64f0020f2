"""First weights of networks whose constructors leave them unset, because they are made to be loaded."""

import math
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)

TOKEN_STD = 0.02  # of learned tokens and position tables
GATES = (".modulation.linear.", "_mod.linear.", "final_layer.linear.")  # begin at zero, as in DiT


def initialise(network: Network, seed: int, zero: tuple[str, ...] = GATES) -> Network:
    """Draw every parameter: kernels at the scale of their inputs, norms at 1, biases at 0.

    zero: parts of names whose tensors begin at 0, so that blocks begin as identities.
    """
    generator = torch.Generator().manual_seed(seed)
    transposed = {f"{n}.weight" for n, m in network.named_modules() if isinstance(m, nn.ConvTranspose1d)}
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(first_value(name, parameter, generator, zero, name in transposed))
    return network


def first_value(
    name: str, parameter: Tensor, generator: torch.Generator, zero: tuple[str, ...], transposed: bool
) -> Tensor:
    if name.endswith("alpha"):
        return torch.ones_like(parameter)
    if name.endswith("bias") or any(part in f".{name}" for part in zero):
        return torch.zeros_like(parameter)
    if parameter.ndim == 1:
        return torch.ones_like(parameter)
    noise = torch.randn(parameter.shape, generator=generator)
    if name.endswith("weight") and "embedding" not in name.rsplit(".", 2)[-2]:
        return noise / math.sqrt(inputs(parameter, transposed))
    return TOKEN_STD * noise


def inputs(weight: Tensor, transposed: bool) -> int:
    """How many numbers each output is a sum of. A transposed convolution of stride s has kernels of 2 s."""
    return 2 * weight.shape[0] if transposed else weight[0].numel()
