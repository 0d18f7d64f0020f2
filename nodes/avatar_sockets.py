"""What travels between Avatar's nodes: own sockets, and the way to and from ComfyUI's IMAGE and AUDIO."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .. import host
from ..host.avatar_conditioning import FPS_KEY, FRAMES_KEY, LATENT_SCALE
from ..hunyuan.avatar.conditions import Character
from ..hunyuan.avatar.face_mask import fit_mask
from ..hunyuan.avatar.face_pick import FaceBox
from ..hunyuan.avatar.timing import FPS, FRAMES_PER_LATENT, SAMPLE_RATE, AvatarTiming
from .sockets import takes

if TYPE_CHECKING:  # importing the pack stays quick
    from ..hunyuan.avatar.face_detector import Faces
    from ..hunyuan.avatar.speech_encoder import SpeechEncoder

io = host.io

AVATAR_CATEGORY = "Hunyuan AV/Avatar"

TextEncoderSocket = io.Custom("HYAV_TEXT_ENCODER")
SpeechEncoderSocket = io.Custom("HYAV_SPEECH_ENCODER")
SpeechSocket = io.Custom("HYAV_SPEECH")
FaceDetectorSocket = io.Custom("HYAV_FACE_DETECTOR")
FacesSocket = io.Custom("HYAV_FACES")
CharactersSocket = io.Custom("HYAV_CHARACTERS")


@dataclass(frozen=True, eq=False)
class HeldSpeechEncoder:
    """HYAV_SPEECH_ENCODER: Whisper's encoder, and the host's handle on it."""

    network: "SpeechEncoder"
    patcher: Any

    @classmethod
    def of(cls, network: "SpeechEncoder") -> "HeldSpeechEncoder":
        return cls(network, host.patcher(network))


@dataclass(frozen=True)
class FramedSpeech:
    """HYAV_SPEECH: what each frame of the video hears, (1, frames, 10, 5, 384), and frames per second."""

    windows: Tensor
    fps: float


@dataclass(frozen=True)
class Speaking:
    """One of HYAV_CHARACTERS, a tuple: somebody's speech, and the part of the picture that it moves.

    mask: (t, h, w) in [0, 1], as MASK is. strength: multiplies it.
    """

    speech: FramedSpeech
    mask: Tensor
    strength: float

    def fitted(self, height: int, width: int, timing: AvatarTiming) -> Character:
        """For a picture of this size in pixels, and a video of this length."""
        mask = fit_mask(self.mask, height, width, timing)
        return Character(audio=self.speech.windows, mask=mask, strength=self.strength)


@dataclass(frozen=True)
class FoundFaces:
    """HYAV_FACES: faces, the largest first, and the picture (h, w, 3) that they are in."""

    faces: "Faces"
    picture: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return self.picture.shape[0], self.picture.shape[1]

    @property
    def boxes(self) -> list[FaceBox]:
        return [tuple(box) for box in self.faces.boxes.tolist()]

    @property
    def scores(self) -> list[float]:
        return self.faces.scores.tolist()


def length_of(characters: Sequence[Speaking]) -> tuple[AvatarTiming, float]:
    """How long a video of these is, and its frames per second.

    Raises: ValueError if nobody is there, or their frame rates differ.
    """
    rates = {speaking.speech.fps for speaking in characters}
    if len(rates) != 1:
        raise ValueError(
            f"The characters' speech was encoded at {' and '.join(f'{rate:g}' for rate in sorted(rates))}"
            " frames per second. Encode all of it at the same rate."
            if rates
            else "Nobody speaks. Connect an Avatar Character."
        )
    frames = max(speaking.speech.windows.shape[1] for speaking in characters)
    return AvatarTiming(frames, fit=True), rates.pop()


def one_picture(images: Tensor) -> Tensor:
    """The first of a batch, (h, w, 3). images: (b, h, w, c); channels after the third are not looked at."""
    return images[0, ..., :3].float().cpu()


def pixels_of(picture: Tensor) -> np.ndarray:
    """(h, w, 3) uint8. picture: (h, w, 3), float in [0, 1]."""
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def image_of(pixels: np.ndarray) -> Tensor:
    """IMAGE, (1, h, w, 3). pixels: (h, w, 3) uint8."""
    return torch.from_numpy(np.array(pixels)).float()[None] / 255


def speech_waveform(sound: Mapping[str, Any] | None) -> Tensor:
    """AUDIO, of any rate and number of channels, as (samples,) at 16 kHz.

    Raises: ValueError if there is no sound, or several takes.
    """
    if sound is None or sound["waveform"].numel() == 0:
        raise ValueError("There is no speech: the sound is empty. Connect an AUDIO with somebody speaking.")
    count = len(sound["waveform"])
    if count > 1:
        raise ValueError(f"The sound has {count} takes, and a character speaks one. Take it by itself.")
    return torch.from_numpy(takes(sound, 1, SAMPLE_RATE)[0][0])


def video_latents(latent: Mapping[str, Any]) -> tuple[Tensor, int, float]:
    """Of a LATENT: what is to be decoded, at the sampler's scale; how many frames to keep; frames per second.

    A latent that does not say how long the video is, is kept whole.
    """
    samples = latent["samples"].float()
    if samples.ndim != 5:
        raise ValueError(
            f"The latents are {tuple(samples.shape)}, those of a video are (takes, channels, frames, height,"
            " width). Connect the latent of an Avatar Sampler."
        )
    whole = (samples.shape[2] - 1) * FRAMES_PER_LATENT + 1
    frames = min(latent.get(FRAMES_KEY, whole), whole)
    needed = AvatarTiming(frames, fit=True).latents
    return samples[:, :, :needed] * LATENT_SCALE, frames, float(latent.get(FPS_KEY, FPS))
