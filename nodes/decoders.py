"""Nodes that turn latents into sound."""

from typing import Any

import torch

from .. import host
from .loaders import CATEGORY
from .sockets import audio, audio_vae

io = host.io

VAE = io.Vae.Input("vae", tooltip="From the Foley VAE Loader; the decoder is enough.")


class FoleyVAEDecode(io.ComfyNode):
    """LATENT, VAE -> AUDIO."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVFoleyVAEDecode",
            display_name="Foley VAE Decode",
            category=CATEGORY,
            description="Turns Foley latents into 48 kHz mono sound. The loudness stays as the model made "
            "it; long sounds are decoded in tiles that fit exactly.",
            search_aliases=["latent to audio", "audio vae decode"],
            inputs=[
                io.Latent.Input(
                    "latent", tooltip="From the Foley Sampler, or another sampler with the Foley model."
                ),
                VAE,
            ],
            outputs=[
                io.Audio.Output(
                    display_name="audio", tooltip="48 kHz mono, one take for each latent of the batch."
                )
            ],
        )

    @classmethod
    def execute(cls, latent: dict[str, Any], vae: Any) -> io.NodeOutput:
        network = audio_vae(vae)
        with host.resident(vae) as device, torch.no_grad():
            waveform = network.decode_tiled(latent["samples"].to(device))
        return io.NodeOutput(audio(waveform))
