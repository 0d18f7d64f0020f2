"""Whether what the encoders gave fits a transformer, and its parts each other. All raise ValueError."""

from collections.abc import Sequence

from torch import Tensor

from .conditions import AvatarConditions, AvatarPrompt, AvatarScene, Character
from .config import AUDIO_STATES, AUDIO_WINDOW, PATCH, AvatarConfig
from .timing import latent_frames


def check_prompt(prompt: AvatarPrompt, config: AvatarConfig) -> None:
    states, mask, pooled = prompt.states, prompt.mask, prompt.pooled
    if states.ndim != 3 or states.shape[-1] != config.text_size or pooled.shape[-1] != config.pooled_size:
        raise ValueError(
            f"Text states are {tuple(states.shape)} and the pooled prompt {tuple(pooled.shape)}, this"
            f" transformer needs (batch, tokens, {config.text_size}) and (batch, {config.pooled_size})."
            " Use the text encoders that belong to it."
        )
    if mask.shape != states.shape[:2]:
        raise ValueError(f"The text mask is {tuple(mask.shape)}, the states are {tuple(states.shape)}.")
    lengths = mask.bool().sum(1).tolist()
    if not all(lengths):
        raise ValueError("A prompt without any token cannot lead the video. Encode it again.")
    if len(set(lengths)) > 1:
        raise ValueError(f"Prompts of {lengths} tokens do not fit into one batch. Prepare each by itself.")


def check_scene(scene: AvatarScene, config: AvatarConfig) -> None:
    _check_latents("The reference", scene.reference, config)
    if scene.emotion is None:
        return
    if not config.emotion:
        raise ValueError(
            "This transformer has no audio emotion module: its file holds no tensors named emotion.*, and no"
            " released file does. Leave the emotion image out, or load a file that has them."
        )
    _check_latents("The emotion image", scene.emotion, config)


def _check_latents(what: str, latents: Tensor, config: AvatarConfig) -> None:
    fits = latents.ndim == 5 and latents.shape[1] == config.latent_channels
    if not fits or latents.shape[-2] % PATCH or latents.shape[-1] % PATCH:
        raise ValueError(
            f"{what} is {tuple(latents.shape)}, this transformer needs latents (batch,"
            f" {config.latent_channels}, frames, height, width) of even height and width."
            " Use an image whose sides are multiples of 16."
        )


def check_speech(characters: Sequence[Character], config: AvatarConfig) -> None:
    features = (AUDIO_WINDOW, AUDIO_STATES, config.audio_size)
    for character in characters:
        audio, mask = character.audio, character.mask
        if audio.ndim != 5 or audio.shape[2:] != features:
            raise ValueError(
                f"Speech features are {tuple(audio.shape)}, this transformer needs (batch, frames,"
                f" {', '.join(map(str, features))}). Use the speech encoder that belongs to it."
            )
        if mask.ndim != 5:
            raise ValueError(
                f"A character's mask is {tuple(mask.shape)}: give (batch, 1, 1 or frames, height, width) at"
                " latent resolution."
            )


def check_characters(characters: Sequence[Character], config: AvatarConfig) -> None:
    """As `check_speech`, for speech that lasts one window."""
    check_speech(characters, config)
    for character in characters:
        frames = latent_frames(character.audio.shape[1])
        if character.mask.shape[2] not in (1, frames):
            raise ValueError(
                f"A character's mask is {tuple(character.mask.shape)}, its speech lasts {frames} latent"
                f" frames: give a mask (batch, 1, 1 or {frames}, height, width) at latent resolution."
            )


def check_masks(characters: Sequence[Character], scene: AvatarScene) -> None:
    height, width = scene.reference.shape[-2:]
    for character in characters:
        if character.mask.shape[-2:] != (height, width):
            raise ValueError(
                f"A character's mask is {tuple(character.mask.shape)}, the reference {height} x {width}"
                " latents. Make both for the same video size."
            )


def check_window(x: Tensor, conditions: AvatarConditions) -> None:
    rows, columns = conditions.prefix.shape[1:3]
    if x.shape[-2:] != (rows * PATCH, columns * PATCH):
        raise ValueError(
            f"Latents of {x.shape[-2]} x {x.shape[-1]} do not fit a reference of {rows * PATCH} x"
            f" {columns * PATCH}. Encode the portrait at the video's size."
        )
    frames = {voice.places.shape[1] for voice in conditions.voices} | {x.shape[2]}
    if len(frames) > 1:
        raise ValueError(
            f"{x.shape[2]} latent frames do not fit speech of {sorted(frames - {x.shape[2]})} latent frames."
        )
