"""Avatar's video autoencoder as ComfyUI's own VAE; and ComfyUI's HunyuanVideo VAE where it does as well."""

import math
from pathlib import Path
from typing import Any

import torch
from comfy import model_management, ops
from comfy.ldm.models.autoencoder import AutoencodingEngine
from comfy.model_patcher import CoreModelPatcher, ModelPatcher
from comfy.sd import VAE
from torch import Tensor

from ...hunyuan.avatar.reference_image import reference_latents
from ...hunyuan.avatar.video_tiles import Tile, tiled_in_space
from ...hunyuan.avatar.video_vae import VideoVAE
from ...hunyuan.avatar.video_vae_config import SPACE_RATIO, TIME_RATIO, VideoVAEConfig
from ...model_loaders.avatar import load_video_vae
from ..avatar_conditioning import LATENT_SCALE
from .audio_vae import blank_vae
from .memory import resident


class HostedVideoVAE(VideoVAE):
    """The autoencoder as ComfyUI calls it: in tiles both ways, and encoding gives the most likely latents."""

    def encode(self, video: Tensor) -> Tensor:  # type: ignore[override]
        return super().encode_tiled(video).mode

    def decode(self, latents: Tensor) -> Tensor:
        return super().decode_tiled(latents)


def avatar_vae(path: Path, disable_dynamic: bool = False) -> VAE:
    """An Avatar video VAE as VAE."""
    device = model_management.vae_device()
    dtype = model_management.vae_dtype(device, [torch.float16, torch.bfloat16, torch.float32])
    stored = load_video_vae(path, dtype)
    network = HostedVideoVAE(stored.config, dtype=dtype, device="meta", operations=ops.disable_weight_init)
    network.load_state_dict(stored.state_dict(), assign=True)
    network.requires_grad_(False).eval()

    vae = blank_vae()
    vae.first_stage_model, vae.device, vae.vae_dtype = network, device, dtype
    vae.output_device = model_management.intermediate_device()
    model_management.archive_model_dtypes(network)
    make_patcher = ModelPatcher if disable_dynamic else CoreModelPatcher
    vae.patcher = make_patcher(
        network, load_device=device, offload_device=model_management.vae_offload_device()
    )
    vae.patcher.cached_patcher_init = (_patcher, (path,))
    _describe(vae, stored.config)
    return vae


def _patcher(path: Path, disable_dynamic: bool = False) -> ModelPatcher:
    return avatar_vae(path, disable_dynamic).patcher


def _describe(vae: Any, config: VideoVAEConfig) -> None:
    """What ComfyUI wants to know of video: (b, 3, t, h, w) <-> (b, c, 1 + (t - 1) / 4, h / 8, w / 8)."""
    vae.latent_dim, vae.latent_channels, vae.output_channels = 3, config.latent_channels, 3
    vae.upscale_ratio = (lambda t: max(0, (t - 1) * TIME_RATIO + 1), SPACE_RATIO, SPACE_RATIO)
    vae.upscale_index_formula = vae.downscale_index_formula = (TIME_RATIO, SPACE_RATIO, SPACE_RATIO)
    vae.downscale_ratio = (
        lambda t: max(0, math.floor((t - 1 + TIME_RATIO) / TIME_RATIO)), SPACE_RATIO, SPACE_RATIO
    )  # fmt: skip
    vae.working_dtypes = [torch.float16, torch.bfloat16, torch.float32]

    vae.memory_used_decode = vae.memory_used_encode = lambda shape, dtype: (
        config.tile_numbers * model_management.dtype_size(dtype)
    )


def video_vae(vae: Any) -> VideoVAE:
    """The network in a VAE, for decoding. Raises ValueError if it is not Avatar's."""
    network = getattr(vae, "first_stage_model", None)
    if _is_cores(vae):
        raise ValueError(
            "ComfyUI's own HunyuanVideo VAE decodes another video than Avatar's: in it, frames see later"
            " ones, and tiles meet otherwise. Connect a VAE from the Avatar VAE Loader; the file may be the"
            " same."
        )
    if not isinstance(network, VideoVAE):
        raise ValueError("This VAE is not Avatar's. Connect one from the Avatar VAE Loader.")
    return network


def avatar_reference(vae: Any, pixels: Tensor) -> Tensor:
    """The latents of a picture at the sampler's scale: (1, c, 1, h / 8, w / 8), float32, on the CPU.

    vae: Avatar's, or ComfyUI's own HunyuanVideo VAE: a single picture has no later frames to see.
    pixels: (1, 3, 1, h, w) in [-1, 1].
    """
    if _is_cores(vae):
        config = VideoVAEConfig()
        tile = Tile(config.tile_size, config.tile_latents)
        return (tiled_in_space(lambda piece: _encoded(vae, piece), pixels, tile) * LATENT_SCALE).cpu()
    network = video_vae(vae)
    with resident(vae) as device, torch.no_grad():
        return reference_latents(network, pixels.to(device)).to("cpu", torch.float32)


def _encoded(vae: Any, pixels: Tensor) -> Tensor:
    """By core's VAE, which takes pictures (frames, h, w, 3) in [0, 1]."""
    return vae.encode((pixels[0].permute(1, 2, 3, 0) + 1) / 2).float()


def _is_cores(vae: Any) -> bool:
    network = getattr(vae, "first_stage_model", None)
    if not isinstance(network, AutoencodingEngine):
        return False
    config = VideoVAEConfig()
    return (vae.latent_dim, vae.latent_channels) == (3, config.latent_channels)
