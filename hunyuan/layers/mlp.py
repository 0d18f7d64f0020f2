"""Feed-forwards: plain with GELU, gated (SwiGLU), and gated over time with convolutions.

Axes: b batch, n tokens (or latent frames), d channels, last in and out.
"""

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from .convolution import token_convolution

GATED_ROUNDING = 256  # hidden sizes of gated feed-forwards are multiples of this

gelu_tanh = partial(F.gelu, approximate="tanh")


def gated_hidden_size(inner_size: int) -> int:
    """Hidden size of a gated feed-forward as large as a plain one of `inner_size`: two thirds, rounded up."""
    return -(-int(2 * inner_size / 3) // GATED_ROUNDING) * GATED_ROUNDING


def convolve(layer: nn.Module, x: Tensor) -> Tensor:
    """A 1-d convolution over the tokens of (b, n, d)."""
    return layer(x.transpose(1, 2)).transpose(1, 2)


class MLP(nn.Module):
    """Two linear layers with an activation between them, by default the tanh form of GELU."""

    def __init__(
        self,
        size: int,
        hidden_size: int,
        *,
        activation: Callable[[Tensor], Tensor] = gelu_tanh,
        dtype=None,
        device=None,
        operations=nn,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.fc1 = operations.Linear(size, hidden_size, dtype=dtype, device=device)
        self.fc2 = operations.Linear(hidden_size, size, dtype=dtype, device=device)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(x)))


class SwiGLU(nn.Module):
    """w2(SiLU(w1 x) * w3 x), without biases (arXiv:2002.05202)."""

    def __init__(self, size: int, hidden_size: int, *, dtype=None, device=None, operations=nn) -> None:
        super().__init__()
        self.w1 = operations.Linear(size, hidden_size, bias=False, dtype=dtype, device=device)
        self.w2 = operations.Linear(hidden_size, hidden_size, bias=False, dtype=dtype, device=device)
        self.w3 = operations.Linear(size, hidden_size, bias=False, dtype=dtype, device=device)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class ConvMLP(nn.Module):
    """SwiGLU whose three layers are convolutions over time, zero-padded at both ends."""

    def __init__(
        self, size: int, hidden_size: int, kernel: int, *, dtype=None, device=None, operations=nn
    ) -> None:
        super().__init__()
        conv = token_convolution(operations.Conv1d) if kernel > 1 else operations.Conv1d
        options = {"padding": kernel // 2, "bias": False, "dtype": dtype, "device": device}
        self.w1 = conv(size, hidden_size, kernel, **options)
        self.w2 = conv(hidden_size, size, kernel, **options)
        self.w3 = conv(size, hidden_size, kernel, **options)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        return self.w2(F.silu(self.w1(x)) * self.w3(x)).transpose(1, 2)
