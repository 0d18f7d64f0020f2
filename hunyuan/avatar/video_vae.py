"""The video autoencoder: pixels to latents, 8 x 8 times smaller and 4 times slower, and back.

Causal in time, so that a single image is a video of one frame. Source: HunyuanVideo, arXiv:2412.03603.

Axes: b batch, c channels, t frames, h w height and width. In latents, t is 1 + (frames - 1) / 4.
"""

from collections.abc import Iterator
from functools import partial

import torch
from einops import rearrange
from torch import Tensor, nn

from ..layers.attention import Attention, attention
from ..layers.posterior import Posterior
from .video_tiles import Tile, tiled_in_space, tiled_in_time
from .video_vae_blocks import Decoder, Encoder
from .video_vae_config import SPACE_RATIO, VideoVAEConfig


class VideoVAE(nn.Module):
    """Video <-> latents; names are the published checkpoint's.

    As trained: the released program tiles in both directions, and tiled and untiled results differ. Use the
    tiled ones; for a video within one tile they are the same.

    Inputs are cast to the weights' dtype, which is also the dtype of what comes out.
    """

    def __init__(
        self,
        config: VideoVAEConfig | None = None,
        *,
        dtype=None,
        device=None,
        operations=nn,
        attention: Attention = attention,
    ) -> None:
        super().__init__()
        self.config = config = config or VideoVAEConfig()
        latent = config.latent_channels
        made = {"dtype": dtype, "device": device}
        parts = {**made, "operations": operations, "attention": attention}
        self.encoder = Encoder(config, **parts)
        self.quant_conv = operations.Conv3d(2 * latent, 2 * latent, 1, **made)
        self.post_quant_conv = operations.Conv3d(latent, latent, 1, **made)
        self.decoder = Decoder(config, **parts)

    def encode(self, video: Tensor) -> Posterior:
        """The distribution of a video's latents, unscaled, from all of it at once.

        video:  (b, 3, t, h, w), RGB in [-1, 1]; h and w are multiples of 8.
        Raises: ValueError for another shape.
        """
        self._check_video(video)
        return Posterior(self._moments(video))

    def encode_tiled(self, video: Tensor) -> Posterior:
        """`encode` in the memory of one tile, as released."""
        self._check_video(video)
        config = self.config
        space = Tile(config.tile_size, config.tile_latents)
        time = Tile(config.tile_frames, config.tile_latent_frames)
        network = partial(tiled_in_space, self._moments, tile=space)
        return Posterior(torch.cat(list(tiled_in_time(network, video, time)), dim=2))

    def decode(self, latents: Tensor) -> Tensor:
        """The video of unscaled latents, from all of them at once: (b, 3, t, h, w), not clamped to [-1, 1].

        latents: (b, c, t, h, w).
        Raises:  ValueError for another shape.
        """
        self._check_latents(latents)
        return self._video(latents)

    def decode_tiles(self, latents: Tensor, device: torch.device | str | None = None) -> Iterator[Tensor]:
        """`decode` in the memory of one tile, as released: consecutive pieces of the video.

        device: where tiles are decoded, if all the latents lie elsewhere.
        """
        self._check_latents(latents)
        config = self.config
        space = Tile(config.tile_latents, config.tile_size)
        time = Tile(config.tile_latent_frames, config.tile_frames)
        return tiled_in_time(lambda x: tiled_in_space(self._video, x.to(device=device), space), latents, time)

    def decode_tiled(self, latents: Tensor) -> Tensor:
        """All of `decode_tiles` in one tensor."""
        return torch.cat(list(self.decode_tiles(latents)), dim=2)

    def decode_frames(self, latents: Tensor, device: torch.device | str | None = None) -> Iterator[Tensor]:
        """A sampler's latents as pictures: consecutive pieces (b, t, h, w, 3), float32 RGB in [0, 1].

        device: as in `decode_tiles`.
        """
        # Nothing here holds a piece while the next one is decoded.
        return map(as_pictures, self.decode_tiles(latents / self.config.scaling_factor, device))

    def _moments(self, video: Tensor) -> Tensor:
        return self.quant_conv(self.encoder(video.to(self.quant_conv.weight.dtype)))

    def _video(self, latents: Tensor) -> Tensor:
        return self.decoder(self.post_quant_conv(latents.to(self.post_quant_conv.weight.dtype)))

    def _check_video(self, video: Tensor) -> None:
        shape = tuple(video.shape)
        if len(shape) != 5 or shape[1] != 3 or 0 in shape or any(side % SPACE_RATIO for side in shape[3:]):
            raise ValueError(
                "The video VAE encodes RGB video (batch, 3, frames, height, width) whose height and width "
                f"are multiples of {SPACE_RATIO}, not {shape}. Resize the image first."
            )

    def _check_latents(self, latents: Tensor) -> None:
        channels = self.config.latent_channels
        if latents.ndim != 5 or latents.shape[1] != channels or 0 in latents.shape:
            raise ValueError(
                f"The video VAE decodes latents (batch, {channels}, frames, height, width), "
                f"not {tuple(latents.shape)}. Connect latents of an Avatar sampler."
            )


def as_pictures(video: Tensor) -> Tensor:
    """(b, 3, t, h, w) in [-1, 1] to (b, t, h, w, 3), float32 RGB in [0, 1]."""
    return rearrange(video.float() / 2 + 0.5, "b c t h w -> b t h w c").clamp(0, 1)
