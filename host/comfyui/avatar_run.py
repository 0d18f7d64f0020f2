"""One run of Avatar's sampler inside ComfyUI: what its steps and windows have in common.

Core's samplers know noise levels, not steps or windows. A run is made when one begins, travels in
`transformer_options`, and is gone when it ends.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...hunyuan.avatar.conditions import Features, Opening
from ...hunyuan.avatar.feature_ring import FeatureRing
from ...hunyuan.avatar.ring import Window, windows
from ...hunyuan.avatar.schedule import AvatarStep
from ...hunyuan.avatar.settings import AvatarSettings
from ...hunyuan.avatar.step_cache import relative_error
from ...hunyuan.avatar.velocity import conditions_of

RUN_KEY = "avatar_run"
CLOSE = 1e-6  # relative: noise levels nearer than this are the same

# Of KSampler and other guiders: guidance stays as it is, so nothing can be told about features that are kept.
CONSTANT = AvatarSettings(step_cache="off")


@dataclass(frozen=True, eq=False)
class Start:
    """The first blocks of a window in one step, for the half that comes second."""

    window: Window
    sigma: float
    opening: Opening


class AvatarRun:
    """The ring, the schedule, and what is kept from step to step.

    settings: None where another guider than Avatar's leads.
    sigmas:   of the run. device: where features of more than one window wait.
    """

    def __init__(
        self, settings: AvatarSettings | None, sigmas: Sequence[float], ring_latents: int, device: Any
    ) -> None:
        self.guided = settings is not None
        self.settings = settings = settings or CONSTANT
        self.sigmas, self.ring_latents = list(sigmas), ring_latents
        steps = max(len(self.sigmas) - 1, 1)
        self.schedule = settings.plan(steps)
        self.step_cache = settings.cache(steps)
        self.keep_on = device
        self.caches: dict[int, FeatureRing] = {}
        self.step, self.sigma, self.in_pair = 0, 1.0, True
        self.window: Window | None = None
        self.start: Start | None = None
        self.kept_under: Any = None
        self.errors: list[float] = []

    @property
    def plan(self) -> AvatarStep:
        return self.schedule[self.step]

    @property
    def voice_strength(self) -> float:
        return self.plan.voice_strength if self.guided else 1.0

    @property
    def shares_start(self) -> bool:
        """Whether both halves of guidance have the same prompt, so that their first blocks are the same."""
        return self.guided and self.in_pair and not self.plan.negative

    @property
    def cached(self) -> bool:
        if not self.in_pair:
            return False
        if self.step_cache is None:
            return self.plan.cached
        return self.step_cache.begin(
            self.step, self.sigma, usable=self.kept_under == conditions_of(self.plan)
        )

    @property
    def keeps(self) -> bool:
        """Whether a cached step may follow this one."""
        later = self.schedule[self.step + 1 : self.step + 2]
        return self.in_pair and (self.step_cache is not None or any(plan.cached for plan in later))

    def go_to(self, sigma: float, *, in_pair: bool = True) -> None:
        """The step that a noise level belongs to: the last one to begin at it or above.

        in_pair: whether both halves of guidance are asked for. Other nodes ask for one by itself, with blocks
            left out, say; nothing of that is kept or shared.
        """
        begun = [i for i, level in enumerate(self.sigmas[:-1]) if level >= sigma * (1 - CLOSE)]
        self.step, self.sigma, self.start = begun[-1] if begun else 0, sigma, None
        self.in_pair = in_pair

    def windows(self) -> list[Window]:
        return windows(self.ring_latents, self.step, self.settings.shift, self.settings.overlap)

    def end_step(self) -> None:
        """After all windows of an evaluation."""
        self.window = self.start = None
        if self.in_pair and self.step_cache is not None and not self.cached:
            self.step_cache.measured(self.sigma, self.errors)
            self.kept_under, self.errors = conditions_of(self.plan), []

    # --- what the transformer asks, for one half in one window ------------------------------------------

    def kept(self, half: int, like: Tensor) -> Features:
        """The features that the last full step left there. Raises ValueError if there was none."""
        return self._cache(half).read(self._window.latents, like.device)

    def keep(self, half: int, features: Features) -> None:
        self._cache(half).write(self._window.latents, features)

    @property
    def measures(self) -> bool:
        """Whether what is kept is asked how far off it would have been."""
        return self.step_cache is not None and self.kept_under == conditions_of(self.plan)

    def note_error(self, found: Tensor, exact: Tensor) -> None:
        self.errors.append(relative_error(found, exact))

    def opened(self) -> Opening | None:
        """The first blocks of this window, if the other half has gone through them in this step."""
        start = self.start
        if start is None or start.window != self.window or start.sigma != self.sigma:
            return None
        self.start = None
        return start.opening

    def leave_open(self, opening: Opening) -> None:
        self.start = Start(self._window, self.sigma, opening)

    @property
    def _window(self) -> Window:
        if self.window is None:
            raise ValueError("Avatar's model was asked outside of a window. Sample it with a sampler.")
        return self.window

    def _cache(self, half: int) -> FeatureRing:
        return self.caches.setdefault(half, FeatureRing(self.ring_latents, self.keep_on))


def run_in(options: Mapping[str, Any]) -> AvatarRun | None:
    """The run in some transformer_options, if one is on."""
    return options.get(RUN_KEY)
