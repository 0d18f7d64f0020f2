"""The one attention call. Every network takes it as an argument, so that a host can replace it."""

from typing import Protocol

import torch.nn.functional as F
from torch import Tensor


class Attention(Protocol):
    """softmax(q kᵀ / √d) v over (b, heads, n, d); the answer has the shape of q."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor: ...


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """PyTorch's exact attention, without dropout.

    q: (b, heads, n, d). k, v: (b, heads, m, d). mask: (b, 1, n, m), bool, true where q may see k.
    Returns (b, heads, n, d).
    """
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
