"""Normalisation that computes in float32: layer norm without weights, and RMS norm of queries and keys."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .torch_version import torch_version

TRIED = (2, 11)  # torch's norms of 16-bit numbers: 2.4 and 2.5 square in 16 bits, 2.6 rounds eps
RMS_NORM_IS_FLOAT32 = torch_version() >= TRIED


def layer_norm(x: Tensor, eps: float) -> Tensor:
    """Layer norm over the last axis without scale or bias. Returns float32."""
    return F.layer_norm(x.float(), x.shape[-1:], eps=eps)


class HeadNorm(nn.Module):
    """RMS norm of each head's channels, for queries and keys.

    As trained: the normalised values are rounded to the input's dtype before the weight multiplies them.
    """

    def __init__(self, head_size: int, eps: float, dtype: torch.dtype | None = None, device=None) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(head_size, dtype=dtype, device=device))

    def forward(self, x: Tensor) -> Tensor:
        return self.scaled(x, self.weight_for(x))

    def weight_for(self, x: Tensor) -> Tensor:
        """The weight where and as it is multiplied."""
        return self.weight.to(x)

    def scaled(self, x: Tensor, weight: Tensor) -> Tensor:
        """The norm with this weight, which may differ between parts of x."""
        whole = x if RMS_NORM_IS_FLOAT32 else x.float()
        return F.rms_norm(whole, x.shape[-1:], eps=self.eps).to(x.dtype) * weight


class Float32HeadNorm(HeadNorm):
    """The same norm as torch's autocast runs it: weight and all in float32, and float32 comes out."""

    def weight_for(self, x: Tensor) -> Tensor:
        return self.weight.to(x.device, torch.float32)

    def scaled(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x.float(), x.shape[-1:], eps=self.eps) * weight


def norm_together(x: Tensor, first: HeadNorm, second: HeadNorm) -> Tensor:
    """Two norms of one kind at once, as queries and keys have them: half the kernels of one after the other.

    x: (2, ...), what the first norms and what the second.
    """
    weights = torch.stack([norm.weight_for(x) for norm in (first, second)])
    return first.scaled(x, weights.view(2, *[1] * (x.ndim - 2), -1))
