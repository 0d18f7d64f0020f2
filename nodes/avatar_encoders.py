"""Nodes that turn picture, speech and prompt into what the Avatar model works on."""

from typing import Any

import torch
from torch import Tensor

from .. import host
from ..host.avatar_conditioning import entry_of
from ..hunyuan.avatar.prompt_text import NEGATIVE_PROMPT, QUALITY, with_quality
from ..hunyuan.avatar.reference_image import DEFAULT_SIZE, MULTIPLE, llava_pixels, resize
from ..hunyuan.avatar.timing import FPS
from .avatar_sockets import (
    AVATAR_CATEGORY,
    FramedSpeech,
    HeldSpeechEncoder,
    SpeechEncoderSocket,
    SpeechSocket,
    TextEncoderSocket,
    image_of,
    one_picture,
    pixels_of,
    speech_waveform,
)

io = host.io


class AvatarReferenceImage(io.ComfyNode):
    """IMAGE, size -> IMAGE at the trained bucket."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVAvatarReferenceImage",
            display_name="Avatar Reference Image",
            category=AVATAR_CATEGORY,
            description="Brings the portrait to a size that the model was trained at. The video gets this "
            "size, and all other nodes should see this picture.",
            search_aliases=["resize portrait", "avatar image size"],
            inputs=[
                io.Image.Input("image", tooltip="The portrait; of a batch, the first picture."),
                io.Int.Input(
                    "size",
                    default=DEFAULT_SIZE,
                    min=MULTIPLE,
                    max=2048,
                    step=MULTIPLE,
                    tooltip="Short side of the video, in pixels: 704, 512, 384 or 256 as trained. Half the "
                    "size takes about a tenth of the time.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="image", tooltip="One picture whose sides are multiples of 64 pixels."
                )
            ],
        )

    @classmethod
    def execute(cls, image: Tensor, size: int) -> io.NodeOutput:
        return io.NodeOutput(image_of(resize(pixels_of(one_picture(image)), size)))


class AvatarSpeechEncode(io.ComfyNode):
    """encoder, AUDIO, fps -> HYAV_SPEECH."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVAvatarSpeechEncode",
            display_name="Avatar Speech Encode",
            category=AVATAR_CATEGORY,
            description="Listens to the speech, of any length, and notes what each frame of the video hears.",
            search_aliases=["whisper", "audio features", "lip sync"],
            inputs=[
                SpeechEncoderSocket.Input("speech_encoder", tooltip="From the Avatar Speech Encoder Loader."),
                io.Audio.Input(
                    "audio",
                    tooltip="Speech of any rate and number of channels; the video gets its length. Music and "
                    "noise move lips too: separate the voice first.",
                ),
                io.Float.Input(
                    "fps",
                    default=float(FPS),
                    min=1.0,
                    max=60.0,
                    step=0.01,
                    tooltip="Frames per second of the video. The model was trained on 25 and 12.5.",
                ),
            ],
            outputs=[SpeechSocket.Output(display_name="speech", tooltip="For Avatar Character.")],
        )

    @classmethod
    def execute(cls, speech_encoder: HeldSpeechEncoder, audio: Any, fps: float) -> io.NodeOutput:
        waveform = speech_waveform(audio)
        with host.resident(speech_encoder), torch.no_grad():
            windows = speech_encoder.network.encode(waveform).windows(fps)
        if not windows.shape[1]:
            raise ValueError(
                f"The speech is shorter than one video frame ({1 / fps:g} s). Use a longer recording."
            )
        return io.NodeOutput(FramedSpeech(windows.to("cpu", torch.float32), fps))


class AvatarPrompt(io.ComfyNode):
    """text encoder, IMAGE, positive, negative -> positive, negative."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVAvatarPrompt",
            display_name="Avatar Prompt",
            category=AVATAR_CATEGORY,
            description="Describes the video in words. LLaVA reads both prompts together with the portrait.",
            search_aliases=["llava text encode", "avatar text encode"],
            inputs=[
                TextEncoderSocket.Input("text_encoder", tooltip="From the Avatar Text Encoder Loader."),
                io.Image.Input("image", tooltip="The portrait, from Avatar Reference Image."),
                io.String.Input(
                    "positive",
                    default="",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="Who is seen, where, and how they speak: a woman sits at a desk and explains "
                    "something, calm. About 249 tokens at most.",
                ),
                io.String.Input(
                    "negative",
                    default=NEGATIVE_PROMPT,
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="What is not to be seen; heard in the first fifth of the steps alone. The "
                    "default is the published one.",
                ),
                io.Boolean.Input(
                    "high_quality",
                    default=True,
                    tooltip=f"Put the words {QUALITY} before the prompt, as published.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="For Avatar Conditioning."),
                io.Conditioning.Output(display_name="negative", tooltip="For Avatar Conditioning."),
            ],
        )

    @classmethod
    def execute(
        cls, text_encoder: Any, image: Tensor, positive: str, negative: str, high_quality: bool
    ) -> io.NodeOutput:
        encoder, pixels = text_encoder.encoder, llava_pixels(pixels_of(one_picture(image)))
        texts = with_quality(positive) if high_quality else positive, negative
        with host.resident(*text_encoder.parts) as device, torch.no_grad():
            seen = encoder.see(pixels.to(device))
            prompts = [entry_of(encoder.encode(text, seen)) for text in texts]
        return io.NodeOutput(*prompts)
