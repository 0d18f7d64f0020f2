"""CLIP's vision tower, as LLaVA looks at the portrait with it. Source: arXiv:2103.00020.

Axes: b batch, n tokens (the class token, then the patches), d channels per head.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from ..layers.attention import Attention
from ..layers.mlp import MLP
from .llava_config import ClipVisionConfig

EPS = 1e-5  # of every layer norm


def quick_gelu(x: Tensor) -> Tensor:
    """CLIP's approximation of GELU."""
    return x * torch.sigmoid(1.702 * x)


class ClipVision(nn.Module):
    """Images to features of their patches, from before the layers that LLaVA leaves out."""

    def __init__(
        self, config: ClipVisionConfig, *, attention: Attention, dtype=None, device=None, operations=nn
    ) -> None:
        super().__init__()
        build = {"dtype": dtype, "device": device, "operations": operations}
        self.config = config
        self.embeddings = PatchEmbeddings(config, **build)
        # As published: the checkpoint has it misspelt.
        self.pre_layrnorm = operations.LayerNorm(config.hidden_size, eps=EPS, dtype=dtype, device=device)
        layers = (ClipLayer(config, attention=attention, **build) for _ in range(config.depth))
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(layers)})

    def forward(self, pixel_values: Tensor) -> Tensor:
        """One vector for each patch.

        pixel_values: (b, 3, size, size), normalised as CLIP's.
        Returns:      (b, patches, hidden) without the class token, 576 patches as published.
        Raises:       ValueError for images of another size.
        """
        side = self.config.image_size
        if pixel_values.ndim != 4 or pixel_values.shape[1:] != (3, side, side):
            raise ValueError(
                f"LLaVA takes images of {side} x {side} as (b, 3, {side}, {side}), "
                f"not {tuple(pixel_values.shape)}."
            )
        x = self.pre_layrnorm(self.embeddings(pixel_values))
        for layer in self.encoder["layers"]:  # type: ignore[union-attr]
            x = layer(x)
        return x[:, 1:]


class PatchEmbeddings(nn.Module):
    """A class token and the patches, with their positions."""

    def __init__(self, config: ClipVisionConfig, *, dtype=None, device=None, operations=nn) -> None:
        super().__init__()
        size, patch = config.hidden_size, config.patch_size
        build = {"dtype": dtype, "device": device}
        self.class_embedding = nn.Parameter(torch.empty(size, **build))
        self.patch_embedding = operations.Conv2d(3, size, patch, stride=patch, bias=False, **build)
        self.position_embedding = operations.Embedding(1 + config.patches, size, **build)

    def forward(self, pixel_values: Tensor) -> Tensor:
        patches = self.patch_embedding(pixel_values.to(self.patch_embedding.weight.dtype))
        patches = rearrange(patches, "b d h w -> b (h w) d")
        cls = self.class_embedding.to(patches).expand(len(patches), 1, -1)
        positions = self.position_embedding(torch.arange(1 + patches.shape[1], device=patches.device))
        return torch.cat([cls, patches], dim=1) + positions.to(patches)


class ClipLayer(nn.Module):
    """Attention, then an MLP, both with the norm before them."""

    def __init__(
        self, config: ClipVisionConfig, *, attention: Attention, dtype=None, device=None, operations=nn
    ) -> None:
        super().__init__()
        size = config.hidden_size
        build = {"dtype": dtype, "device": device}
        self.layer_norm1 = operations.LayerNorm(size, eps=EPS, **build)
        self.self_attn = ClipAttention(config, attention=attention, operations=operations, **build)
        self.layer_norm2 = operations.LayerNorm(size, eps=EPS, **build)
        self.mlp = MLP(size, config.mlp_size, activation=quick_gelu, operations=operations, **build)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class ClipAttention(nn.Module):
    """Self-attention over all tokens."""

    def __init__(
        self, config: ClipVisionConfig, *, attention: Attention, dtype=None, device=None, operations=nn
    ) -> None:
        super().__init__()
        size = config.hidden_size
        build = {"dtype": dtype, "device": device}
        self.heads, self.attention = config.num_heads, attention
        self.q_proj = operations.Linear(size, size, **build)
        self.k_proj = operations.Linear(size, size, **build)
        self.v_proj = operations.Linear(size, size, **build)
        self.out_proj = operations.Linear(size, size, **build)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            rearrange(layer(x), "b n (heads d) -> b heads n d", heads=self.heads)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(rearrange(self.attention(q, k, v), "b heads n d -> b n (heads d)"))
