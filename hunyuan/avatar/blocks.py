"""The two kinds of block in the Avatar transformer, and its last layer.

In a double block image and text tokens have weights of their own and attend together; a single block treats
all tokens alike. Image tokens are those of the reference, then those of the video.

Axes: b batch, n tokens, d channels per head.
"""

from functools import partial
from typing import Any, Protocol

import torch
from einops import rearrange
from torch import Tensor, nn

from ..layers.attention import Attention
from ..layers.mlp import MLP
from ..layers.modulation import Modulation
from ..layers.norm import HeadNorm
from .config import AvatarConfig
from .tokenwise import EPS, PLAIN, Tokenwise, in_chunks, modulate_rows


class DoubleBlock(nn.Module):
    """Joint attention of image and text tokens, then an MLP for each."""

    tokenwise = PLAIN

    def __init__(
        self, config: AvatarConfig, *, attention: Attention, dtype=None, device=None, operations=nn
    ) -> None:
        super().__init__()
        size, head_size = config.hidden_size, config.head_size
        build = {"dtype": dtype, "device": device}
        layers = {**build, "operations": operations}
        self.heads, self.attention = config.num_heads, attention

        self.img_mod = Modulation(size, 6, **layers)
        self.img_attn_qkv = operations.Linear(size, 3 * size, **build)
        self.img_attn_q_norm = HeadNorm(head_size, EPS, **build)
        self.img_attn_k_norm = HeadNorm(head_size, EPS, **build)
        self.img_attn_proj = operations.Linear(size, size, **build)
        self.img_mlp = MLP(size, config.mlp_size, **layers)

        self.txt_mod = Modulation(size, 6, **layers)
        self.txt_attn_qkv = operations.Linear(size, 3 * size, **build)
        self.txt_attn_q_norm = HeadNorm(head_size, EPS, **build)
        self.txt_attn_k_norm = HeadNorm(head_size, EPS, **build)
        self.txt_attn_proj = operations.Linear(size, size, **build)
        self.txt_mlp = MLP(size, config.mlp_size, **layers)

    def forward(
        self, image: Tensor, text: Tensor, vec: Tensor, table: Tensor, *, attention: Attention | None = None
    ) -> tuple[Tensor, Tensor]:
        """Both streams after this block.

        image: (b, n, hidden). text: (b, m, hidden). vec: (b, 1, hidden), the modulation vector after SiLU.
        table: rotary table of the image tokens. attention: in the place of the block's own, for this call.
        """
        attend = attention or self.attention
        image_shift, image_scale, image_gate, *image_rest = self.img_mod(vec)
        text_shift, text_scale, text_gate, *text_rest = self.txt_mod(vec)

        attended = self._attention(
            self.img_attn_qkv(self.tokenwise.modulate(image, image_shift, image_scale)),
            self.txt_attn_qkv(self.tokenwise.modulate(text, text_shift, text_scale)),
            table, attend,
        )  # fmt: skip
        image_out, text_out = attended.split([image.shape[1], text.shape[1]], dim=1)
        image = self.tokenwise.gated(image, image_gate, self.img_attn_proj(image_out))
        text = self.tokenwise.gated(text, text_gate, self.txt_attn_proj(text_out))
        return (
            self._feed_forward(image, image_rest, self.img_mlp),
            self._feed_forward(text, text_rest, self.txt_mlp),
        )

    def _attention(self, image_qkv: Tensor, text_qkv: Tensor, table: Tensor, attend: Attention) -> Tensor:
        """Queries, keys and values of both are let go of when this returns."""
        q, k, v = split_heads(image_qkv, self.heads)
        text_q, text_k, text_v = split_heads(text_qkv, self.heads)
        q = self.tokenwise.place(q, text_q, self.img_attn_q_norm, self.txt_attn_q_norm, table)
        k = self.tokenwise.place(k, text_k, self.img_attn_k_norm, self.txt_attn_k_norm, table)
        return join_heads(attend(q, k, torch.cat([v, text_v], dim=2)))

    def _feed_forward(self, x: Tensor, modulation: list[Tensor], mlp: nn.Module) -> Tensor:
        shift, scale, gate = modulation

        def forward(part: Tensor) -> Tensor:
            return self.tokenwise.gated(part, gate, mlp(self.tokenwise.modulate(part, shift, scale)))

        return in_chunks(forward, x)


