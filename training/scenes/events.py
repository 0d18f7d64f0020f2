"""What can be seen and heard, and how it is said."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

IMPACTS = ("ball", "hammer", "footsteps", "door")  # kinds whose sound is a row of events
KINDS = (*IMPACTS, "rain", "silence", "two")
WEIGHTS = (0.30, 0.17, 0.20, 0.09, 0.09, 0.06, 0.09)  # how often a seed draws each kind

MATERIALS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ball": ("wood", "metal", "rubber", "glass"),
        "hammer": ("wood", "metal"),
        "footsteps": ("gravel", "wood", "metal"),
        "door": ("wood", "metal"),
        "rain": ("water",),
        "silence": ("none",),
    }
)

ADJECTIVES = {"wood": "wooden"}
PHRASES = {
    "ball": (
        "a {adjective} ball bouncing",
        "a bouncing {adjective} ball",
        "a {adjective} ball hits the floor",
    ),
    "hammer": ("a hammer striking {material}", "hammering on {material}", "a hammer hits {material}"),
    "footsteps": ("footsteps on {material}", "someone walking on {material}", "steps on {material}"),
    "door": ("a {adjective} door slamming", "a {adjective} door slams shut", "slamming a {adjective} door"),
    "rain": ("{amount} rain", "{amount} rain falling", "the sound of {amount} rain"),
    "silence": ("silence", "a quiet scene, no sound", "nothing can be heard"),
}
AMOUNTS = ((0.25, "light"), (0.6, "steady"), (1.0, "heavy"))  # densities up to which rain is called so


@dataclass(frozen=True)
class Event:
    """Something that is heard at `time` seconds. strength: 0 to 1. visible: whether the picture shows it."""

    time: float
    kind: str
    material: str
    strength: float
    visible: bool


def phrase(kind: str, material: str, density: float, choice: int) -> str:
    """What is heard, in words. choice: which of the wordings."""
    wordings = PHRASES[kind]
    amount = next(name for limit, name in AMOUNTS if density <= limit)
    adjective = ADJECTIVES.get(material, material)
    return wordings[choice % len(wordings)].format(material=material, adjective=adjective, amount=amount)


def draw_kind(rng: np.random.Generator) -> str:
    return str(rng.choice(KINDS, p=WEIGHTS))
