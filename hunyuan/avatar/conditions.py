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
    """A character's speech as the adapters hear it, and the tokens that hear it.

    keys_values: (b, adapters, 2, f, n, adapter size).
    places:      (b, f, n), positions of the tokens among the image tokens, which the reference leads.
    weights:     (b, f, n), float32, the mask at these tokens; frames with fewer tokens end in zeros.
    """

    keys_values: Tensor
    places: Tensor
    weights: Tensor


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

    def expand(self, rows: int) -> "AvatarConditions":
        """The same single row for `rows` samples, without copying."""
        return _merge(lambda tensors: tensors[0].expand(rows, *tensors[0].shape[1:]), [self])

    def stacks_with(self, other: "AvatarConditions") -> bool:
        """Whether both fit into one batch: prompts of unequal length do not."""
        return _form(self) == _form(other)

    @staticmethod
    def stack(parts: Sequence["AvatarConditions"]) -> "AvatarConditions":
        """The rows of all parts, in order."""
        return _merge(torch.cat, parts)


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
