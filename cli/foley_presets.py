"""How many steps, by which solver, and where guidance acts: the choices that have a name."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Preset:
    """steps, solver: as in `FoleyJob`. guide_from, guide_to: share of the sampling in which guidance acts."""

    steps: int
    solver: str = "euler"
    guide_from: float = 0.0
    guide_to: float = 1.0


DEFAULT = "full"
# `tools/eval_sync.py --tables` measures what fewer steps cost; docs/pocket.md has its figures.
PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "fast": Preset(steps=10, guide_to=0.6),
        "balanced": Preset(steps=25),
        "full": Preset(steps=50),  # as published
    }
)


def with_preset(settings: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    """The settings, and of the preset what they leave open: what is missing or None.

    Raises: ValueError for a preset that is not known.
    """
    if name is not None and name not in PRESETS:
        raise ValueError(f"--preset {name} is not known. Choose one of {', '.join(PRESETS)}.")
    said = {key: value for key, value in settings.items() if value is not None}
    return {**settings, **asdict(PRESETS[name or DEFAULT]), **said}
