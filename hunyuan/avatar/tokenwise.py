"""What a block of the Avatar transformer does to each token by itself: between its products and attention.

There are tens of thousands of tokens, so that what counts here is how often they are read and written.

Axes: b batch, n image tokens, m text tokens, d channels per head.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..layers.mlp import gelu_tanh
from ..layers.modulation import gated, modulate
from ..layers.rope import rotate

EPS = 1e-6  # layer and head norms
CHUNK = 8_192  # tokens that are in work at a time: enough to fill a GPU

Norm = Callable[[Tensor], Tensor]


def modulate_rows(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """scale * layer norm + shift, row by row: torch's norm scales and shifts alike what it is given.

    x: (b, tokens, hidden). shift, scale: (b, 1, hidden).
    """
    parts = zip(*(whole.split(1) for whole in (x, shift, scale)), strict=True)
    rows = [modulate(*part, eps=EPS) for part in parts]
    return rows[0] if len(rows) == 1 else torch.cat(rows)


def place(image: Tensor, text: Tensor, image_norm: Norm, text_norm: Norm, table: Tensor) -> Tensor:
    """Queries or keys of all tokens, normed; those of the image are turned, the text has no position.

    image: (b, heads, n, d). text: (b, heads, m, d). table: rotary table of the image tokens.
    Returns (b, heads, n + m, d).
    """
    return torch.cat([rotate(image_norm(image), table), text_norm(text)], dim=2)


def place_by_heads(image: Tensor, text: Tensor, image_norm: Norm, text_norm: Norm, table: Tensor) -> Tensor:
    """`place`, a few heads at a time, so that what is float32 while they are turned stays small."""
    rows, heads, length, size = image.shape
    placed = image.new_empty(rows, heads, length + text.shape[2], size)
    placed[:, :, length:] = text_norm(text)
    together = max(1, heads * CHUNK // length)
    for first in range(0, heads, together):
        some = slice(first, first + together)
        rotate(image_norm(image[:, some]), table, into=placed[:, some, :length])
    return placed


def join(attended: Tensor, hidden: Tensor) -> Tensor:
    """What the second linear layer of a single block takes. (b, tokens, hidden) and (b, tokens, mlp)."""
    return torch.cat([attended, gelu_tanh(hidden)], dim=-1)


@dataclass(frozen=True)
class Tokenwise:
    """The operations as a block calls them: `PLAIN`, or others of the same kind (see `use_tokenwise`)."""

    modulate: Callable[[Tensor, Tensor, Tensor], Tensor]
    place: Callable[[Tensor, Tensor, Norm, Norm, Tensor], Tensor]
    join: Callable[[Tensor, Tensor], Tensor]
    gated: Callable[[Tensor, Tensor, Tensor], Tensor]


PLAIN = Tokenwise(modulate=modulate_rows, place=place_by_heads, join=join, gated=gated)


def in_chunks(function: Callable[..., Tensor], *streams: Tensor) -> Tensor:
    """A function of each token by itself, of `CHUNK` tokens at a time: what it needs in between stays small.

    streams: (b, tokens, channels) each.
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