class SingleBlock(nn.Module):
    """Attention and MLP side by side, over image tokens and the text behind them."""

    tokenwise = PLAIN

    def __init__(
        self, config: AvatarConfig, *, attention: Attention, dtype=None, device=None, operations=nn
    ) -> None:
        super().__init__()
        size = config.hidden_size
        build = {"dtype": dtype, "device": device}
        self.heads, self.attention = config.num_heads, attention
        self.parts = [3 * size, config.mlp_size]

        self.modulation = Modulation(size, 3, operations=operations, **build)
        self.linear1 = operations.Linear(size, sum(self.parts), **build)
        self.linear2 = operations.Linear(size + config.mlp_size, size, **build)
        self.q_norm = HeadNorm(config.head_size, EPS, **build)
        self.k_norm = HeadNorm(config.head_size, EPS, **build)

    def forward(self, x: Tensor, vec: Tensor, table: Tensor, *, attention: Attention | None = None) -> Tensor:
        """x: (b, n, hidden). vec: (b, 1, hidden), after SiLU. table: of the image tokens, which lead.

        attention: in the place of the block's own, for this call.
        """
        attend = attention or self.attention
        shift, scale, gate = self.modulation(vec)
        qkv, hidden = self.linear1(self.tokenwise.modulate(x, shift, scale)).split(self.parts, dim=-1)
        attended = self._attention(qkv, table, attend)
        return in_chunks(partial(self._add, gate), x, attended, hidden)

    def _attention(self, qkv: Tensor, table: Tensor, attend: Attention) -> Tensor:
        """Placed queries and keys are let go of when this returns."""
        q, k, v = split_heads(qkv, self.heads)
        return join_heads(attend(self._place(q, self.q_norm, table), self._place(k, self.k_norm, table), v))

    def _place(self, x: Tensor, norm: HeadNorm, table: Tensor) -> Tensor:
        image, text = x.tensor_split([table.shape[1]], dim=2)
        return self.tokenwise.place(image, text, norm, norm, table)

    def _add(self, gate: Tensor, x: Tensor, attended: Tensor, hidden: Tensor) -> Tensor:
        return self.tokenwise.gated(x, gate, self.linear2(self.tokenwise.join(attended, hidden)))


class FinalLayer(nn.Module):
    """Modulated layer norm and a linear layer to the channels of a patch."""

    def __init__(self, config: AvatarConfig, *, dtype=None, device=None, operations=nn) -> None:
        super().__init__()
        size = config.hidden_size
        build = {"dtype": dtype, "device": device}
        self.linear = operations.Linear(size, config.patch_channels, **build)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), operations.Linear(size, 2 * size, **build))

    def forward(self, x: Tensor, vec: Tensor) -> Tensor:
        """x: (b, n, hidden). vec: (b, 1, hidden), before SiLU. Returns (b, n, patch channels)."""
        shift, scale = self.adaLN_modulation(vec).chunk(2, dim=-1)
        return self.linear(modulate_rows(x, shift, 1 + scale))


def use_tokenwise(network: nn.Module, tokenwise: Tokenwise) -> None:
    """Have all blocks below `network` call these operations."""
    for block in network.modules():
        if isinstance(block, DoubleBlock | SingleBlock):
            block.tokenwise = tokenwise


class RunBlock(Protocol):
    """Calls a block with its inputs; a host may put other code in its place, or before and after it."""

    def __call__(self, kind: str, number: int, block: nn.Module, *inputs: Any) -> Any: ...


def run_block(kind: str, number: int, block: nn.Module, *inputs: Any) -> Any:
    """kind: "double" or "single". number: among the blocks of its kind."""
    return block(*inputs)


def split_heads(qkv: Tensor, heads: int) -> Tensor:
    return rearrange(qkv, "b n (three heads d) -> three b heads n d", three=3, heads=heads)


def join_heads(x: Tensor) -> Tensor:
    return rearrange(x, "b heads n d -> b n (heads d)")
