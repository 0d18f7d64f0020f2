"""How a video is sampled, in the words of the nodes and the command line."""

from dataclasses import dataclass

from .ring import SHIFT
from .schedule import SCHEDULES, STEP_CACHES, AvatarStep, make_schedule
from .step_cache import TOLERANCE, ErrorDrivenCache
from .timing import WINDOW_LATENTS

CFG = 7.5  # as released
STEPS = 50
FLOW_SHIFT = 5.0  # of the noise levels


@dataclass(frozen=True, kw_only=True)
class AvatarSettings:
    """Everything but the steps: how many there are is told by the noise levels.

    cfg:           guidance at the beginning of the early steps.
    schedule:      "scaled" to the number of steps, or "published", bound to step numbers.
    step_cache:    which steps start from kept features: "scaled", "published", "error-driven" or "off".
    tolerance:     of an error-driven cache, the relative error of a velocity that is let pass.
    mask_strength: multiplies all masks.
    shift:         latents by which windows move from step to step. overlap: latents that windows share.
    """

    cfg: float = CFG
    schedule: str = "scaled"
    step_cache: str = "scaled"
    tolerance: float = TOLERANCE
    mask_strength: float = 1.0
    shift: int = SHIFT
    overlap: int = 0

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES or self.step_cache not in STEP_CACHES:
            raise ValueError(
                f"There is no schedule {self.schedule!r} with step cache {self.step_cache!r}. Choose one of"
                f" {', '.join(SCHEDULES)}, and one of {', '.join(STEP_CACHES)}."
            )
        if self.shift < 0 or not 0 <= self.overlap < WINDOW_LATENTS:
            raise ValueError(
                f"Windows of {WINDOW_LATENTS} latents cannot move by {self.shift} and overlap by"
                f" {self.overlap}: the first is at least 0, the second 0 to {WINDOW_LATENTS - 1}."
            )

    def plan(self, steps: int) -> list[AvatarStep]:
        """What each of the steps does."""
        return make_schedule(
            steps,
            self.cfg,
            schedule=self.schedule,
            step_cache=self.step_cache,
            mask_strength=self.mask_strength,
        )

    def cache(self, steps: int) -> ErrorDrivenCache | None:
        """What decides about kept features while sampling, where the plan does not."""
        return ErrorDrivenCache(steps, self.tolerance) if self.step_cache == "error-driven" else None
