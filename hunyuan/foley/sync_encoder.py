"""Synchformer's visual branch: features of visible events, 8 tokens for every 0.64 s of video.

A Motionformer with divided space-time attention (arXiv:2106.05392), as in Synchformer (arXiv:2401.16423).

Axes: b batch, s segments, t frames (after the patch embedding: pairs of frames), p places in a frame,
n tokens (the class token, then t times p), d channels per head.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from ..layers.attention import Attention, attention
from ..layers.numbering import count_blocks
from .sync_blocks import PUBLISHED_HEAD_SIZE, GroupAggregator, named
from .timing import SEGMENT_FRAMES, SEGMENT_STEP, SYNC_RATE

PREFIX = "vfeat_extractor."  # what stands before these names in a complete Synchformer file
EPS = 1e-6  # of every layer norm
IMAGE_CHANNELS = 3

TIME_GROUPS = "b heads (t p) d -> b p heads t d"  # the tokens of one place
SPACE_GROUPS = "b heads (t p) d -> b t heads p d"  # the tokens of one frame


@dataclass(frozen=True, kw_only=True)
class SyncEncoderConfig:
    """Sizes of the visual branch; the defaults are the published ones."""

    hidden_size: int = 768
    depth: int = 12
    num_heads: int = 12
    patch_size: int = 16  # pixels
    image_size: int = 224  # pixels
    tubelet_size: int = 2  # frames that one token spans
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        if self.num_heads < 1 or self.hidden_size % self.num_heads:
            raise ValueError(
                f"A hidden size of {self.hidden_size} does not split into {self.num_heads} heads: "
                "give the sync encoder's number of heads."
            )

    @property
    def mlp_size(self) -> int:
        return round(self.hidden_size * self.mlp_ratio)

    @property
    def tokens_per_segment(self) -> int:
        return SEGMENT_FRAMES // self.tubelet_size

    @property
    def places(self) -> int:
        """Patches in one frame."""
        return (self.image_size // self.patch_size) ** 2

    @classmethod
    def from_shapes(
        cls, shapes: Mapping[str, Sequence[int]], num_heads: int | None = None
    ) -> "SyncEncoderConfig":
        """The configuration that a checkpoint's tensor shapes imply.

        shapes: by name, without `PREFIX`.
        num_heads: no shape tells it; without it, heads of 64 channels as published.
        Raises KeyError with the missing name if this is not a Synchformer.
        """
        hidden_size, _, tubelet_size, patch_size, _ = shapes["patch_embed_3d.proj.weight"]
        return cls(
            hidden_size=hidden_size,
            depth=count_blocks(shapes, "blocks"),
            num_heads=num_heads or hidden_size // PUBLISHED_HEAD_SIZE,
            patch_size=patch_size,
            image_size=math.isqrt(shapes["pos_embed"][1] - 1) * patch_size,
            tubelet_size=tubelet_size,
            mlp_ratio=shapes["blocks.0.mlp.fc1.weight"][0] / hidden_size,
        )


def segments_of(frames: Tensor, size: int = SEGMENT_FRAMES, step: int = SEGMENT_STEP) -> Tensor:
    """Cut a clip into overlapping segments, without a copy; frames that fill no segment are left out.

    frames: (..., t, 3, h, w) at 25 fps. Returns (..., s, size, 3, h, w), a view.
    Raises: ValueError if there are fewer frames than one segment has.
    """
    if (num_frames := frames.shape[-4]) < size:
        raise ValueError(
            f"Clip too short for the sync encoder: {num_frames} frames at {SYNC_RATE} fps, "
            f"it needs {size} ({size / SYNC_RATE:.2f} s). Use a longer clip."
        )
    return rearrange(frames.unfold(-4, size, step), "... s c h w t -> ... s t c h w")


class SyncEncoder(nn.Module):
    """Segments of video frames to sync features.

    Attributes are the file's names without `PREFIX`. The residual stream has the input's dtype, also under
    autocast: the published program runs it so on a GPU, in float32 with float16 inside.
    """

    def __init__(
        self,
        config: SyncEncoderConfig | None = None,
        *,
        dtype=None,
        device=None,
        operations=nn,
        attention: Attention = attention,
    ) -> None:
        super().__init__()
        self.config = config = config or SyncEncoderConfig()
        size, patch, tubelet = config.hidden_size, config.patch_size, config.tubelet_size
        build = {"dtype": dtype, "device": device}
        layers = {**build, "operations": operations, "attention": attention}

        # As trained: the embedding of single frames is in the file, but nothing uses it.
        self.patch_embed = named(proj=operations.Conv2d(IMAGE_CHANNELS, size, patch, stride=patch, **build))
        tube = (tubelet, patch, patch)
        self.patch_embed_3d = named(proj=operations.Conv3d(IMAGE_CHANNELS, size, tube, stride=tube, **build))
        self.cls_token = nn.Parameter(torch.empty(1, 1, size, **build))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + config.places, size, **build))
        self.temp_embed = nn.Parameter(torch.empty(1, config.tokens_per_segment, size, **build))

        self.blocks = nn.ModuleList(DividedBlock(config, **layers) for _ in range(config.depth))
        self.norm = operations.LayerNorm(size, eps=EPS, **build)
        self.spatial_attn_agg = GroupAggregator(size, config.num_heads, config.mlp_size, **layers)

    def forward(self, segments: Tensor) -> Tensor:
        """Features of visible events, which the sampler lines sounds up with.

        segments: (b, s, 16, 3, 224, 224), RGB frames in [-1, 1] at 25 fps. Segments do not see each other.
        Returns:  (b, s * 8, 768).
        Raises:   ValueError if a segment is not 16 frames of 224 x 224.
        """
        self._check(segments)
        x = self.embed(segments.flatten(0, 1))
        for block in self.blocks:
            x = block(x)

        x = self.norm(x[:, 1:])
        x = self.spatial_attn_agg(rearrange(x, "b (t p) d -> (b t) p d", p=self.config.places))
        return rearrange(x, "(b n) d -> b n d", b=len(segments))

    def embed(self, segments: Tensor) -> Tensor:
        """Tokens with their positions.

        segments: (b, 16, 3, h, w). Returns (b, n, hidden) in the input's dtype.
        """
        patches = self.patch_embed_3d(rearrange(segments, "b t c h w -> b c t h w"))
        positions = self.pos_embed.to(segments)
        in_time = rearrange(self.temp_embed.to(segments), "1 t d -> t 1 d")
        in_video = rearrange(in_time + positions[:, 1:], "t p d -> (t p) d")

        patches = rearrange(patches, "b d t h w -> b (t h w) d") + in_video
        cls = self.cls_token.to(segments) + positions[:, :1]
        return torch.cat([cls.expand(len(patches), -1, -1), patches], dim=1)

    @property
    def image_size(self) -> int:
        """Height and width of the frames, in pixels."""
        return self.config.image_size

    def _check(self, segments: Tensor) -> None:
        side = self.image_size
        expected = (SEGMENT_FRAMES, IMAGE_CHANNELS, side, side)
        if segments.ndim != 6 or segments.shape[2:] != expected:
            raise ValueError(
                f"The sync encoder takes segments of shape (b, s, {', '.join(map(str, expected))}), "
                f"not {tuple(segments.shape)}."
            )


class DividedBlock(nn.Module):
    """Attention over time, then over space, then an MLP."""

    def __init__(
        self, config: SyncEncoderConfig, *, attention: Attention, dtype=None, device=None, operations=nn
    ) -> None:
        super().__init__()
        size = config.hidden_size
        build = {"dtype": dtype, "device": device}
        layers = {**build, "operations": operations}
        self.norm3 = operations.LayerNorm(size, eps=EPS, **build)
        self.timeattn = DividedAttention(config, TIME_GROUPS, attention=attention, **layers)
        self.norm1 = operations.LayerNorm(size, eps=EPS, **build)
        self.attn = DividedAttention(config, SPACE_GROUPS, attention=attention, **layers)
        self.norm2 = operations.LayerNorm(size, eps=EPS, **build)
        self.mlp = named(
            fc1=operations.Linear(size, config.mlp_size, **build),
            gelu=nn.GELU(),
            fc2=operations.Linear(config.mlp_size, size, **build),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (b, n, hidden). Returns the same shape."""
        # As trained: the norms' names do not follow the order of execution.
        x = x + self.timeattn(self.norm3(x))
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class DividedAttention(nn.Module):
    """Self-attention in groups of tokens: each reads its group and the class token, which reads all."""

    def __init__(
        self, config: SyncEncoderConfig, groups: str, *,
        attention: Attention, dtype=None, device=None, operations=nn,
    ) -> None:  # fmt: skip
        super().__init__()
        size = config.hidden_size
        self.heads, self.places = config.num_heads, config.places
        self.groups, self.attention = groups, attention
        self.qkv = operations.Linear(size, 3 * size, dtype=dtype, device=device)
        self.proj = operations.Linear(size, size, dtype=dtype, device=device)

    def forward(self, x: Tensor) -> Tensor:
        """x: (b, n, hidden). Returns the same shape."""
        q, k, v = rearrange(
            self.qkv(x), "b n (three heads d) -> three b heads n d", three=3, heads=self.heads
        )
        cls = self.attention(q[:, :, :1], k, v)

        queries = self._grouped(q)
        out = self.attention(queries.flatten(0, 1), self._with_cls(k), self._with_cls(v))
        out = self._ungrouped(out.unflatten(0, queries.shape[:2]))
        return self.proj(rearrange(torch.cat([cls, out], dim=2), "b heads n d -> b n (heads d)"))

    def _grouped(self, x: Tensor) -> Tensor:
        """All but the class token, one group a row, without a copy: (b, groups, heads, group size, d)."""
        return rearrange(x[:, :, 1:], self.groups, p=self.places)

    def _ungrouped(self, x: Tensor) -> Tensor:
        tokens, groups = self.groups.split(" -> ")
        return rearrange(x, f"{groups} -> {tokens}")

    def _with_cls(self, x: Tensor) -> Tensor:
        """Groups with the class token ahead of each: (b * groups, heads, 1 + group size, d)."""
        groups = self._grouped(x)
        cls = x[:, None, :, :1].expand(-1, groups.shape[1], -1, -1, -1)
        return torch.cat([cls, groups], dim=3).flatten(0, 1)
