"""Model objects: thin handles in the role, and with the attribute names, of ComfyUI's MODEL, VAE and CLIP."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from ...hunyuan.foley.audio_vae import AudioVAE
from ...hunyuan.foley.text_encoder import TextEncoder
from ...hunyuan.foley.transformer import FoleyTransformer
from ...hunyuan.long_form.sliding import SlidingWindows
from ...model_loaders.encoders import load_text_encoder
from ...model_loaders.foley import load_audio_vae, load_transformer
from ...model_loaders.foley_packed import is_packed, load_packed_transformer
from .memory import Patcher, Placement


@dataclass(frozen=True, eq=False)
class Model:
    """MODEL: a transformer, the dtype it computes in, and the windows in which it makes long sounds."""

    diffusion_model: FoleyTransformer
    dtype: torch.dtype
    windows: SlidingWindows | None = None

    @property
    def patcher(self) -> Patcher:
        return Patcher(self.diffusion_model)


@dataclass(frozen=True, eq=False)
class Vae:
    """VAE: waveform <-> latents."""

    first_stage_model: AudioVAE

    @property
    def patcher(self) -> Patcher:
        return Patcher(self.first_stage_model)


@dataclass(frozen=True, eq=False)
class Clip:
    """CLIP: prompts to text states."""

    cond_stage_model: TextEncoder

    @property
    def patcher(self) -> Patcher:
        return Patcher(self.cond_stage_model)


# How the nodes' dtypes of a byte are stored: each row of a weight has a scale of its own.
PACKED_AS = {torch.float8_e4m3fn: "fp8", torch.float8_e5m2: "fp8_e5m2", torch.int8: "int8"}


def foley_model(path: Path, weight_dtype: torch.dtype | None) -> Model:
    """A Foley transformer as MODEL.

    weight_dtype: None for what suits the device, and packed as it is for a file with packed weights. With a
        dtype of 8 bits the layers that can are stored in it and unpacked where they are used.
    """
    dtype = Placement.choose().dtype
    if weight_dtype in PACKED_AS or (weight_dtype is None and is_packed(path)):
        packing = None if weight_dtype is None else PACKED_AS[weight_dtype]
        return Model(load_packed_transformer(path, packing, dtype), dtype)
    dtype = weight_dtype or dtype
    return Model(load_transformer(path, dtype), dtype)


def foley_vae(path: Path, part: Literal["decoder", "both"]) -> Vae:
    """A Foley audio VAE as VAE."""
    return Vae(load_audio_vae(path, part))


def foley_text_encoder(path: Path) -> Clip:
    """A CLAP text encoder, file or folder, as CLIP."""
    return Clip(load_text_encoder(path))
