"""Foley's audio autoencoder as ComfyUI's own VAE."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from comfy import model_management, ops
from comfy.model_patcher import CoreModelPatcher, ModelPatcher
from comfy.sd import VAE
from torch import Tensor

from ...hunyuan.foley.audio_vae import AudioVAE
from ...hunyuan.foley.audio_vae_config import AudioVAEConfig
from ...model_loaders.foley import load_audio_vae
from ..planned_memory import audio_decode_bytes, audio_encode_bytes


class HostedAudioVAE(AudioVAE):
    """The autoencoder as ComfyUI calls it: encoding gives latents, the most likely ones."""

    def encode(self, waveform: Tensor) -> Tensor:  # type: ignore[override]
        return super().encode(waveform).mode


def foley_vae(path: Path, part: Literal["decoder", "both"], disable_dynamic: bool = False) -> VAE:
    """A Foley audio VAE as VAE; it computes in float32, as published."""
    stored = load_audio_vae(path, part)
    network = HostedAudioVAE(stored.config, part=part, device="meta", operations=ops.disable_weight_init)
    network.load_state_dict(stored.state_dict(), assign=True)
    network.requires_grad_(False).eval()

    vae = blank_vae()
    vae.first_stage_model = network
    vae.device = model_management.vae_device()
    vae.vae_dtype = torch.float32
    vae.output_device = model_management.intermediate_device()
    model_management.archive_model_dtypes(network)
    make_patcher = ModelPatcher if disable_dynamic else CoreModelPatcher
    vae.patcher = make_patcher(
        network, load_device=vae.device, offload_device=model_management.vae_offload_device()
    )
    vae.patcher.cached_patcher_init = (_patcher, (path, part))
    _describe(vae, stored.config)
    return vae


def _patcher(path: Path, part: Literal["decoder", "both"], disable_dynamic: bool = False) -> ModelPatcher:
    return foley_vae(path, part, disable_dynamic).patcher


def _describe(vae: Any, config: AudioVAEConfig) -> None:
    """What ComfyUI wants to know of sound: (b, 1, samples) <-> (b, c, frames), both at their own scale."""
    vae.latent_dim, vae.latent_channels, vae.output_channels = 1, config.latent_dim, 1
    vae.upscale_ratio = vae.downscale_ratio = config.hop
    vae.audio_sample_rate = config.sample_rate
    vae.working_dtypes = [torch.float32]
    vae.process_input = vae.process_output = lambda waveform: waveform
    vae.crop_input = False  # it would cut both ends; the network completes the last frame instead

    vae.memory_used_decode = lambda shape, dtype: audio_decode_bytes(config, shape[0] * shape[-1])
    vae.memory_used_encode = lambda shape, dtype: audio_encode_bytes(config, shape[0] * shape[-1])


def blank_vae() -> Any:
    """ComfyUI's VAE with every attribute that the running version knows, and no network."""
    with _without_message("No VAE weights detected"):
        return VAE(sd={})


@contextmanager
def _without_message(text: str) -> Iterator[None]:
    """Keeps one warning out of the log: it is untrue of what comes next."""
    root = logging.getLogger()

    def is_other(record: logging.LogRecord) -> bool:
        return text not in record.getMessage()

    root.addFilter(is_other)
    try:
        yield
    finally:
        root.removeFilter(is_other)
