"""What each step of Avatar's loop does: how far it is guided, away from what, and from which features."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

PUBLISHED_STEPS = 50  # the number that the released schedules were made for
EARLY_STEPS = 10  # of these: guided away from the negative prompt too, speech held back
EARLY_VOICE = 0.6  # strength of all masks in early steps
LATE_GUIDANCE = (3.5, 3.0)  # at the end, and how much more at the start
EARLY_END = 2.0  # what guidance of the early steps would fall to at the end

CACHE_FROM, CACHE_UNTIL = 15, 41  # of these: between them only every fifth step is computed
CACHE_PERIOD = 5


@dataclass(frozen=True, kw_only=True)
class AvatarStep:
    """One step of the loop."""

    guidance: float
    negative: bool  # the unguided half has the negative prompt, else the positive: then only speech is guided
    voice_strength: float  # multiplies all masks
    cached: bool  # start from the features of the last full step


def published_schedule(steps: int, cfg: float) -> list[AvatarStep]:
    """The released schedule, bound to step numbers.

    As released: it is made for 50 steps. With fewer, the last ones may run on old features, and every step
    from the 51st does.
    """
    return make_schedule(steps, cfg, schedule="published", step_cache="published")


def scaled_schedule(steps: int, cfg: float, *, cache: bool = True) -> list[AvatarStep]:
    """The same schedule stretched to any number of steps; at 50 steps it is the released one.

    The last step is always computed in full. cache: without it, every step is.
    """
    return make_schedule(steps, cfg, schedule="scaled", step_cache="scaled" if cache else "off")


def make_schedule(
    steps: int,
    cfg: float,
    *,
    schedule: str = "scaled",
    step_cache: str = "scaled",
    mask_strength: float = 1.0,
) -> list[AvatarStep]:
    """Guidance of one kind with a step cache of another.

    schedule:      one of SCHEDULES. step_cache: one of STEP_CACHES; "error-driven" is decided while sampling,
        so here nothing is cached.
    mask_strength: multiplies all masks, besides what the schedule does.
    """
    ratio = PUBLISHED_STEPS / steps if schedule == "scaled" else 1.0
    is_cached = CACHED[step_cache]
    return [
        _step(
            i, steps, cfg,
            early=i * ratio < EARLY_STEPS, cached=is_cached(i, steps), mask_strength=mask_strength,
        )
        for i in range(steps)
    ]  # fmt: skip


def _never(step: int, steps: int) -> bool:
    return False


def _as_published(step: int, steps: int) -> bool:
    return step >= PUBLISHED_STEPS or (CACHE_FROM <= step < CACHE_UNTIL and step % CACHE_PERIOD != 0)


def _scaled(step: int, steps: int) -> bool:
    ratio = PUBLISHED_STEPS / steps
    first, last = CACHE_FROM / ratio, min(CACHE_UNTIL / ratio, steps - 1)
    return first <= step < last and step % CACHE_PERIOD != 0


SCHEDULES = ("scaled", "published")
CACHED: Mapping[str, Callable[[int, int], bool]] = MappingProxyType(
    {"scaled": _scaled, "published": _as_published, "error-driven": _never, "off": _never}
)
STEP_CACHES = tuple(CACHED)


def _step(i: int, steps: int, cfg: float, *, early: bool, cached: bool, mask_strength: float) -> AvatarStep:
    remaining = 1 - i / steps
    end, more = (EARLY_END, cfg - EARLY_END) if early else LATE_GUIDANCE
    return AvatarStep(
        guidance=remaining * more + end,
        negative=early,
        voice_strength=mask_strength * (EARLY_VOICE if early else 1.0),
        cached=cached,
    )
