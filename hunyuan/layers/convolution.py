"""Convolutions over a few tokens that turn nothing around on a GPU.

Tokens lie with their channels innermost. PyTorch's 1-d convolution wants them outermost, and cuDNN then turns
tokens and weights back: half of the time that a step of the published size takes. As a 2-d convolution of
height 1 with channels last, the same numbers are computed where they lie; the weights are laid out for that
once, when they come to the card.

Axes: b batch, n tokens, d channels in, o channels out, k kernel.
"""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@cache
def token_convolution(plain: Any) -> Any:
    """The kind of `nn.Conv1d` that computes so, on a CPU as ever; names, shapes and answers stay.

    plain: the class, torch's own or a host's, whose way to find its weights stays too.
    """

    class TokenConv1d(plain):
        def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            return convolve_tokens(input, weight, bias, padding=int(self.padding[0]))

        def _apply(self, fn, recurse: bool = True):
            super()._apply(fn, recurse)
            if self.weight.is_cuda and type(self.weight) is nn.Parameter:  # a host's packed ones stay so
                self.weight.data = channels_innermost(self.weight.data)
            return self

    TokenConv1d.__name__ = TokenConv1d.__qualname__ = plain.__name__
    return TokenConv1d


def channels_innermost(weight: Tensor) -> Tensor:
    """The same (o, d, k) with d innermost in memory."""
    return weight.transpose(1, 2).contiguous().transpose(1, 2)


def convolve_tokens(x: Tensor, weight: Tensor, bias: Tensor | None, *, padding: int) -> Tensor:
    """`F.conv1d`. x: (b, d, n); weight: (o, d, k); on a GPU best with d innermost. Returns (b, o, n)."""
    if not x.is_cuda:
        return F.conv1d(x, weight, bias, padding=padding)
    return as_2d(x, weight, bias, padding=padding)


def as_2d(x: Tensor, weight: Tensor, bias: Tensor | None, *, padding: int) -> Tensor:
    x, weight = (tensor[:, :, None].contiguous(memory_format=torch.channels_last) for tensor in (x, weight))
    return F.conv2d(x, weight, bias, padding=(0, padding))[:, :, 0]
