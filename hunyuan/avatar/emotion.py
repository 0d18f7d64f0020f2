"""The audio emotion module: the emotion in a picture of a face, shown by the video.

Source: HunyuanVideo-Avatar, arXiv:2505.20156: the picture's latents pass a linear layer, and video tokens
read them by spatial cross-attention in the double blocks. No released file has its tensors; whoever trains
them names them `emotion.*` in the transformer's file.

Axes: b batch, n video tokens, m tokens of the picture, d channels.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from ..layers.attention import Attention
from .audio_adapter import CrossAdapter
from .config import PATCH, AvatarConfig


class EmotionModule(nn.Module):
    """A linear layer over patches of the picture, and an adapter for each double block."""

    def __init__(
        self, config: AvatarConfig, *, attention: Attention, dtype=None, device=None, operations=nn
    ) -> None:
        super().__init__()
        size, heads = config.hidden_size, config.num_heads
        layers = {"dtype": dtype, "device": device, "operations": operations}
        self.proj = operations.Linear(config.patch_channels, size, dtype=dtype, device=device)
        self.blocks = nn.ModuleList(
            CrossAdapter(size, size, heads, attention=attention, **layers) for _ in range(config.double_depth)
        )

    def embed(self, latents: Tensor) -> Tensor:
        """latents: (b, latent channels, 1, h, w). Returns (b, m, hidden)."""
        patches = rearrange(
            latents, "b c 1 (rows p) (columns q) -> b (rows columns) (c p q)", p=PATCH, q=PATCH
        )
        return self.proj(patches)

    def forward(self, video: Tensor, block: int, emotion: Tensor, strength: float) -> Tensor:
        """The video tokens after they have read the picture; at strength 0, the same tokens.

        video: (b, n, hidden). emotion: (b, m, hidden), from `embed`.
        """
        adapter: CrossAdapter = self.blocks[block]  # type: ignore[assignment]
        # The picture is the same for every frame, so all frames read it as one.
        read = adapter(video[:, None], adapter.keys_values(emotion[:, None]))[:, 0]
        return torch.add(video, read, alpha=strength)
