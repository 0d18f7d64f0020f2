"""Adaptive layer norm (DiT, arXiv:2212.09748): shift, scale and gate from a condition vector.

A scale is what a norm is multiplied with: what the linear layer gives counts from 1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .norm import layer_norm
from .rounding import is_float32_inside, multiply_add


class Modulation(nn.Module):
    """One linear layer, cut into `chunks` vectors: a shift, a scale and a gate, once or several times."""

    def __init__(self, hidden_size: int, chunks: int, *, dtype=None, device=None, operations=nn) -> None:
        super().__init__()
        self.chunks = chunks
        self.linear = operations.Linear(hidden_size, chunks * hidden_size, dtype=dtype, device=device)

    def forward(self, activated: Tensor, places: Tensor | None = None) -> tuple[Tensor, ...]:
        """activated: (..., d), conditions after SiLU. Returns `chunks` tensors of that shape.

        places: which of the conditions each token has, as of `at_places`: then (b, n, d) each.
        """
        vectors = self.linear(activated)
        if torch.is_grad_enabled():  # a host's layer may need its answer as it was
            vectors = vectors.clone()
        torch.unflatten(vectors, -1, (-1, 3, activated.shape[-1])).select(-2, 1).add_(1)
        if places is not None:
            vectors = at_places(vectors, places)
        return vectors.chunk(self.chunks, dim=-1)


def at_places(vectors: Tensor, places: Tensor) -> Tensor:
    """The vectors of n tokens, (b, n, d).

    places: (n,), for vectors (b, m, d) of each row's own. (b, n), for (1, m, d) that all rows share.
    """
    return vectors[:, places] if places.ndim == 1 else vectors[0, places]


def modulate(x: Tensor, shift: Tensor, scale: Tensor, *, eps: float) -> Tensor:
    """scale * layer norm + shift: float32 inside, the condition's dtype outside.

    x: (b, n, d). shift, scale: (b or 1, n or 1, d). Where they are the same for all tokens, and of x's dtype,
    it is one pass over x.
    """
    if shift.shape[:-1].numel() == 1 and x.dtype == shift.dtype and is_float32_inside(x):
        return F.layer_norm(x, x.shape[-1:], scale.flatten(), shift.flatten(), eps)
    into = x.new_empty(max(x.shape[0], shift.shape[0]), *x.shape[1:], dtype=shift.dtype)
    return multiply_add(shift, layer_norm(x, eps), scale, into)


def gated(x: Tensor, gate: Tensor, change: Tensor) -> Tensor:
    """x + gate * change, in the wider of their dtypes."""
    return torch.addcmul(x, gate, change)
