"""What guides the sampler: as the encoders give it, and in the form that is constant over a window.

Axes: b batch, n tokens, d channels, f latent frames, h w latent height and width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .config import MOTION_SCORES
from .timing import FPS

EXPRESSION_MOTION = 30.0  # how lively a face is in the released program
POSE_MOTION = 25.0  # and how lively the head


@dataclass(frozen=True, kw_only=True)
class AvatarPrompt:
    """An encoded prompt.

    states: (b, n, text size), LLaVA states of the prompt and the portrait.
    mask:   (b, n), ones at the tokens that count; where they stand is as trained, see the token refiner.
    pooled: (b, pooled size), CLIP-L.
    """

    states: Tensor
    mask: Tensor
    pooled: Tensor


@dataclass(frozen=True, kw_only=True)
class Motion:
    """How much moves, and how fast.

    expression, pose: (b, 4), the scores of face and head. fps: (b,), frames per second.
    """

    expression: Tensor
    pose: Tensor
    fps: Tensor

    @classmethod
    def of(
        cls, expression: float = EXPRESSION_MOTION, pose: float = POSE_MOTION, fps: float = FPS
    ) -> "Motion":
        """One row, with the same score four times, as released."""
        return cls(
            expression=torch.full((1, MOTION_SCORES), expression),
            pose=torch.full((1, MOTION_SCORES), pose),
            fps=torch.full((1,), fps),
        )


@dataclass(frozen=True, kw_only=True)
class AvatarScene:
    """What the video shows, the same in all of its windows.

    reference:        (b, c, f, h, w), latents of the portrait, or f = 1 for all frames alike.
    emotion:          (b, c, 1, h, w), latents of a face with the emotion to show; needs an emotion module.
    emotion_strength: how strongly it is shown; 0 leaves the video exactly as without.
    reference_shift:  token rows and columns by which the portrait stands aside of the video in the rotary
        positions: (0, 0) as released, (0, columns) as in the paper.
    """

    reference: Tensor
    motion: Motion
    emotion: Tensor | None = None
    emotion_strength: float = 1.0
    reference_shift: tuple[int, int] = (0, 0)


@dataclass(frozen=True, kw_only=True)
class Character:
    """Somebody who speaks.

    audio:    (b, 4 f - 3, 10, 5, audio size), Whisper states around each video frame.
    mask:     (b, 1, f, h, w), where the speech acts, or f = 1 for all frames alike.
    strength: multiplies the mask.
    """

    audio: Tensor
    mask: Tensor
    strength: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Voice:
    """A character's speech as the adapters hear it in a window, and the tokens that hear it.

    keys_values: (b, adapters, 2, f, n, adapter size).
    places:      (b, f, n), positions of the tokens among the image tokens, which the reference leads.
    weights:     (b, f, n), float32, the mask at these tokens; frames with fewer tokens end in zeros.
    """

    keys_values: Tensor
    places: Tensor
    weights: Tensor

    def like(self, tensor: Tensor) -> "Voice":
        """On the device of a tensor, and speech in its dtype."""
        return Voice(
            keys_values=self.keys_values.to(tensor),
            places=self.places.to(tensor.device),
            weights=self.weights.to(tensor.device),
        )


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """A character for the whole of a video, as the adapters hear it: windows take their parts of it.

    keys_values:  (b, adapters, 2, video frames, n, adapter size), or one video frame for all alike.
    places:       (b, latents, n), positions of the tokens in their frame, or one latent for all alike.
    weights:      as many, float32, the mask at these tokens; frames with fewer tokens end in zeros.
    frame_tokens: tokens of a frame.
    """

    keys_values: Tensor
    places: Tensor
    weights: Tensor
    frame_tokens: int

    def at(self, latents: Tensor, heard: Tensor) -> Voice:
        """What a window hears.

        latents: (f,), its places among the latents. heard: (f, 4), the video frames that each of them hears.
        """
        still = self.keys_values.shape[3] == 1
        heard = (torch.zeros_like(heard) if still else heard).to(self.keys_values.device)
        places, weights = (
            x.expand(-1, len(latents), -1) if x.shape[1] == 1 else x[:, latents.to(x.device)]
            for x in (self.places, self.weights)
        )
        # Elsewhere the mask may be larger: what no frame of this window needs is left out.
        count = int((weights != 0).sum(-1).max())
        starts = torch.arange(1, len(latents) + 1, device=places.device) * self.frame_tokens
        return Voice(
            keys_values=self.keys_values[:, :, :, heard].flatten(4, 5),
            places=(places + starts[:, None])[..., :count],
            weights=weights[..., :count],
        )


@dataclass(frozen=True)
class RotaryTable:
    """The rotary table of a window's image tokens, the same for all rows.

    values: (2, n, head size), float32. frames: of the window.
    """

    values: Tensor
    frames: int


@dataclass(frozen=True, kw_only=True)
class AvatarConditions:
    """Everything that the transformer needs to compute only once for a window.

    text:         (b, n, hidden), embedded states before the refiner, padding included.
    text_context: (b, hidden), their mean, embedded.
    text_mask:    (b, n), bool, as the refiner reads it.
    text_tokens:  how many tokens leave the refiner.
    vector:       (b, hidden), motion, frame rate and pooled prompt: the part of the modulation without time.
    prefix:       (b, rows, columns, hidden), the reference as a frame of its own.
    reference:    (b, f or 1, rows, columns, hidden), the reference as it is added to every frame.
    table:        of a whole window; None where every call makes its own.
    voices:       one for each character whose mask is not empty.
    emotion:      (b, n, hidden), tokens of the emotion image, if there is one.
    emotion_strength, reference_shift: as in the scene.
    """

    text: Tensor
    text_context: Tensor
    text_mask: Tensor
    text_tokens: int
    vector: Tensor
    prefix: Tensor
    reference: Tensor
    table: RotaryTable | None = None
    voices: tuple[Voice, ...] = ()
    emotion: Tensor | None = None
    emotion_strength: float = 1.0
    reference_shift: tuple[int, int] = (0, 0)

    @property
    def rows(self) -> int:
        return self.text.shape[0]

    @property
    def prefix_tokens(self) -> int:
        return self.prefix.shape[1] * self.prefix.shape[2]

    def with_voice_strength(self, strength: float) -> "AvatarConditions":
        """The same with all masks multiplied."""
        voices = (replace(voice, weights=voice.weights * strength) for voice in self.voices)
        return replace(self, voices=tuple(voices))

    def hearing(
        self, speakers: Sequence[Speaker], latents: Tensor, heard: Tensor, like: Tensor
    ) -> "AvatarConditions":
        """The same in a window where these speak; arguments as in `Speaker.at` and `Voice.like`."""
        voices = (speaker.at(latents, heard).like(like) for speaker in speakers)
        return replace(self, voices=tuple(voices))

    def expand(self, rows: int) -> "AvatarConditions":
        """The same single row for `rows` samples, without copying."""
        return _merge(lambda tensors: tensors[0].expand(rows, *tensors[0].shape[1:]), [self])

    def part(self, number: int, rows: int) -> "AvatarConditions":
        """Of consecutive parts of so many rows, the one of that number."""
        return _merge(lambda tensors: tensors[0][number * rows : (number + 1) * rows], [self])

    def stacks_with(self, other: "AvatarConditions") -> bool:
        """Whether both fit into one batch: prompts of unequal length do not."""
        return _form(self) == _form(other)

    @staticmethod
    def stack(parts: Sequence["AvatarConditions"]) -> "AvatarConditions":
        """The rows of all parts, in order."""
        return _merge(torch.cat, parts)


@dataclass(frozen=True, kw_only=True)
class Opening:
    """The tokens after the blocks in which nobody is heard yet: the same however loud or silent a window is.

    image: (b, n, hidden), reference and video. text: (b, m, hidden). frames: of the video.
    """

    image: Tensor
    text: Tensor
    frames: int

    def repeat(self, times: int) -> "Opening":
        """All rows so many times, one after the other."""
        if times == 1:
            return self
        image, text = (torch.cat([x] * times) for x in (self.image, self.text))
        return Opening(image=image, text=text, frames=self.frames)


@dataclass(frozen=True, kw_only=True)
class Features:
    """The tokens that enter the last single block: what a cached step starts from.

    tokens: (b, n, hidden), reference, video and text in this order.
    """

    tokens: Tensor
    prefix_tokens: int  # as many as the reference has, and each frame
    frames: int

    @classmethod
    def join(cls, prefix: Tensor, video: Tensor, text: Tensor) -> "Features":
        """From the parts, shaped like the properties of the same names."""
        tokens = torch.cat([prefix, video.flatten(1, 2), text], dim=1)
        return cls(tokens=tokens, prefix_tokens=prefix.shape[1], frames=video.shape[1])

    @property
    def prefix(self) -> Tensor:
        """(b, prefix tokens, hidden)."""
        return self.tokens[:, : self.prefix_tokens]

    @property
    def video(self) -> Tensor:
        """(b, frames, prefix tokens, hidden)."""
        video = self.tokens[:, self.prefix_tokens : (1 + self.frames) * self.prefix_tokens]
        return video.unflatten(1, (self.frames, self.prefix_tokens))

    @property
    def text(self) -> Tensor:
        """(b, text tokens, hidden)."""
        return self.tokens[:, (1 + self.frames) * self.prefix_tokens :]


def _merge(function: Callable[[list[Tensor]], Tensor], parts: Sequence[Any]) -> Any:
    """One value like the parts, tensor by tensor."""
    first = parts[0]
    if isinstance(first, Tensor):
        return function(list(parts))
    if isinstance(first, RotaryTable):
        return first
    if isinstance(first, tuple):
        return tuple(_merge(function, items) for items in zip(*parts, strict=True))
    if is_dataclass(first) and not isinstance(first, type):
        names = [field.name for field in fields(first)]
        return type(first)(
            **{name: _merge(function, [getattr(part, name) for part in parts]) for name in names}
        )
    return first


def _form(value: Any) -> Any:
    """What must be equal for two values to lie in one batch."""
    if isinstance(value, Tensor):
        return value.shape[1:]
    if isinstance(value, tuple):
        return [_form(item) for item in value]
    if is_dataclass(value):
        return [_form(getattr(value, field.name)) for field in fields(value)]
    return value
