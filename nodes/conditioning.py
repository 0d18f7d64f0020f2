"""Nodes that say what the sound shall follow: words, and the video."""

from typing import Any

import torch

from .. import host
from ..host.foley_conditioning import NOTHING_SEEN, with_clip
from ..hunyuan.foley.config import XL
from ..hunyuan.foley.features import FoleyFeatures
from ..hunyuan.foley.text_encoder import HIGH_QUALITY_TAG, NEGATIVE_PROMPT
from ..hunyuan.foley.text_encoder import high_quality as with_high_quality
from .latents import BATCH_SIZE
from .loaders import CATEGORY
from .sockets import VideoFeaturesSocket, empty_latent, text_encoder

io = host.io

CLIP = io.Clip.Input("clip", tooltip="From the Foley Text Encoder Loader.")
NEGATIVE_TEXT = io.String.Input(
    "negative",
    default=NEGATIVE_PROMPT,
    multiline=True,
    dynamic_prompts=True,
    tooltip="What is not to be heard, such as music or voices.",
)


class FoleyPrompt(io.ComfyNode):
    """CLIP, positive, negative, high-quality tag -> positive, negative."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVFoleyPrompt",
            display_name="Foley Prompt",
            category=CATEGORY,
            description="Describes the sound in words. Both prompts are encoded together, as the model was "
            "trained; two separate text encode nodes give other results.",
            search_aliases=["clap text encode", "foley text encode", "sound prompt"],
            inputs=[
                CLIP,
                io.String.Input(
                    "positive",
                    default="",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="What is to be heard, in plain words: heavy footsteps on gravel, distant "
                    "thunder. 77 tokens at most; empty leaves it to the picture.",
                ),
                NEGATIVE_TEXT,
                io.Boolean.Input(
                    "high_quality",
                    default=False,
                    tooltip=f"Put the words {HIGH_QUALITY_TAG} before the prompt, which can make the sound "
                    "cleaner.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="What the sound shall be."),
                io.Conditioning.Output(display_name="negative", tooltip="What the sound shall not be."),
            ],
        )

    @classmethod
    def execute(cls, clip: Any, positive: str, negative: str, high_quality: bool) -> io.NodeOutput:
        if high_quality:
            positive = with_high_quality(positive)
        with host.resident(clip), torch.no_grad():
            states = text_encoder(clip).encode(negative, positive)
        negative_states, positive_states = (state.to("cpu", torch.float32) for state in states)
        return io.NodeOutput([[positive_states, {}]], [[negative_states, {}]])


class FoleyConditioning(io.ComfyNode):
    """positive, negative, features -> positive, negative, LATENT."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVFoleyConditioning",
            display_name="Foley Conditioning",
            category=CATEGORY,
            description="Adds what was seen in the video to the prompts, and makes an empty latent as long "
            "as the video.",
            search_aliases=["video conditioning", "foley video"],
            inputs=[
                io.Conditioning.Input("positive", tooltip="From Foley Prompt."),
                io.Conditioning.Input("negative", tooltip="From the same Foley Prompt."),
                VideoFeaturesSocket.Input("features", tooltip="From Foley Video Encode."),
                BATCH_SIZE,
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The prompt with the video."),
                io.Conditioning.Output(
                    display_name="negative", tooltip="The negative prompt, for which the video is hidden."
                ),
                io.Latent.Output(display_name="latent", tooltip="Empty, and exactly as long as the video."),
            ],
        )

    @classmethod
    def execute(cls, positive: Any, negative: Any, features: FoleyFeatures, batch_size: int) -> io.NodeOutput:
        return io.NodeOutput(
            with_clip(positive, features.visual, features.sync, ()),
            with_clip(negative, features.visual, features.sync, NOTHING_SEEN),
            empty_latent(batch_size, XL.latent_channels, features.timing.latent_frames),
        )
