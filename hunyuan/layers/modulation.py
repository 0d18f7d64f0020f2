"""Adaptive layer norm (DiT, arXiv:2212.09748): shift, scale and gate from a condition vector."""

import torch
from torch import Tensor, nn

from .norm import layer_norm


class Modulation(nn.Module):
    """One linear layer, cut into `chunks` vectors, over a condition that already went through SiLU."""

    def __init__(self, hidden_size: int, chunks: int, *, dtype=None, device=None, operations=nn) -> None:
        super().__init__()
        self.chunks = chunks
        self.linear = operations.Linear(hidden_size, chunks * hidden_size, dtype=dtype, device=device)

    def forward(self, activated: Tensor, places: Tensor | None = None) -> tuple[Tensor, ...]:
        """activated: (..., d). Returns `chunks` tensors of that shape.

        places: (n,), for (b, m, d), which of the m conditions each of n tokens has: then (b, n, d) each.
        """
        vectors = self.linear(activated)
        if places is not None:
            vectors = vectors[:, places]
        return vectors.chunk(self.chunks, dim=-1)


def modulate(x: Tensor, shift: Tensor, scale: Tensor, *, eps: float) -> Tensor:
    """Layer norm, then scale and shift: float32 inside, the condition's dtype outside."""
    return torch.addcmul(shift, layer_norm(x, eps), 1 + scale).to(shift.dtype)


def gated(x: Tensor, gate: Tensor, change: Tensor) -> Tensor:
    """x + gate * change, in the wider of their dtypes."""
    return torch.addcmul(x, gate, change)
