"""Nodes that prepare latents: empty ones, and ones of which only a part is to change."""

from typing import Any

import torch

from .. import host
from ..hunyuan.foley.config import XL
from ..hunyuan.foley.time_mask import time_mask
from ..hunyuan.foley.timing import MAX_SECONDS, FoleyTiming
from ..hunyuan.long_form.sliding import LONGEST_SOUND
from .loaders import CATEGORY
from .sockets import empty_latent

io = host.io

BATCH_SIZE = io.Int.Input(
    "batch_size",
    default=1,
    min=1,
    max=64,
    tooltip="How many takes to make at once. Take 1 sounds the same however many follow.",
)


class FoleyEmptyLatent(io.ComfyNode):
    """seconds, batch -> LATENT."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVFoleyEmptyLatent",
            display_name="Foley Empty Latent",
            category=CATEGORY,
            description="An empty latent for sound from text alone. With a video, take the one of Foley "
            "Conditioning.",
            search_aliases=["empty audio latent", "text to audio", "text to sound"],
            inputs=[
                io.Float.Input(
                    "seconds",
                    default=8.0,
                    min=0.1,
                    max=LONGEST_SOUND,
                    step=0.02,
                    tooltip="How long the sound is, in seconds. The model was trained on 8; for more than "
                    f"{MAX_SECONDS:g} give it Sliding Windows.",
                ),
                BATCH_SIZE,
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="50 latent frames for each second.")],
        )

    @classmethod
    def execute(cls, seconds: float, batch_size: int) -> io.NodeOutput:
        return io.NodeOutput(empty_latent(batch_size, XL.latent_channels, FoleyTiming(seconds).latent_frames))


class FoleyTimeMask(io.ComfyNode):
    """LATENT, from, to, fade -> LATENT with a noise mask in time."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVFoleyTimeMask",
            display_name="Foley Time Mask",
            category=CATEGORY,
            description="Chooses the part of a sound that is made anew; the rest stays, bit for bit. Put "
            "several in a row to choose several parts.",
            search_aliases=["audio inpaint", "inpaint in time", "noise mask"],
            inputs=[
                io.Latent.Input("latent", tooltip="The sound to change, from Foley VAE Encode or a sampler."),
                io.Float.Input(
                    "start",
                    default=0.0,
                    min=0.0,
                    max=86400.0,
                    step=0.02,
                    tooltip="Where the new part begins, in seconds.",
                ),
                io.Float.Input(
                    "end", default=1.0, min=0.0, max=86400.0, step=0.02, tooltip="Where it ends, in seconds."
                ),
                io.Float.Input(
                    "fade",
                    default=0.1,
                    min=0.0,
                    max=10.0,
                    step=0.02,
                    tooltip="For how many seconds outside both ends old and new sound blend. 0 cuts hard.",
                ),
            ],
            outputs=[
                io.Latent.Output(
                    display_name="latent", tooltip="The same sound; a sampler will change the part alone."
                )
            ],
        )

    @classmethod
    def execute(cls, latent: dict[str, Any], start: float, end: float, fade: float) -> io.NodeOutput:
        mask = time_mask(latent["samples"].shape[-1], start, end, fade)
        if (earlier := latent.get("noise_mask")) is not None:
            mask = torch.maximum(mask, earlier)
        return io.NodeOutput({**latent, "noise_mask": mask})
