"""Layers of the video autoencoder.

Convolutions and attention look back in time only; group norms take their statistics over all frames.

Axes: b batch, c channels, t frames, h w height and width, n positions in all frames.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from ..layers.attention import Attention
from .video_vae_config import SPACE_LEVELS, TIME_LEVELS, VideoVAEConfig

EPS = 1e-6  # of every group norm


def strides(level: int) -> tuple[int, int, int]:
    """By how much time, height and width differ between a level and the next."""
    space = 2 if level in SPACE_LEVELS else 1
    return 2 if level in TIME_LEVELS else 1, space, space


class Encoder(nn.Module):
    """Video (b, 3, t, h, w) -> moments (b, 2 latent channels, 1 + (t - 1) / 4, h / 8, w / 8)."""

    def __init__(self, config: VideoVAEConfig, *, attention: Attention, operations=nn, **made) -> None:
        super().__init__()
        made = {**made, "operations": operations}
        channels, groups = config.channels, config.norm_groups
        self.conv_in = CausalConv3d(3, channels[0], 3, **made)
        self.down_blocks = nn.ModuleList(
            DownBlock(channels[max(level - 1, 0)], channels[level], level, config, **made)
            for level in range(len(channels))
        )
        self.mid_block = MidBlock(channels[-1], groups, attention=attention, **made)
        self.conv_norm_out = _norm(channels[-1], groups, **made)
        self.conv_out = CausalConv3d(channels[-1], 2 * config.latent_channels, 3, **made)

    def forward(self, video: Tensor) -> Tensor:
        x = self.conv_in(video)
        for block in self.down_blocks:
            x = block(x)
        x = self.mid_block(x)
        return self.conv_out(F.silu(self.conv_norm_out(x), inplace=True))


class Decoder(nn.Module):
    """Latents (b, latent channels, t, h, w) -> video (b, 3, 1 + 4 (t - 1), 8 h, 8 w)."""

    def __init__(self, config: VideoVAEConfig, *, attention: Attention, operations=nn, **made) -> None:
        super().__init__()
        made = {**made, "operations": operations}
        channels, groups = config.channels[::-1], config.norm_groups
        self.conv_in = CausalConv3d(config.latent_channels, channels[0], 3, **made)
        self.mid_block = MidBlock(channels[0], groups, attention=attention, **made)
        self.up_blocks = nn.ModuleList(
            UpBlock(channels[max(level - 1, 0)], channels[level], level, config, **made)
            for level in range(len(channels))
        )
        self.conv_norm_out = _norm(channels[-1], groups, **made)
        self.conv_out = CausalConv3d(channels[-1], 3, 3, **made)

    def forward(self, latents: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(latents))
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(F.silu(self.conv_norm_out(x), inplace=True))


class DownBlock(nn.Module):
    """Residual blocks of one level, then, but for the last level, a convolution with a stride."""

    def __init__(self, before: int, width: int, level: int, config: VideoVAEConfig, **made) -> None:
        super().__init__()
        widths = [before, *[width] * config.layers_per_level]
        self.resnets = _resnets(widths, config.norm_groups, **made)
        self.downsamplers = nn.ModuleList(
            [Downsample(width, strides(level), **made)] if level in SPACE_LEVELS else []
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in (*self.resnets, *self.downsamplers):
            x = layer(x)
        return x


class UpBlock(nn.Module):
    """Residual blocks of one level, then, but for the last level, repetition and a convolution."""

    def __init__(self, before: int, width: int, level: int, config: VideoVAEConfig, **made) -> None:
        super().__init__()
        widths = [before, *[width] * (config.layers_per_level + 1)]
        self.resnets = _resnets(widths, config.norm_groups, **made)
        self.upsamplers = nn.ModuleList(
            [Upsample(width, strides(level), **made)] if level in SPACE_LEVELS else []
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in (*self.resnets, *self.upsamplers):
            x = layer(x)
        return x


class MidBlock(nn.Module):
    """A residual block, attention, and another residual block."""

    def __init__(self, width: int, groups: int, *, attention: Attention, **made) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([FrameCausalAttention(width, groups, attention=attention, **made)])
        self.resnets = _resnets([width] * 3, groups, **made)

    def forward(self, x: Tensor) -> Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class FrameCausalAttention(nn.Module):
    """One head over the positions of all frames; each sees its own frame and the earlier ones."""

    def __init__(self, width: int, groups: int, *, attention: Attention, operations=nn, **made) -> None:
        super().__init__()
        self.attention = attention
        self.group_norm = _norm(width, groups, operations=operations, **made)
        self.to_q = operations.Linear(width, width, **made)
        self.to_k = operations.Linear(width, width, **made)
        self.to_v = operations.Linear(width, width, **made)
        self.to_out = nn.ModuleList([operations.Linear(width, width, **made)])

    def forward(self, x: Tensor) -> Tensor:
        """x: (b, c, t, h, w). Returns the same shape."""
        _, _, frames, height, width = x.shape
        tokens = rearrange(self.group_norm(x), "b c t h w -> b 1 (t h w) c")
        out = self.attend(self.to_q(tokens), self.to_k(tokens), self.to_v(tokens), height * width)
        out = self.to_out[0](out)
        return x + rearrange(out, "b 1 (t h w) c -> b c t h w", t=frames, h=height, w=width)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, places: int) -> Tensor:
        """Frame by frame, which spares the mask and half of the work. q, k, v: (b, 1, n, c)."""
        seen = range(places, q.shape[2] + 1, places)
        frames = [self.attention(q[:, :, n - places : n], k[:, :, :n], v[:, :, :n]) for n in seen]
        return torch.cat(frames, dim=2)


class ResnetBlock(nn.Module):
    """x + two convolutions, each after a group norm and SiLU."""

    def __init__(self, width: int, out_width: int, groups: int, **made) -> None:
        super().__init__()
        self.norm1 = _norm(width, groups, **made)
        self.conv1 = CausalConv3d(width, out_width, 3, **made)
        self.norm2 = _norm(out_width, groups, **made)
        self.conv2 = CausalConv3d(out_width, out_width, 3, **made)
        self.conv_shortcut = CausalConv3d(width, out_width, 1, **made) if width != out_width else None

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x), inplace=True))
        hidden = self.conv2(F.silu(self.norm2(hidden), inplace=True))
        return hidden + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class Downsample(nn.Module):
    """A convolution with a stride."""

    def __init__(self, width: int, stride: tuple[int, int, int], **made) -> None:
        super().__init__()
        self.conv = CausalConv3d(width, width, 3, stride=stride, **made)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Upsample(nn.Module):
    """Every position repeated, then a convolution. The first frame stays a single one."""

    def __init__(self, width: int, factors: tuple[int, int, int], **made) -> None:
        super().__init__()
        self.factors = factors
        self.conv = CausalConv3d(width, width, 3, **made)

    def forward(self, x: Tensor) -> Tensor:
        time, height, width = self.factors
        if time > 1:
            x = torch.cat([x[:, :, :1], x[:, :, 1:].repeat_interleave(time, dim=2)], dim=2)
        return self.conv(repeat(x, "b c t h w -> b c t (h dh) (w dw)", dh=height, dw=width))


class CausalConv3d(nn.Module):
    """A convolution that sees earlier frames only; borders repeat the outermost value."""

    def __init__(
        self,
        width: int,
        out_width: int,
        kernel: int,
        *,
        stride: int | tuple[int, int, int] = 1,
        operations=nn,
        **made,
    ) -> None:
        super().__init__()
        side = kernel // 2
        self.padding = (side, side, side, side, kernel - 1, 0)  # left, right, top, bottom, before, after
        self.conv = operations.Conv3d(width, out_width, kernel, stride=stride, **made)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, self.padding, mode="replicate") if any(self.padding) else x)


def _resnets(widths: list[int], groups: int, **made) -> nn.ModuleList:
    """Residual blocks from each width to the next."""
    return nn.ModuleList(ResnetBlock(before, after, groups, **made) for before, after in pairwise(widths))


def _norm(width: int, groups: int, *, operations=nn, **made) -> nn.Module:
    return operations.GroupNorm(groups, width, eps=EPS, **made)
