"""Nodes that turn video and sound into what the Foley model works on."""

import math
from typing import Any

import torch
from torch import Tensor

from .. import host
from ..hunyuan.foley.features import encode_video
from ..hunyuan.foley.timing import MAX_SECONDS
from ..hunyuan.long_form.plan import STRIDE
from ..hunyuan.long_form.sliding import LONGEST_SOUND
from ..hunyuan.media.mask import mask_frames
from .loaders import CATEGORY
from .sockets import (
    VideoEncoder,
    VideoEncoderSocket,
    VideoFeaturesSocket,
    audio_vae,
    latent,
    mono,
    open_footage,
)

io = host.io

VIDEO_ENCODER = VideoEncoderSocket.Input("video_encoder", tooltip="From the Foley Video Encoder Loader.")


class FoleyVideoEncode(io.ComfyNode):
    """encoder, VIDEO or IMAGE + fps, optional MASK, start, length -> HYAV_VIDEO_FEATURES."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVFoleyVideoEncode",
            display_name="Foley Video Encode",
            category=CATEGORY,
            description="Watches a video and notes what is in it and when things happen. A file is decoded "
            "frame by frame, so its size does not matter.",
            search_aliases=["video features", "video to audio", "synchformer", "siglip"],
            inputs=[
                VIDEO_ENCODER,
                io.Video.Input(
                    "video", optional=True, tooltip="What to watch. Connect either this or images."
                ),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="Frames to watch, in order. Connect either these or a video.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="What to listen to: the rest of the picture is greyed out. One mask, or one per "
                    "frame.",
                ),
                io.Float.Input(
                    "fps",
                    default=24.0,
                    min=1.0,
                    max=240.0,
                    step=0.001,
                    tooltip="Frames per second of the images; a wrong rate makes the sound drift. A video "
                    "knows its own.",
                ),
                io.Float.Input(
                    "start",
                    default=0.0,
                    min=0.0,
                    max=86400.0,
                    step=0.01,
                    tooltip="Where in the video to begin, in seconds.",
                ),
                io.Float.Input(
                    "length",
                    default=0.0,
                    min=0.0,
                    max=LONGEST_SOUND,
                    step=0.01,
                    tooltip="How many seconds to watch, and so how long the sound is. 0 goes on to the end, "
                    f"{MAX_SECONDS:g} s at most; to watch more, say how much, and give the model Sliding "
                    "Windows.",
                ),
            ],
            outputs=[
                VideoFeaturesSocket.Output(
                    display_name="features", tooltip="What was seen; it knows how long the clip is."
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        video_encoder: VideoEncoder,
        fps: float,
        start: float,
        length: float,
        video: Any | None = None,
        images: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        # Only who asks for more gets it: without windows an hour would be watched in vain.
        windowed, longest = length > MAX_SECONDS, max(length, MAX_SECONDS)
        footage_of = open_footage(video, images, fps, start, length, any_length=windowed)
        with footage_of as footage, host.resident(video_encoder):
            frames = host.progress(footage.frames, footage.count, "Watching the video")
            shown = frames if mask is None else mask_frames(frames, mask)
            encoders = video_encoder.visual, video_encoder.sync
            restart = float(STRIDE) if windowed else math.inf
            return io.NodeOutput(encode_video(shown, *encoders, max_seconds=longest, restart=restart))


class FoleyVAEEncode(io.ComfyNode):
    """AUDIO, VAE -> LATENT."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVFoleyVAEEncode",
            display_name="Foley VAE Encode",
            category=CATEGORY,
            description="Turns sound into Foley latents, to change a part of it (Foley Time Mask) or all of "
            "it a little (denoise below 1).",
            search_aliases=["audio to latent", "audio vae encode"],
            inputs=[
                io.Audio.Input(
                    "audio",
                    tooltip="Any rate and number of channels: it is mixed to mono and resampled to 48 kHz.",
                ),
                io.Vae.Input("vae", tooltip="From the Foley VAE Loader, loaded with both parts."),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="50 latent frames for each second.")],
        )

    @classmethod
    def execute(cls, audio: Any, vae: Any) -> io.NodeOutput:
        waveform, network = mono(audio), audio_vae(vae)
        with host.resident(vae) as device, torch.no_grad():
            latents = network.encode_tiled(waveform.to(device)).mode
        return io.NodeOutput(latent(latents.to("cpu", torch.float32)))
