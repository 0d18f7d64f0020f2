"""The guided velocity of a whole video: windows of the ring, each seen with and without its guidance."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..sampling.denoise import SMALLEST_SIGMA
from ..sampling.schedule import TIME_SCALE
from ..sampling.solvers import Solver, euler
from .checks import check_masks
from .conditions import AvatarConditions, AvatarPrompt, AvatarScene, Character, Features, Opening, Speaker
from .feature_ring import FeatureRing
from .ring import SHIFT, Window, windows
from .schedule import AvatarStep
from .settings import AvatarSettings
from .step_cache import ErrorDrivenCache, relative_error
from .timing import FRAMES_PER_LATENT

HALVES = ("unguided", "guided")
LARGEST_BATCH = 64 * 112  # latent pixels; above it, the two halves of guidance run one after the other


class WindowModel(Protocol):
    """What the loop needs of a transformer; see `AvatarTransformer`."""

    def prepare(self, prompt: AvatarPrompt, scene: AvatarScene) -> AvatarConditions: ...
    def listen(self, characters: Sequence[Character], like: Tensor) -> tuple[Speaker, ...]: ...
    def open(self, x: Tensor, t: Tensor, conditions: AvatarConditions) -> Opening: ...
    def speak(self, opening: Opening, t: Tensor, conditions: AvatarConditions) -> Features: ...
    def predict(self, features: Features, t: Tensor, conditions: AvatarConditions) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class AvatarClip:
    """An encoded video to be made, before the transformer has seen it.

    characters: their speech lasts as long as it likes, up to the ring's; silence follows. A mask that changes
        has as many frames as the ring has latents.
    """

    positive: AvatarPrompt
    negative: AvatarPrompt
    scene: AvatarScene
    characters: tuple[Character, ...]


class RingVelocity:
    """d latents / d sigma under guidance, for all latents of the ring.

    Where windows overlap, their velocities are averaged: Euler steps of each and the mean of the results, as
    released, is the same. Prompts and speech are prepared here, once, where the prompts' states are; the ring
    itself may lie on another device.
    """

    def __init__(
        self,
        model: WindowModel,
        clip: AvatarClip,
        schedule: Sequence[AvatarStep],
        ring_latents: int,
        *,
        shift: int = SHIFT,
        overlap: int = 0,
        step_cache: ErrorDrivenCache | None = None,
        keep_on: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
        together: bool = True,
    ) -> None:
        """step_cache: decides about cached steps where the schedule has none.
        keep_on: the device where kept features wait; None is where they are computed.
        together: whether both halves of guidance may run in one batch; above `LARGEST_BATCH` they never do.
        """
        check_masks(clip.characters, clip.scene)
        self.model, self.schedule, self.dtype, self.together = model, schedule, dtype, together
        self.ring_latents, self.shift, self.overlap = ring_latents, shift, overlap
        self.positive, self.negative = (
            model.prepare(replace(prompt, states=prompt.states.to(dtype)), clip.scene)
            for prompt in (clip.positive, clip.negative)
        )
        like = self.positive.text
        speaking = [pad_speech(character, ring_latents) for character in clip.characters]
        self.speakers = model.listen(speaking, like)
        self.silent = model.listen([silenced(character) for character in clip.characters], like)

        self.caches = tuple(FeatureRing(ring_latents, keep_on) for _ in HALVES)
        self.step_cache, self.kept_under, self.errors = step_cache, None, []

    @classmethod
    def of(
        cls,
        model: WindowModel,
        clip: AvatarClip,
        settings: AvatarSettings,
        steps: int,
        ring_latents: int,
        **options: Any,
    ) -> "RingVelocity":
        """As the settings say; options as in the constructor."""
        return cls(
            model, clip, settings.plan(steps), ring_latents,
            shift=settings.shift, overlap=settings.overlap, step_cache=settings.cache(steps), **options,
        )  # fmt: skip

    def __call__(self, latents: Tensor, sigma: float, step: int) -> Tensor:
        """latents: (b, c, ring latents, h, w), float32. Returns the same shape, float32."""
        total = torch.zeros_like(latents)
        visits = torch.zeros(latents.shape[2], device=latents.device)
        for window in windows(self.ring_latents, step, self.shift, self.overlap):
            places = window.latents.to(latents.device)
            velocity = self.window_velocity(latents[:, :, places], sigma, step, window)
            total.index_add_(2, places, velocity.to(latents.device))
            visits.index_add_(0, places, torch.ones_like(visits[places]))
        self._note_step(sigma, step)
        return total / visits[:, None, None]

    def window_velocity(self, x: Tensor, sigma: float, step: int, window: Window) -> Tensor:
        """The guided velocity of one window. x: (b, c, 33, h, w), float32."""
        plan, device = self.schedule[step], self.positive.text.device
        time = max(sigma, SMALLEST_SIGMA) * TIME_SCALE
        t = torch.full((x.shape[0],), time, device=device)
        if self._is_cached(step, sigma):
            velocities = self._cached(t, plan, window)
        else:
            velocities = self._full(x.to(device, self.dtype), t, step, window)
        unguided, guided = (velocity.float() for velocity in velocities)
        return unguided + plan.guidance * (guided - unguided)

    def _prompts(self, plan: AvatarStep) -> tuple[AvatarConditions, AvatarConditions]:
        """Unguided and guided, where nobody speaks yet."""
        return self.negative if plan.negative else self.positive, self.positive

    def _speaking(self, plan: AvatarStep, window: Window, rows: int) -> list[AvatarConditions]:
        """Unguided and guided: in the first, everybody is silent."""
        like, strength = self.positive.text, plan.voice_strength
        return [
            half.hearing(speakers, window.latents, window.heard, like)
            .with_voice_strength(strength)
            .expand(rows)
            for half, speakers in zip(self._prompts(plan), (self.silent, self.speakers), strict=True)
        ]

    def _full(self, x: Tensor, t: Tensor, step: int, window: Window) -> list[Tensor]:
        plan = self.schedule[step]
        halves = self._speaking(plan, window, len(t))
        may_share = self.together and x.shape[-2] * x.shape[-1] <= LARGEST_BATCH
        together = may_share and halves[0].stacks_with(halves[1])
        shared = None if plan.negative else self.model.open(x, t, halves[0])
        velocities, kept = [], []
        for group in [halves] if together else [[half] for half in halves]:
            conditions, times = AvatarConditions.stack(group), t.repeat(len(group))
            if shared is None:
                opening = self.model.open(x.repeat(len(group), 1, 1, 1, 1), times, conditions)
            else:
                opening = shared.repeat(len(group))
            features = self.model.speak(opening, times, conditions)
            velocities += self.model.predict(features, times, conditions).chunk(len(group))
            parts = features.tokens.chunk(len(group))
            kept += [replace(features, tokens=tokens) for tokens in parts]
        if self._is_needed(step):
            self._measure(t, plan, window, velocities)
            for cache, part in zip(self.caches, kept, strict=True):
                cache.write(window.latents, part)
        return velocities

    def _cached(self, t: Tensor, plan: AvatarStep, window: Window) -> list[Tensor]:
        return [
            self.model.predict(cache.read(window.latents, t.device), t, half.expand(len(t)))
            for cache, half in zip(self.caches, self._prompts(plan), strict=True)
        ]

    def _is_cached(self, step: int, sigma: float) -> bool:
        plan = self.schedule[step]
        if self.step_cache is None:
            return plan.cached
        return self.step_cache.begin(step, sigma, usable=self.kept_under == conditions_of(plan))

    def _is_needed(self, step: int) -> bool:
        """Whether a cached step may follow: else nobody will read what this one keeps."""
        if self.step_cache is not None:
            return True
        return step + 1 < len(self.schedule) and self.schedule[step + 1].cached

    def _measure(self, t: Tensor, plan: AvatarStep, window: Window, exact: Sequence[Tensor]) -> None:
        """What a cached step would have been off here, for a step cache that goes by it."""
        if self.step_cache is not None and self.kept_under == conditions_of(plan):
            predicted = self._cached(t, plan, window)
            self.errors += [relative_error(*pair) for pair in zip(predicted, exact, strict=True)]

    def _note_step(self, sigma: float, step: int) -> None:
        if self.step_cache is not None and not self._is_cached(step, sigma):
            self.step_cache.measured(sigma, self.errors)
            self.kept_under, self.errors = conditions_of(self.schedule[step]), []


def denoise_ring(
    velocity: RingVelocity, latents: Tensor, sigmas: Tensor, solver: Solver = euler, *, done: int = 0
) -> Iterator[Tensor]:
    """Follow the flow down the noise levels; yields the ring's latents after every step.

    All stages of a solver's step use that step's windows, guidance and cache.

    latents: (b, c, ring latents, h, w), the state at `sigmas[done]`, float32.
    sigmas:  (steps + 1,), decreasing.
    done:    how many steps there were before; the next one must not start from kept features.
    """
    for step, (sigma, target) in enumerate(pairwise(sigmas[done:].tolist()), done):
        latents = solver(partial(velocity, step=step), latents, sigma, target)
        yield latents


def pad_speech(character: Character, ring_latents: int) -> Character:
    """Silence up to the end of the ring; the ring has a whole number of audio frames for every latent."""
    missing = ring_latents * FRAMES_PER_LATENT - character.audio.shape[1]
    if missing < 0 or character.mask.shape[2] not in (1, ring_latents):
        raise ValueError(
            f"Speech of {character.audio.shape[1]} frames and a mask of {character.mask.shape[2]} do not fit"
            f" a ring of {ring_latents} latents. Take the ring from the timing of the longest speech."
        )
    return replace(character, audio=F.pad(character.audio, (0, 0) * 3 + (0, missing)))


def silenced(character: Character) -> Character:
    """The same character, saying nothing: one frame of speech stands for all."""
    return replace(character, audio=torch.zeros_like(character.audio[:, :1]))


def conditions_of(plan: AvatarStep) -> tuple[bool, float]:
    """What features depend on besides latents and time: those of other conditions are no measure."""
    return plan.negative, plan.voice_strength
