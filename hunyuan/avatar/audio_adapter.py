"""The face-aware audio adapter: speech features to tokens, and the video tokens that hear them.

Source: HunyuanVideo-Avatar, arXiv:2505.20156. A token hears only the speech of its own latent frame, and only
inside its character's mask.

Axes: b batch, f latent frames, n tokens, d channels per head.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..layers.attention import Attention
from .conditions import Voice
from .config import PATCH
from .ring import heard_frames

EPS = 1e-5  # as trained: larger than in the rest of the transformer


class AudioProjector(nn.Module):
    """Speech features of each video frame to a few tokens."""

    def __init__(
        self,
        features: int,
        inner_size: int,
        tokens: int,
        size: int,
        *,
        dtype=None,
        device=None,
        operations=nn,
    ) -> None:
        """features: numbers that describe a frame's sound. tokens: how many it becomes, each of `size`."""
        super().__init__()
        build = {"dtype": dtype, "device": device}
        self.tokens = tokens

        self.proj1 = operations.Linear(features, inner_size, **build)
        self.proj2 = operations.Linear(inner_size, inner_size, **build)
        self.proj3 = operations.Linear(inner_size, tokens * size, **build)
        self.norm = operations.LayerNorm(size, eps=EPS, **build)

    def forward(self, audio: Tensor) -> Tensor:
        """audio: (b, video frames, window, states, audio size). Returns (b, video frames, tokens, hidden)."""
        hidden = F.relu(self.proj2(F.relu(self.proj1(audio.flatten(2)))))
        return self.norm(self.proj3(hidden).unflatten(-1, (self.tokens, -1)))


def by_latent(tokens: Tensor) -> Tensor:
    """Tokens of video frames, gathered in the latent frame that hears them.

    tokens: (b, 4 f - 3, n, hidden). Returns (b, f, 4 n, hidden).
    """
    heard = heard_frames(torch.arange(tokens.shape[1], device=tokens.device))
    return tokens[:, heard].flatten(2, 3)


class CrossAdapter(nn.Module):
    """Cross-attention beside a block: what it returns is added to the tokens that asked."""

    def __init__(
        self,
        size: int,
        inner_size: int,
        heads: int,
        *,
        attention: Attention,
        dtype=None,
        device=None,
        operations=nn,
    ) -> None:
        super().__init__()
        build = {"dtype": dtype, "device": device}
        self.heads, self.attention = heads, attention

        self.norm1 = operations.LayerNorm(size, eps=EPS, **build)
        self.norm2 = operations.LayerNorm(size, eps=EPS, **build)
        self.to_q = operations.Linear(size, inner_size, bias=False, **build)
        self.to_kv = operations.Linear(size, 2 * inner_size, bias=False, **build)
        self.to_out = operations.Linear(inner_size, size, bias=False, **build)

    def keys_values(self, source: Tensor) -> Tensor:
        """source: (b, f, n, hidden). Returns (b, 2, f, n, inner)."""
        return rearrange(self.to_kv(self.norm1(source)), "b f n (two d) -> b two f n d", two=2)

    def forward(self, x: Tensor, keys_values: Tensor) -> Tensor:
        """What each token reads in its own frame's source. x: (b, f, m, hidden). Returns the same shape."""
        q = rearrange(self.to_q(self.norm2(x)), "b f n (heads d) -> (b f) heads n d", heads=self.heads)
        k, v = rearrange(keys_values, "b two f n (heads d) -> two (b f) heads n d", heads=self.heads)
        out = rearrange(self.attention(q, k, v), "(b f) heads n d -> b f n (heads d)", b=x.shape[0])
        return self.to_out(out)


def token_mask(mask: Tensor, frames: int) -> Tensor:
    """A mask at latent resolution for the tokens of each frame.

    As trained: each token takes its upper left latent's value.

    mask: (b, 1, frames or 1, h, w). Returns (b, frames, n).
    """
    return mask[:, 0, :, ::PATCH, ::PATCH].flatten(2).expand(-1, frames, -1)


def tokens_inside(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Where a token mask is not zero, and its values there.

    A frame with fewer such tokens than another is filled up with tokens outside: their value is zero.

    mask: (b, f, n). Returns two tensors (b, f, as many as the fullest frame has): positions among the image
        tokens, where the reference's n stand before the video's, and values.
    """
    places, weights = inside(mask)
    frame_starts = torch.arange(1, mask.shape[1] + 1, device=mask.device) * mask.shape[2]
    return places + frame_starts[:, None], weights


def inside(mask: Tensor) -> tuple[Tensor, Tensor]:
    """`tokens_inside`, positions counted from each frame's own first token."""
    outside = mask == 0
    count = int((~outside).sum(-1).max())
    places = outside.to(torch.uint8).argsort(dim=-1, stable=True)[..., :count]
    return places, mask.gather(-1, places)


def hear(image: Tensor, voices: Sequence[Voice], adapter: CrossAdapter, index: int) -> Tensor:
    """The image tokens after one adapter: every voice is heard by the tokens as they came, inside its mask.

    image: (b, n, hidden). index: the adapter's number, which picks the voices' keys and values.
    """
    rows, length = image.shape[:2]
    tokens = image.flatten(0, 1)
    row_starts = torch.arange(rows, device=image.device)[:, None, None] * length
    result = tokens
    for voice in voices:
        if not voice.places.numel():
            continue
        places = voice.places + row_starts
        heard = adapter(tokens[places], voice.keys_values[:, index]) * voice.weights[..., None].to(image)
        result = result.index_add(0, places.flatten(), heard.flatten(0, 2))
    return result.view_as(image)
