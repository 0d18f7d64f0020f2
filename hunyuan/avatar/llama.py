"""The layers of Llama 3 up to those whose states guide the sampler. Source: arXiv:2407.21783.

Axes: b batch, n tokens, d channels per head.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..layers.attention import Attention
from ..layers.norm import HeadNorm as RMSNorm
from .llava_config import LlamaConfig

EPS = 1e-5  # of every norm


class Llama(nn.Module):
    """Token embeddings to states; there is no norm after the last layer here."""

    def __init__(
        self, config: LlamaConfig, *, attention: Attention, dtype=None, device=None, operations=nn
    ) -> None:
        super().__init__()
        self.config = config
        build = {"dtype": dtype, "device": device}
        self.embed_tokens = operations.Embedding(config.vocabulary, config.hidden_size, **build)
        self.layers = nn.ModuleList(
            LlamaLayer(config, attention=attention, operations=operations, **build)
            for _ in range(config.depth)
        )

    def forward(self, x: Tensor, positions: Tensor, visible: Tensor) -> Tensor:
        """x: (b, n, hidden). positions: (n,). visible: (b, 1, n, n), bool, queries by keys."""
        table = rotary_table(positions, self.config.head_size, self.config.rope_theta)
        for layer in self.layers:
            x = layer(x, table, visible)
        return x


class LlamaLayer(nn.Module):
    """Attention, then a gated MLP, both with the norm before them."""

    def __init__(
        self, config: LlamaConfig, *, attention: Attention, dtype=None, device=None, operations=nn
    ) -> None:
        super().__init__()
        build = {"dtype": dtype, "device": device}
        layers = {**build, "operations": operations}
        self.input_layernorm = RMSNorm(config.hidden_size, EPS, **build)
        self.self_attn = LlamaAttention(config, attention=attention, **layers)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, EPS, **build)
        self.mlp = GatedMLP(config.hidden_size, config.mlp_size, **layers)

    def forward(self, x: Tensor, table: Tensor, visible: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), table, visible)
        return x + self.mlp(self.post_attention_layernorm(x))


class LlamaAttention(nn.Module):
    """Attention whose keys and values are shared by groups of query heads (arXiv:2305.13245)."""

    def __init__(
        self, config: LlamaConfig, *, attention: Attention, dtype=None, device=None, operations=nn
    ) -> None:
        super().__init__()
        size, kv_size = config.hidden_size, config.num_kv_heads * config.head_size
        build = {"bias": False, "dtype": dtype, "device": device}
        self.head_size, self.attention = config.head_size, attention
        self.group = config.num_heads // config.num_kv_heads
        self.q_proj = operations.Linear(size, size, **build)
        self.k_proj = operations.Linear(size, kv_size, **build)
        self.v_proj = operations.Linear(size, kv_size, **build)
        self.o_proj = operations.Linear(size, size, **build)

    def forward(self, x: Tensor, table: Tensor, visible: Tensor) -> Tensor:
        q, k, v = (
            rearrange(layer(x), "b n (heads d) -> b heads n d", d=self.head_size)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate_halves(q, table), rotate_halves(k, table)
        k, v = (shared.repeat_interleave(self.group, dim=1) for shared in (k, v))
        return self.o_proj(rearrange(self.attention(q, k, v, visible), "b heads n d -> b n (heads d)"))


class GatedMLP(nn.Module):
    """down(SiLU(gate x) * up x), without biases (arXiv:2002.05202)."""

    def __init__(self, size: int, mlp_size: int, *, dtype=None, device=None, operations=nn) -> None:
        super().__init__()
        build = {"bias": False, "dtype": dtype, "device": device}
        self.gate_proj = operations.Linear(size, mlp_size, **build)
        self.up_proj = operations.Linear(size, mlp_size, **build)
        self.down_proj = operations.Linear(mlp_size, size, **build)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


def rotary_table(positions: Tensor, head_size: int, theta: float) -> Tensor:
    """Cosines and sines of every position and channel pair: (2, n, head_size / 2), float32."""
    exponents = torch.arange(0, head_size, 2, dtype=torch.float32, device=positions.device) / head_size
    angles = torch.outer(positions.float(), theta**-exponents)
    return torch.stack([angles.cos(), angles.sin()])


def rotate_halves(x: Tensor, table: Tensor) -> Tensor:
    """Turn each pair (m, m + d / 2) of the last axis by its position's angle; in float32.

    x: (b, heads, n, d). table: from `rotary_table`. Returns x's shape and dtype.
    """
    cos, sin = table
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)
