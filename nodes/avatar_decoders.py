"""Nodes that turn Avatar's latents into pictures, or into a video with its sound."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import host
from ..hunyuan.media.encode import write_video
from ..hunyuan.media.mux import SAMPLE_RATE
from .avatar_sockets import AVATAR_CATEGORY, pixels_of, video_latents
from .sockets import takes

io = host.io

LATENT = io.Latent.Input(
    "latent", tooltip="From the Avatar Sampler, or another sampler with the Avatar model."
)
VAE = io.Vae.Input(
    "vae",
    tooltip="From the Avatar VAE Loader. ComfyUI's own HunyuanVideo VAE does not decode the same video and "
    "is refused.",
)


class AvatarVAEDecode(io.ComfyNode):
    """VAE, LATENT -> IMAGE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVAvatarVAEDecode",
            display_name="Avatar VAE Decode",
            category=AVATAR_CATEGORY,
            description="Turns Avatar's latents into pictures, in the tiles of the published program. All of "
            "them are in memory: for long videos use Avatar Decode Video.",
            search_aliases=["latent to image", "video vae decode"],
            inputs=[LATENT, VAE],
            outputs=[
                io.Image.Output(
                    display_name="images", tooltip="As many frames as the speech lasts, 25 a second."
                )
            ],
        )

    @classmethod
    def execute(cls, latent: dict[str, Any], vae: Any) -> io.NodeOutput:
        latents, frames, _ = video_latents(latent)
        takes = [torch.cat(list(decoded(vae, take, frames))) for take in latents.split(1)]
        return io.NodeOutput(torch.cat(takes))


class AvatarDecodeVideo(io.ComfyNode):
    """VAE, LATENT, AUDIO -> VIDEO, streamed."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVAvatarDecodeVideo",
            display_name="Avatar Decode Video",
            category=AVATAR_CATEGORY,
            description="Turns Avatar's latents into a video file with its sound. Frames go to the file as "
            "they are decoded, so that the length does not matter.",
            search_aliases=["latent to video", "create video", "long video decode"],
            inputs=[
                LATENT,
                VAE,
                io.Audio.Input(
                    "audio",
                    optional=True,
                    tooltip="What is heard: the speech, or all characters' speech mixed. It begins with the "
                    "first frame, and ends with the last.",
                ),
            ],
            outputs=[
                io.Video.Output(display_name="video", tooltip="H.264 with AAC sound; save it as it is.")
            ],
        )

    @classmethod
    def execute(cls, latent: dict[str, Any], vae: Any, audio: Any | None = None) -> io.NodeOutput:
        latents, frames, fps = video_latents(latent)
        if len(latents) > 1:
            raise ValueError(f"A video holds one take, the latent has {len(latents)}. Take one of them.")
        path = host.temporary_file(".mp4")
        pictures = (pixels_of(picture) for piece in decoded(vae, latents, frames) for picture in piece)
        write_video(path, host.progress(pictures, frames, "Decoding the video"), fps, waveform_of(audio))
        return io.NodeOutput(host.video_from_file(path))


def decoded(vae: Any, latents: Tensor, frames: int) -> Iterator[Tensor]:
    """The first `frames` of one take, in pieces (t, h, w, 3), on the CPU."""
    network = host.video_vae(vae)
    weights = network.post_quant_conv.weight
    memory = network.config.tile_numbers * weights.dtype.itemsize
    with host.resident(vae, memory=memory) as device:
        left = frames
        for piece in network.decode_frames(latents, device):
            if left > 0:
                yield piece[0, :left].cpu()
            left -= piece.shape[1]


def waveform_of(sound: Any | None) -> np.ndarray:
    """AUDIO as (1 or 2, samples) at 48 kHz; silence where there is none.

    Raises: ValueError if there is a sound without a sample, or several takes.
    """
    if sound is None:
        return np.zeros((1, 1), np.float32)
    count = len(sound["waveform"])
    if count != 1:
        raise ValueError(f"A video has the sound of one take, this one has {count}. Take one of them.")
    return takes(sound, 2, SAMPLE_RATE)[0]
