"""The two kinds of block in the Avatar transformer, and its last layer.

In a double block image and text tokens have weights of their own and attend together; a single block treats
all tokens alike. Image tokens are those of the reference, then those of the video.

Axes: b batch, n tokens, d channels per head.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from einops import rearrange
from torch import Tensor, nn

from ..layers.attention import Attention
from ..layers.mlp import MLP, gelu_tanh
from ..layers.modulation import Modulation, modulate
from ..layers.norm import HeadNorm
from ..layers.rope import rotate
from .config import AvatarConfig

EPS = 1e-6  # layer and head norms
CHUNK = 8_192  # tokens that pass a feed-forward at a time: enough to fill a GPU


class DoubleBlock(nn.Module):
    """Joint attention of image and text tokens, then an MLP for each."""

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

        q, k, v = split_heads(
            self.img_attn_qkv(modulate(image, image_shift, image_scale, eps=EPS)), self.heads
        )
        q, k = placed(q, self.img_attn_q_norm, table), placed(k, self.img_attn_k_norm, table)
        text_q, text_k, text_v = split_heads(
            self.txt_attn_qkv(modulate(text, text_shift, text_scale, eps=EPS)), self.heads
        )
        text_q, text_k = self.txt_attn_q_norm(text_q), self.txt_attn_k_norm(text_k)

        attended = join_heads(
            attend(
                torch.cat([q, text_q], dim=2), torch.cat([k, text_k], dim=2), torch.cat([v, text_v], dim=2)
            )
        )
        image_out, text_out = attended.split([image.shape[1], text.shape[1]], dim=1)
        image = image + image_gate * self.img_attn_proj(image_out)
        text = text + text_gate * self.txt_attn_proj(text_out)
        return _feed_forward(image, image_rest, self.img_mlp), _feed_forward(text, text_rest, self.txt_mlp)


def _feed_forward(x: Tensor, modulation: list[Tensor], mlp: nn.Module) -> Tensor:
    shift, scale, gate = modulation
    return in_chunks(lambda part: part + gate * mlp(modulate(part, shift, scale, eps=EPS)), x)


class SingleBlock(nn.Module):
    """Attention and MLP side by side, over image tokens and the text behind them."""

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
        qkv, hidden = in_chunks(lambda part: self.linear1(modulate(part, shift, scale, eps=EPS)), x).split(
            self.parts, dim=-1
        )
        q, k, v = split_heads(qkv, self.heads)
        q, k = placed(q, self.q_norm, table), placed(k, self.k_norm, table)
        attended = join_heads(attend(q, k, v))
        return in_chunks(partial(self._join, gate), x, attended, hidden)

    def _join(self, gate: Tensor, x: Tensor, attended: Tensor, hidden: Tensor) -> Tensor:
        return x + gate * self.linear2(torch.cat([attended, gelu_tanh(hidden)], dim=-1))


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
        return self.linear(modulate(x, shift, scale, eps=EPS))


def in_chunks(function: Callable[..., Tensor], *streams: Tensor) -> Tensor:
    """A function of each token by itself, of `CHUNK` tokens at a time: what it needs in between stays small.

    streams: (b, n, channels) each.
    """
    tokens = streams[0].shape[1]
    if tokens <= CHUNK:
        return function(*streams)
    parts = zip(*(stream.split(CHUNK, dim=1) for stream in streams), strict=True)
    first = function(*next(parts))
    result = first.new_empty(first.shape[0], tokens, first.shape[2])
    result[:, :CHUNK] = first
    for start, part in zip(range(CHUNK, tokens, CHUNK), parts, strict=True):
        result[:, start : start + CHUNK] = function(*part)
    return result


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


def placed(x: Tensor, norm: nn.Module, table: Tensor) -> Tensor:
    """Queries or keys, normed and turned; one head at a time where there are many tokens, since both are done
    in float32.

    x: (b, heads, n, d). table: as in `rotate_image`.
    """
    if x.shape[2] <= CHUNK:
        return rotate_image(norm(x), table)
    return torch.cat([rotate_image(norm(head), table) for head in x.split(1, dim=1)], dim=1)


def rotate_image(x: Tensor, table: Tensor) -> Tensor:
    """Turn the leading tokens, as many as the table has; the text behind them has no position."""
    image, text = x.tensor_split([table.shape[1]], dim=2)
    return torch.cat([rotate(image, table), text], dim=2)
