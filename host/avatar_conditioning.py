"""What CONDITIONING and LATENT carry for Avatar, the same in both hosts.

An entry is [text states (1, n, d), dictionary]. Every dictionary holds `pooled_output` (1, d) and
`avatar_mask` (1, n), the places of the states that count; and, once there is something to show,
`avatar_scene`, an `AvatarScene`, `avatar_characters`, a tuple of `Character`, and `avatar_silent`: whether
they keep silent, as they do in the negative entry.

A LATENT's `samples` (b, 16, ring, h, w) are at the scale of the video VAE, as core has it. `avatar_frames` is
how many frames of video they hold, `avatar_fps` how many of them pass in a second.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..hunyuan.avatar.conditions import AvatarPrompt, AvatarScene, Character
from ..hunyuan.avatar.timing import FPS, WINDOW_LATENTS, AvatarTiming
from ..hunyuan.avatar.video_vae_config import VideoVAEConfig

if TYPE_CHECKING:  # importing the pack stays quick
    from ..hunyuan.avatar.velocity import AvatarClip

POOLED_KEY, MASK_KEY = "pooled_output", "avatar_mask"
SCENE_KEY, CHARACTERS_KEY, SILENT_KEY = "avatar_scene", "avatar_characters", "avatar_silent"
FRAMES_KEY, FPS_KEY = "avatar_frames", "avatar_fps"

LATENT_SCALE = VideoVAEConfig().scaling_factor  # from the VAE's scale to the sampler's

Entry = Sequence[Any]  # [Tensor, dict]; core hands lists, others tuples
Conditioning = Sequence[Entry]


def entry_of(prompt: AvatarPrompt) -> list[list[Any]]:
    """CONDITIONING of an encoded prompt, where nothing is shown yet."""
    states, mask, pooled = (x.to("cpu") for x in (prompt.states.float(), prompt.mask, prompt.pooled.float()))
    return [[states, {POOLED_KEY: pooled, MASK_KEY: mask}]]


def with_scene(
    conditioning: Conditioning, scene: AvatarScene, characters: tuple[Character, ...], *, silent: bool
) -> list[list[Any]]:
    """A copy of the conditioning whose entries carry what is shown and who speaks."""
    shown = {SCENE_KEY: scene, CHARACTERS_KEY: characters, SILENT_KEY: silent}
    return [[states, {**values, **shown}] for states, values in conditioning]


def prompt_of(states: Tensor | None, values: Mapping[str, Any]) -> AvatarPrompt:
    """The encoded prompt of an entry. Raises ValueError for an entry of another text encoder."""
    if states is None or MASK_KEY not in values or values.get(POOLED_KEY) is None:
        raise ValueError("A conditioning holds no prompt for Avatar. Connect Avatar Prompt.")
    return AvatarPrompt(states=states, mask=values[MASK_KEY], pooled=values[POOLED_KEY])


def scene_of(values: Mapping[str, Any]) -> tuple[AvatarScene, tuple[Character, ...]]:
    """What an entry shows and who is in it. Raises ValueError if it is a prompt alone."""
    if SCENE_KEY not in values:
        raise ValueError(
            "A conditioning holds a prompt, and no picture or speech. Connect Avatar Conditioning between"
            " Avatar Prompt and the sampler."
        )
    return values[SCENE_KEY], values[CHARACTERS_KEY]


def avatar_clip(positive: Conditioning, negative: Conditioning) -> "AvatarClip":
    """The video that both conditionings describe.

    Raises: ValueError if one has no entry or several, or nothing to show.
    """
    from ..hunyuan.avatar.velocity import AvatarClip

    (states, values), (negative_states, negative_values) = (
        only_entry(name, each) for name, each in (("positive", positive), ("negative", negative))
    )
    scene, characters = scene_of(values)
    return AvatarClip(
        positive=prompt_of(states, values),
        negative=prompt_of(negative_states, negative_values),
        scene=scene,
        characters=characters,
    )


def only_entry(name: str, conditioning: Conditioning) -> Entry:
    if len(conditioning) != 1:
        raise ValueError(
            f"The {name} conditioning has {len(conditioning)} entries, and Avatar follows one. Connect Avatar"
            " Conditioning without combining it."
        )
    return conditioning[0]


def silenced(conditioning: Conditioning) -> list[list[Any]]:
    """A copy in which everybody keeps silent."""
    return [[states, {**values, SILENT_KEY: True}] for states, values in conditioning]


def empty_latent(
    batch_size: int, scene: AvatarScene, timing: AvatarTiming, fps: float = FPS
) -> dict[str, Any]:
    """LATENT for a video as long as the speech, and as wide and high as the reference."""
    _, channels, _, height, width = scene.reference.shape
    samples = torch.zeros(batch_size, channels, timing.ring_latents, height, width)
    return {"samples": samples, FRAMES_KEY: timing.kept_frames, FPS_KEY: float(fps)}


def check_ring(latent: Mapping[str, Any], channels: int) -> None:
    """Raises ValueError unless a LATENT can be sampled as an Avatar's video."""
    shape = tuple(latent["samples"].shape)
    if len(shape) != 5 or shape[1] != channels or shape[2] < WINDOW_LATENTS:
        raise ValueError(
            f"The latents are {shape}, Avatar needs (takes, {channels}, {WINDOW_LATENTS} or more, height,"
            " width). Connect the latent of Avatar Conditioning."
        )
    if latent.get("noise_mask") is not None:
        raise ValueError("The Avatar Sampler makes whole videos. Take the noise mask off the latent.")


def on_device(clip: "AvatarClip", device: torch.device) -> "AvatarClip":
    """Everything but the speech, which may be longer than there is room for."""
    return replace(
        clip,
        positive=_moved(clip.positive, device),
        negative=_moved(clip.negative, device),
        scene=_moved(clip.scene, device),
    )


def _moved(value: Any, device: torch.device) -> Any:
    tensors = {name: x.to(device) for name, x in vars(value).items() if isinstance(x, Tensor)}
    return replace(value, **tensors)
