"""Avatar's model objects: thin handles in the roles of ComfyUI's MODEL and VAE, and the text encoder."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...hunyuan.avatar.reference_image import reference_latents
from ...hunyuan.layers.float8 import FLOAT8
from .memory import Patcher, Placement, resident

if TYPE_CHECKING:  # networks and loaders come when they are used: importing the pack stays quick
    from ...hunyuan.avatar.text_encoder import TextEncoder
    from ...hunyuan.avatar.transformer import AvatarTransformer
    from ...hunyuan.avatar.video_vae import VideoVAE


@dataclass(frozen=True, eq=False)
class AvatarModel:
    """MODEL: a transformer, and the dtype it computes in."""

    diffusion_model: "AvatarTransformer"
    dtype: torch.dtype

    @property
    def patcher(self) -> Patcher:
        return Patcher(self.diffusion_model)


@dataclass(frozen=True, eq=False)
class AvatarVae:
    """VAE: video <-> latents."""

    first_stage_model: "VideoVAE"

    @property
    def patcher(self) -> Patcher:
        return Patcher(self.first_stage_model)


@dataclass(frozen=True, eq=False)
class AvatarTextEncoder:
    """HYAV_TEXT_ENCODER: LLaVA and CLIP-L. parts: what has to be on the device while they encode."""

    encoder: "TextEncoder"

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        return self.encoder.llava, self.encoder.clip


def avatar_model(path: Path, scales: Path | None, weight_dtype: torch.dtype | None) -> AvatarModel:
    """An Avatar transformer as MODEL.

    scales: the map of a published 8-bit file, where it does not lie beside it.
    weight_dtype: None for what suits the device, and a byte for each weight of an 8-bit file.
    """
    from ...model_loaders.avatar import load_transformer
    from ...model_loaders.avatar_float8 import is_float8
    from ...model_loaders.checkpoint import open_checkpoint

    dtype = Placement.choose().dtype
    if weight_dtype == FLOAT8 or (weight_dtype is None and is_float8(open_checkpoint(path))):
        transformer = load_transformer(path, FLOAT8, scales=scales)
        _cast_the_rest(transformer, dtype)
        return AvatarModel(transformer, dtype)
    dtype = weight_dtype or dtype
    return AvatarModel(load_transformer(path, dtype, scales=scales), dtype)


def _cast_the_rest(module: nn.Module, dtype: torch.dtype) -> None:
    """All but 8-bit weights in the compute dtype: torch's layers need both alike."""
    for parameter in module.parameters():
        if parameter.dtype != FLOAT8:
            parameter.data = parameter.data.to(dtype)


def avatar_vae(path: Path) -> AvatarVae:
    """An Avatar video VAE as VAE; in float16 on a GPU, as released."""
    from ...model_loaders.avatar import load_video_vae

    device = Placement.choose().device
    return AvatarVae(load_video_vae(path, torch.float16 if device.type == "cuda" else torch.float32))


def avatar_text_encoder(llava: Path, clip: Path) -> AvatarTextEncoder:
    """LLaVA and CLIP-L, folders or files."""
    from ...model_loaders.avatar_encoders import load_text_encoder

    return AvatarTextEncoder(load_text_encoder(llava, clip))


def avatar_reference(vae: Any, pixels: Tensor) -> Tensor:
    """The latents of a picture at the sampler's scale: (1, c, 1, h / 8, w / 8), float32, on the CPU.

    pixels: (1, 3, 1, h, w) in [-1, 1].
    """
    network = video_vae(vae)
    with resident(vae) as device, torch.no_grad():
        return reference_latents(network, pixels.to(device)).to("cpu", torch.float32)


def video_vae(vae: Any) -> "VideoVAE":
    """The network in a VAE. Raises ValueError if it is not Avatar's."""
    from ...hunyuan.avatar.video_vae import VideoVAE

    network = getattr(vae, "first_stage_model", None)
    if not isinstance(network, VideoVAE):
        raise ValueError("This VAE is not Avatar's. Connect one from the Avatar VAE Loader.")
    return network
