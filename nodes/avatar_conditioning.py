"""Nodes that say who speaks, and what the Avatar model shall show."""

from typing import Any

import torch
from torch import Tensor

from .. import host
from ..host.avatar_conditioning import empty_latent, with_scene
from ..hunyuan.avatar.conditions import EXPRESSION_MOTION, POSE_MOTION, AvatarScene, Motion
from ..hunyuan.avatar.reference_image import vae_pixels
from .avatar_sockets import (
    AVATAR_CATEGORY,
    CharactersSocket,
    FramedSpeech,
    Speaking,
    SpeechSocket,
    length_of,
    one_picture,
    pixels_of,
)

io = host.io

TOKEN_PIXELS = 16  # of height and width that share a token


class AvatarCharacter(io.ComfyNode):
    """HYAV_SPEECH, MASK, audio strength, optional previous characters -> HYAV_CHARACTERS."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVAvatarCharacter",
            display_name="Avatar Character",
            category=AVATAR_CATEGORY,
            description="Somebody who speaks: a voice, and the part of the picture that it moves. Put "
            "several in a row for a dialogue; who is silent meanwhile needs silence in the recording.",
            search_aliases=["speaker", "dialogue", "multiple characters"],
            inputs=[
                SpeechSocket.Input("speech", tooltip="From Avatar Speech Encode."),
                io.Mask.Input(
                    "mask", tooltip="From Face Mask, or any mask over the portrait: 1 where the voice acts."
                ),
                io.Float.Input(
                    "audio_strength",
                    default=1.0,
                    min=0.0,
                    max=4.0,
                    step=0.05,
                    tooltip="How strongly the voice moves this part: 1 as trained, 0 not at all.",
                ),
                CharactersSocket.Input(
                    "characters",
                    optional=True,
                    tooltip="The others: from another Avatar Character.",
                ),
            ],
            outputs=[
                CharactersSocket.Output(
                    display_name="characters",
                    tooltip="For Avatar Conditioning, or the next Avatar Character.",
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        speech: FramedSpeech,
        mask: Tensor,
        audio_strength: float,
        characters: tuple[Speaking, ...] = (),
    ) -> io.NodeOutput:
        if not mask.any():
            raise ValueError("The character's mask is empty, so nobody would speak. Mark the face.")
        speaking = Speaking(speech, mask if mask.ndim == 3 else mask[None], audio_strength)
        return io.NodeOutput((*characters, speaking))


class AvatarConditioning(io.ComfyNode):
    """positive, negative, VAE, IMAGE, HYAV_CHARACTERS, settings -> positive, negative, LATENT."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVAvatarConditioning",
            display_name="Avatar Conditioning",
            category=AVATAR_CATEGORY,
            description="Adds the portrait and the characters to the prompts, and makes an empty latent as "
            "long as the longest speech.",
            search_aliases=["avatar image conditioning", "talking video"],
            inputs=[
                io.Conditioning.Input("positive", tooltip="From Avatar Prompt."),
                io.Conditioning.Input("negative", tooltip="From the same Avatar Prompt."),
                io.Vae.Input(
                    "vae",
                    tooltip="From the Avatar VAE Loader. ComfyUI's own HunyuanVideo VAE is accepted: for a "
                    "single picture it is the same.",
                ),
                io.Image.Input("image", tooltip="The portrait, from Avatar Reference Image."),
                CharactersSocket.Input("characters", tooltip="From Avatar Character."),
                motion_input("head_motion", POSE_MOTION, "head"),
                motion_input("expression_motion", EXPRESSION_MOTION, "face"),
                io.Int.Input(
                    "batch_size",
                    default=1,
                    min=1,
                    max=16,
                    advanced=True,
                    tooltip="How many takes to make at once.",
                ),
                io.Boolean.Input(
                    "reference_shift",
                    default=False,
                    advanced=True,
                    tooltip="Let the portrait stand beside the video, as in the paper, not in its place. The "
                    "published weights were released without it.",
                ),
                io.Image.Input(
                    "emotion_image",
                    optional=True,
                    tooltip="A face that shows the emotion. It needs weights with an emotion module, which "
                    "no published file has.",
                ),
                io.Float.Input(
                    "emotion_strength",
                    default=1.0,
                    min=0.0,
                    max=4.0,
                    step=0.05,
                    advanced=True,
                    tooltip="How strongly the emotion is shown; 0 is exactly as without it.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="positive", tooltip="The prompt, the portrait and who speaks."
                ),
                io.Conditioning.Output(
                    display_name="negative", tooltip="The negative prompt, where everybody is silent."
                ),
                io.Latent.Output(
                    display_name="latent", tooltip="Empty, and exactly as long as the longest speech."
                ),
            ],
        )

    @classmethod
    def execute(
        cls, positive: Any, negative: Any, vae: Any, image: Tensor, characters: tuple[Speaking, ...],
        head_motion: float, expression_motion: float, batch_size: int, reference_shift: bool,
        emotion_strength: float, emotion_image: Tensor | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        timing, fps = length_of(characters)
        height, width = checked_size(image)
        people = tuple(speaking.fitted(height, width, timing) for speaking in characters)
        scene = AvatarScene(
            reference=encoded(vae, image),
            motion=Motion.of(expression=expression_motion, pose=head_motion, fps=fps),
            emotion=None if emotion_image is None else encoded(vae, emotion_image),
            emotion_strength=emotion_strength,
            reference_shift=(0, width // TOKEN_PIXELS if reference_shift else 0),
        )
        return io.NodeOutput(
            with_scene(positive, scene, people, silent=False),
            with_scene(negative, scene, people, silent=True),
            empty_latent(batch_size, scene, timing, fps),
        )


def motion_input(input_id: str, default: float, what: str):
    """A score of motion."""
    return io.Float.Input(
        input_id,
        default=default,
        min=0.0,
        max=100.0,
        step=1.0,
        tooltip=f"How lively the {what} is; {default:g} as published. Above twice that it gets unsteady.",
    )


def checked_size(image: Tensor) -> tuple[int, int]:
    """Height and width. Raises ValueError for a picture that is no whole number of tokens."""
    height, width = image.shape[1:3]
    if height % TOKEN_PIXELS or width % TOKEN_PIXELS:
        raise ValueError(
            f"The portrait is {width} x {height}, its sides must be multiples of {TOKEN_PIXELS} pixels."
            " Put an Avatar Reference Image before."
        )
    return height, width


def encoded(vae: Any, image: Tensor) -> Tensor:
    """The latents of the first picture, for the sampler."""
    checked_size(image)
    with torch.no_grad():
        return host.avatar_reference(vae, vae_pixels(pixels_of(one_picture(image))))
