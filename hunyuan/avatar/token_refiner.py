"""Prompt tokens to refined context: two transformer blocks over the text, led by time and the prompt's mean.

Source: HunyuanVideo, arXiv:2412.03603.

Axes: b batch, n tokens, d channels per head.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.attention import Attention
from ..layers.embeddings import TextProjection, TimestepEmbedder
from ..layers.mlp import MLP
from .blocks import join_heads, split_heads
from .config import AvatarConfig

EPS = 1e-6


class TokenRefiner(nn.Module):
    """Text states to text tokens.

    As trained: the mask has its ones where the published program put them, not where the text and the
    portrait are. Some portrait tokens are left out of the mean and of the keys, and all padding is in both.
    """

    def __init__(
        self, config: AvatarConfig, *, attention: Attention, dtype=None, device=None, operations=nn
    ) -> None:
        super().__init__()
        size = config.hidden_size
        build = {"dtype": dtype, "device": device}
        layers = {**build, "operations": operations}
        self.input_embedder = operations.Linear(config.text_size, size, **build)
        self.t_embedder = TimestepEmbedder(size, **layers)
        self.c_embedder = TextProjection(config.text_size, size, **layers)
        blocks = (RefinerBlock(config, attention=attention, **layers) for _ in range(config.refiner_depth))
        self.individual_token_refiner = nn.ModuleDict({"blocks": nn.ModuleList(blocks)})

    def prepare(self, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """What does not depend on time: embedded states and their embedded mean.

        states: (b, n, text size). mask: (b, n), bool. Returns (b, n, hidden) and (b, hidden).
        """
        weights = mask[..., None].float()
        mean = (states.float() * weights).sum(1) / weights.sum(1)
        return self.input_embedder(states), self.c_embedder(mean.to(states))

    def forward(self, x: Tensor, context: Tensor, mask: Tensor, t: Tensor) -> Tensor:
        """x, context: from `prepare`. t: (b,), in 0..1000. Returns x's shape."""
        visible = mask[:, None, :, None] & mask[:, None, None, :]
        # As trained: everybody sees the first token, and who is masked sees nothing else.
        visible[..., 0] = True

        condition = (self.t_embedder(t, x.dtype) + context)[:, None]
        for block in self.individual_token_refiner["blocks"]:  # type: ignore[union-attr]
            x = block(x, condition, visible)
        return x


class RefinerBlock(nn.Module):
    """Self-attention and a feed-forward with SiLU, both gated; nothing is shifted or scaled."""

    def __init__(
        self, config: AvatarConfig, *, attention: Attention, dtype=None, device=None, operations=nn
    ) -> None:
        super().__init__()
        size = config.hidden_size
        build = {"dtype": dtype, "device": device}
        self.heads, self.attention = config.num_heads, attention

        self.norm1 = operations.LayerNorm(size, eps=EPS, **build)
        self.self_attn_qkv = operations.Linear(size, 3 * size, **build)
        self.self_attn_proj = operations.Linear(size, size, **build)
        self.norm2 = operations.LayerNorm(size, eps=EPS, **build)
        self.mlp = MLP(size, config.mlp_size, activation=F.silu, operations=operations, **build)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), operations.Linear(size, 2 * size, **build))

    def forward(self, x: Tensor, condition: Tensor, visible: Tensor) -> Tensor:
        """x: (b, n, hidden). condition: (b, 1, hidden). visible: (b, 1, n, n), bool, queries by keys."""
        gate, mlp_gate = self.adaLN_modulation(condition).chunk(2, dim=-1)
        q, k, v = split_heads(self.self_attn_qkv(self.norm1(x)), self.heads)
        x = x + gate * self.self_attn_proj(join_heads(self.attention(q, k, v, visible)))
        return x + mlp_gate * self.mlp(self.norm2(x))
