"""What Synchformer's branches share: attention in two layouts of weights, and the aggregator of token groups.

Axes: b batch, n tokens, d channels per head.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..layers.attention import Attention

AGGREGATOR_EPS = 1e-6  # layer norms of the aggregators, in both branches
PUBLISHED_HEAD_SIZE = 64  # channels per head in both branches of the published file


def named(**layers: nn.Module) -> nn.Sequential:
    """Layers one after the other, under the names that a checkpoint gives them."""
    return nn.Sequential(OrderedDict(layers))


class SelfAttention(nn.Module):
    """Self-attention with separate queries, keys and values; the output projection is the owner's."""

    def __init__(
        self, size: int, heads: int, *, attention: Attention, dtype=None, device=None, operations=nn
    ) -> None:
        super().__init__()
        self.heads, self.attention = heads, attention
        self.query = operations.Linear(size, size, dtype=dtype, device=device)
        self.key = operations.Linear(size, size, dtype=dtype, device=device)
        self.value = operations.Linear(size, size, dtype=dtype, device=device)

    def forward(self, x: Tensor) -> Tensor:
        """x: (b, n, hidden). Returns the same shape, heads merged."""
        q, k, v = (self._split(layer(x)) for layer in (self.query, self.key, self.value))
        return rearrange(self.attention(q, k, v), "b heads n d -> b n (heads d)")

    def _split(self, x: Tensor) -> Tensor:
        return rearrange(x, "b n (heads d) -> b heads n d", heads=self.heads)


class PackedAttention(nn.Module):
    """Attention with its input weights in one tensor, named as in torch's MultiheadAttention."""

    def __init__(
        self, size: int, heads: int, *, attention: Attention, dtype=None, device=None, operations=nn
    ) -> None:
        super().__init__()
        self.heads, self.attention = heads, attention
        self.in_proj_weight = nn.Parameter(torch.empty(3 * size, size, dtype=dtype, device=device))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * size, dtype=dtype, device=device))
        self.out_proj = operations.Linear(size, size, dtype=dtype, device=device)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """queries: (b, m, hidden), which read tokens: (b, n, hidden). Returns (b, m, hidden)."""
        size = queries.shape[-1]
        weight, bias = self.in_proj_weight.to(queries), self.in_proj_bias.to(queries)
        q = rearrange(
            F.linear(queries, weight[:size], bias[:size]), "b m (heads d) -> b heads m d", heads=self.heads
        )
        k, v = rearrange(
            F.linear(tokens, weight[size:], bias[size:]),
            "b n (two heads d) -> two b heads n d", two=2, heads=self.heads,
        )  # fmt: skip
        return self.out_proj(rearrange(self.attention(q, k, v), "b heads m d -> b m (heads d)"))


class GroupAggregator(nn.Module):
    """A group of tokens as one: a learned token reads the group through a pre-norm transformer layer.

    Nothing but the learned token's output is used, so nothing else is computed.
    """

    def __init__(
        self, size: int, heads: int, mlp_size: int, *,
        attention: Attention, dtype=None, device=None, operations=nn,
    ) -> None:  # fmt: skip
        super().__init__()
        build = {"dtype": dtype, "device": device}
        self.cls_token = nn.Parameter(torch.empty(1, 1, size, **build))
        self.norm1 = operations.LayerNorm(size, eps=AGGREGATOR_EPS, **build)
        self.self_attn = PackedAttention(size, heads, attention=attention, operations=operations, **build)
        self.norm2 = operations.LayerNorm(size, eps=AGGREGATOR_EPS, **build)
        self.linear1 = operations.Linear(size, mlp_size, **build)
        self.linear2 = operations.Linear(mlp_size, size, **build)

    def forward(self, groups: Tensor) -> Tensor:
        """groups: (b, n, hidden), one group a row. Returns (b, hidden)."""
        token = self.cls_token.to(groups)
        tokens = self.norm1(torch.cat([token.expand(len(groups), -1, -1), groups], dim=1))

        x = token + self.self_attn(tokens[:, :1], tokens)
        x = x + self.linear2(F.gelu(self.linear1(self.norm2(x))))
        return x[:, 0]
