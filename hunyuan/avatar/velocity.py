"""The guided velocity of a whole video: windows of the ring, each seen with and without its guidance."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import pairwise
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..sampling.denoise import SMALLEST_SIGMA
from ..sampling.schedule import TIME_SCALE
from ..sampling.solvers import Solver, euler
from .checks import check_masks
from .conditions import AvatarConditions, AvatarPrompt, AvatarScene, Character, Features, Voice
from .feature_ring import FeatureRing
from .ring import SHIFT, Window, windows
from .schedule import AvatarStep
from .timing import FRAMES_PER_LATENT

LARGEST_BATCH = 64 * 112  # latent pixels; above it, the two halves of guidance run one after the other


class WindowModel(Protocol):
    """What the loop needs of a transformer; see `AvatarTransformer`."""

    def prepare(self, prompt: AvatarPrompt, scene: AvatarScene) -> AvatarConditions: ...
    def listen(self, characters: Sequence[Character], dtype: torch.dtype) -> tuple[Voice, ...]: ...
    def features(self, x: Tensor, t: Tensor, conditions: AvatarConditions) -> Features: ...
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
    released, is the same. Prompts are prepared here, once.
    """

    def __init__(
        self,
        model: WindowModel,
        clip: AvatarClip,
        schedule: Sequence[AvatarStep],
        ring_latents: int,
        *,
        shift: int = SHIFT,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        check_masks(clip.characters, clip.scene)
        self.model, self.schedule, self.dtype = model, schedule, dtype
        self.ring_latents, self.shift = ring_latents, shift
        self.positive, self.negative = (
            model.prepare(replace(prompt, states=prompt.states.to(dtype)), clip.scene)
            for prompt in (clip.positive, clip.negative)
        )
        self.characters = [pad_speech(character, ring_latents) for character in clip.characters]
        self.still = all(character.mask.shape[2] == 1 for character in clip.characters)
        self.caches = FeatureRing(ring_latents), FeatureRing(ring_latents)
        # Two are enough: silence, which all windows share, and the speech of a window that does not move.
        self._voices = lru_cache(maxsize=2)(self._listen)

    def __call__(self, latents: Tensor, sigma: float, step: int) -> Tensor:
        """latents: (b, c, ring latents, h, w), float32. Returns the same shape, float32."""
        total = torch.zeros_like(latents)
        visits = torch.zeros(latents.shape[2], device=latents.device)
        for window in windows(self.ring_latents, step, self.shift):
            places = window.latents.to(latents.device)
            total.index_add_(2, places, self.window_velocity(latents[:, :, places], sigma, step, window))
            visits.index_add_(0, places, torch.ones_like(visits[places]))
        return total / visits[:, None, None]

    def window_velocity(self, x: Tensor, sigma: float, step: int, window: Window) -> Tensor:
        """The guided velocity of one window. x: (b, c, 33, h, w), float32."""
        plan = self.schedule[step]
        time = max(sigma, SMALLEST_SIGMA) * TIME_SCALE
        t = torch.full((x.shape[0],), time, device=x.device)
        if plan.cached:
            velocities = self._cached(t, plan, window)
        else:
            velocities = self._full(x.to(self.dtype), t, plan, window, keep=self._is_needed(step))
        unguided, guided = (velocity.float() for velocity in velocities)
        return unguided + plan.guidance * (guided - unguided)

    def _prompts(self, plan: AvatarStep) -> tuple[AvatarConditions, AvatarConditions]:
        """Unguided and guided, where nobody speaks yet."""
        return self.negative if plan.negative else self.positive, self.positive

    def _speaking(self, plan: AvatarStep, window: Window) -> list[AvatarConditions]:
        """Unguided and guided: in the first, everybody is silent."""
        start = 0 if self.still else window.start
        voices = self._voices(start, silent=True), self._voices(window.start, silent=False)
        return [
            replace(half, voices=heard).with_voice_strength(plan.voice_strength)
            for half, heard in zip(self._prompts(plan), voices, strict=True)
        ]

    def _listen(self, start: int, *, silent: bool) -> tuple[Voice, ...]:
        window = Window(start, self.ring_latents)
        heard = [at_window(character, window) for character in self.characters]
        if silent:
            heard = [replace(character, audio=torch.zeros_like(character.audio)) for character in heard]
        return self.model.listen(heard, self.dtype)

    def _full(self, x: Tensor, t: Tensor, plan: AvatarStep, window: Window, *, keep: bool) -> list[Tensor]:
        halves = [half.expand(x.shape[0]) for half in self._speaking(plan, window)]
        small = x.shape[-2] * x.shape[-1] <= LARGEST_BATCH
        together = small and halves[0].stacks_with(halves[1])
        velocities, kept = [], []
        for group in [halves] if together else [[half] for half in halves]:
            conditions, times = AvatarConditions.stack(group), t.repeat(len(group))
            features = self.model.features(x.repeat(len(group), 1, 1, 1, 1), times, conditions)
            velocities += self.model.predict(features, times, conditions).chunk(len(group))
            if keep:
                parts = features.tokens.chunk(len(group))
                kept += [replace(features, tokens=tokens) for tokens in parts]
        for cache, part in zip(self.caches, kept, strict=False):
            cache.write(window.latents, part)
        return velocities

    def _cached(self, t: Tensor, plan: AvatarStep, window: Window) -> list[Tensor]:
        return [
            self.model.predict(cache.read(window.latents), t, half.expand(len(t)))
            for cache, half in zip(self.caches, self._prompts(plan), strict=True)
        ]

    def _is_needed(self, step: int) -> bool:
        """Whether a cached step follows: else nobody will read what this one keeps."""
        return step + 1 < len(self.schedule) and self.schedule[step + 1].cached


def denoise_ring(
    velocity: RingVelocity, latents: Tensor, sigmas: Tensor, solver: Solver = euler
) -> Iterator[Tensor]:
    """Follow the flow down the noise levels; yields the ring's latents after every step.

    All stages of a solver's step use that step's windows, guidance and cache.

    latents: (b, c, ring latents, h, w), the state at `sigmas[0]`, float32. sigmas: (steps + 1,), decreasing.
    """
    for step, (sigma, target) in enumerate(pairwise(sigmas.tolist())):
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


def at_window(character: Character, window: Window) -> Character:
    """What a window hears and sees of a character."""
    audio = character.audio[:, window.audio_frames.to(character.audio.device)]
    still = character.mask.shape[2] == 1
    mask = character.mask if still else character.mask[:, :, window.latents.to(character.mask.device)]
    return replace(character, audio=audio, mask=mask)
