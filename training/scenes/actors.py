"""Things that are struck: a ball, a hammer, feet, a door. Each moves along a path and sounds where that hits.

Every actor stands on a `Stage`, has `impacts`, and paints itself at any time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .looks import Look
from .motion import Path
from .painting import Bar, Box, Canvas, Ellipse, Leaf

PUFF_SECONDS = 0.16  # how long what an impact throws up is seen
PUFF = (0.95, 0.92, 0.85)
SPARKS = (1.0, 0.9, 0.45)
CLOSEST = 0.2  # seconds between two impacts of one thing
BOUNCE = {"wood": 0.62, "metal": 0.7, "rubber": 0.85, "glass": 0.75}  # of a ball's speed, what is left


@dataclass(frozen=True)
class Stage:
    """Where a thing stands: x of its middle, y of the floor, and how large, and so how near, it is."""

    x: float
    floor: float
    scale: float
    seconds: float

    @property
    def distance(self) -> float:
        """1 for a thing at full size."""
        return self.scale**-0.7


@dataclass(frozen=True)
class Impact:
    """At `time` seconds, of this strength (0 to 1), at this place."""

    time: float
    strength: float
    x: float
    y: float


class Actor(Protocol):
    impacts: list[Impact]

    def paint(self, canvas: Canvas, time: float) -> None: ...


class Ball:
    """Dropped, bouncing until it lies, lifted to another place and dropped again."""

    def __init__(self, material: str, stage: Stage, rng: np.random.Generator) -> None:
        self.look, self.stage, self.impacts = Look.draw(material, rng), stage, []
        self.radius = rng.uniform(0.09, 0.125) * stage.scale
        self.gravity = rng.uniform(2.6, 5.0) * stage.scale
        self.bounce = BOUNCE[material] * rng.uniform(0.94, 1.06)
        self.low = stage.floor - self.radius
        self.reach = 0.22 * stage.scale
        x = stage.x + rng.uniform(-1, 1) * self.reach
        self.path = Path((x, self.low - self._height(rng)))
        self.path.hold(rng.uniform(0.05, 0.6))
        while self.path.end < stage.seconds:
            self._drop(rng)

    def _height(self, rng: np.random.Generator) -> float:
        return rng.uniform(0.35, 0.62) * self.stage.scale

    def _drop(self, rng: np.random.Generator) -> None:
        x, y = self.path.position
        down = np.array([0.0, self.gravity])
        speed = hardest = np.sqrt(2 * self.gravity * (self.low - y))
        sideways = (self.stage.x - x) * rng.uniform(0.1, 0.6)
        self.path.fly((sideways, 0.0), down, speed / self.gravity)
        self._hit(speed)
        while 2 * (speed := speed * self.bounce) / self.gravity > CLOSEST and speed > 0.3 * hardest:
            self.path.fly((sideways, -speed), down, 2 * speed / self.gravity)
            self._hit(speed)
        self.path.hold(rng.uniform(0.15, 0.6))
        target = self.stage.x + rng.uniform(-1, 1) * self.reach, self.low - self._height(rng)
        self.path.glide(target, rng.uniform(0.5, 0.9)).hold(rng.uniform(0.05, 0.4))

    def _hit(self, speed: float) -> None:
        strength = float(np.clip(speed / (2.4 * np.sqrt(self.stage.scale * self.gravity / 3.8)), 0.25, 1))
        x, y = self.path.position
        self.impacts.append(Impact(self.path.end, strength, x, y + self.radius))

    def paint(self, canvas: Canvas, time: float) -> None:
        x, y = self.path(time)
        air = (self.low - y) / (0.6 * self.stage.scale)
        floor, r = self.stage.floor, self.radius
        canvas.paint(Ellipse(x, floor + 0.1 * r, r * (1 + 0.4 * air), 0.25 * r), (0, 0, 0), 0.5 - 0.35 * air)
        flat = 0.4 * after_impact(self.impacts, time, lambda age: np.exp(-age / 0.045))
        self.look.ball(canvas, Ellipse(x, y + flat * r, r * (1 + 0.6 * flat), r * (1 - flat)))
        paint_puffs(canvas, self.impacts, time, r, PUFF)


class Hammer:
    """Swung about the end of its handle, onto a block of the material that is heard."""

    def __init__(self, material: str, stage: Stage, rng: np.random.Generator) -> None:
        self.look, self.stage, self.impacts = Look.draw(material, rng), stage, []
        self.side = rng.choice([-1, 1])
        self.length = rng.uniform(0.36, 0.42) * stage.scale
        self.head = 0.09 * stage.scale
        self.block = rng.uniform(0.14, 0.2) * stage.scale  # its height
        self.handle = np.array([0.35, 0.22, 0.1]) * rng.uniform(0.8, 1.3)
        self.pivot = (
            stage.x + self.side * self.length * 0.75, stage.floor - self.block - self.head * 0.75
        )  # fmt: skip
        self.path = Path(rng.uniform(0.7, 1.1))
        self.path.hold(rng.uniform(0.1, 0.6))
        while self.path.end < stage.seconds:
            self._strike(rng)

    def _strike(self, rng: np.random.Generator) -> None:
        raised = float(self.path.position[0])
        strength = (raised - 0.2) / 1.1
        self.path.strike(0.0, rng.uniform(0.11, 0.16))
        x, y = self._head(0.0)
        self.impacts.append(Impact(self.path.end, strength, x, y + 0.75 * self.head))
        self.path.hold(0.06).glide(rng.uniform(0.75, 1.3), rng.uniform(0.2, 0.5))
        self.path.hold(rng.uniform(0.0, 0.7) * rng.integers(0, 2) + 0.03)

    def _head(self, angle: float) -> tuple[float, float]:
        x, y = self.pivot
        return x - self.side * self.length * np.cos(angle), y - self.length * np.sin(angle)

    def paint(self, canvas: Canvas, time: float) -> None:
        stage, size = self.stage, self.head
        middle = self._head(0.0)[0]
        canvas.paint(
            Box(middle - 1.7 * size, stage.floor - self.block, middle + 1.7 * size, stage.floor + 0.03),
            self.look.flat,
        )
        angle = float(self.path(time)[0])
        x, y = self._head(angle)
        # The head stands across the handle.
        across_x, across_y = -self.side * np.sin(angle) * size * 0.4, np.cos(angle) * size * 0.4
        canvas.paint(Bar(*self.pivot, x, y, 0.2 * size), self.handle)
        canvas.paint(
            Bar(x - across_x, y - across_y, x + across_x, y + across_y, 0.35 * size), (0.12, 0.12, 0.14)
        )
        paint_puffs(canvas, self.impacts, time, size, SPARKS if self.look.material == "metal" else PUFF)


class Footsteps:
    """Two feet, lifted and set down in turn, on a slab of the material that is heard."""

    def __init__(self, material: str, stage: Stage, rng: np.random.Generator) -> None:
        self.look, self.stage, self.impacts = Look.draw(material, rng), stage, []
        self.shoe = np.array([0.13, 0.1, 0.09]) * rng.uniform(0.7, 1.5)
        self.cloth = rng.uniform(0.15, 0.5) * (1 + rng.uniform(-0.3, 0.3, 3))
        self.size = 0.085 * stage.scale
        self.facing = rng.choice([-1, 1])
        spread = 0.14 * stage.scale
        self.feet = [Path((stage.x + side * spread, stage.floor - 0.5 * self.size)) for side in (-1, 1)]
        pace = rng.uniform(0.42, 0.75)
        time, foot = rng.uniform(0.5, 0.8), int(rng.integers(2))
        while time < stage.seconds:
            self._step(foot, time, rng)
            pause = rng.uniform(0.3, 0.9) if rng.uniform() < 0.12 else 0.0
            time, foot = time + pace * rng.uniform(0.88, 1.12) + pause, 1 - foot

    def _step(self, foot: int, time: float, rng: np.random.Generator) -> None:
        """Set a foot down at `time`."""
        path = self.feet[foot]
        ground = path.position.copy()
        strength = rng.uniform(0.5, 1.0)
        raised = ground - (0.0, (0.07 + 0.12 * strength) * self.stage.scale)
        fall = rng.uniform(0.1, 0.14)
        lift = min(rng.uniform(0.25, 0.35), time - fall - path.end)
        path.hold_until(time - fall - lift).glide(raised, lift).strike(ground, fall)
        x, y = ground
        self.impacts.append(Impact(path.end, strength, x, y + 0.5 * self.size))

    def paint(self, canvas: Canvas, time: float) -> None:
        stage, size = self.stage, self.size
        wide = 0.34 * stage.scale
        slab = Box(stage.x - wide, stage.floor, stage.x + wide, stage.floor + 0.13)
        canvas.paint(slab, self.look.flat)
        for path in self.feet:
            x, y = path(time)
            canvas.paint(Bar(x, y - 0.5 * size, x, -0.3, 0.75 * size), self.cloth)
            toe = x + self.facing * 0.9 * size
            canvas.paint(Bar(x - self.facing * 0.3 * size, y, toe, y + 0.08 * size, 0.48 * size), self.shoe)
        paint_puffs(canvas, self.impacts, time, size, PUFF)


class Door:
    """Opened slowly and slammed."""

    def __init__(self, material: str, stage: Stage, rng: np.random.Generator) -> None:
        self.look, self.stage, self.impacts = Look.draw(material, rng), stage, []
        self.hinge = rng.choice([-1, 1])
        self.wide, self.high = 0.4 * stage.scale, rng.uniform(0.54, 0.62) * stage.scale
        self.path = Path(0.0)
        self.path.hold(rng.uniform(0.0, 0.4))
        while self.path.end < stage.seconds:
            opened = rng.uniform(0.7, 1.25)
            self.path.glide(opened, rng.uniform(0.5, 1.1)).hold(rng.uniform(0.05, 0.5))
            self.path.strike(0.0, rng.uniform(0.16, 0.26))
            x = stage.x + self.hinge * self.wide / 2
            strength = float(np.clip(0.45 + 0.55 * (opened - 0.6) / 0.6, 0, 1))
            self.impacts.append(Impact(self.path.end, strength, x, stage.floor - self.high / 2))
            self.path.hold(rng.uniform(0.3, 1.2))

    def paint(self, canvas: Canvas, time: float) -> None:
        stage, wide, high = self.stage, self.wide, self.high
        left, right, top, floor = stage.x - wide / 2, stage.x + wide / 2, stage.floor - high, stage.floor
        frame = 0.025
        canvas.paint(Box(left - frame, top - frame, right + frame, floor), (0.85, 0.83, 0.8))
        canvas.paint(Box(left, top, right, floor), (0.05, 0.05, 0.06))
        angle = float(self.path(time)[0])
        hung = left if self.hinge > 0 else right
        free = hung + self.hinge * wide * np.cos(angle)
        nearer = 0.16 * high * np.sin(angle)
        dim = 1 - 0.35 * np.sin(angle)
        leaf = Leaf(hung, top, floor, free, top - nearer, floor + 0.6 * nearer)
        canvas.paint(leaf, self.look.darker(dim))
        knob = hung + 0.86 * (free - hung)
        canvas.paint(Ellipse(knob, top + high * 0.52, 0.02, 0.02), (0.9, 0.75, 0.2))
        shake = after_impact(self.impacts, time, lambda age: np.exp(-age / 0.06))
        canvas.paint(Box(left - frame, top - frame, right + frame, floor), (1, 1, 1), 0.35 * shake)


# --- what an impact leaves ----------------------------------------------------------------------------------


def after_impact(impacts: list[Impact], time: float, trace: Callable[[float], float]) -> float:
    """The trace, a function of the seconds since it, that the latest impact leaves; 0 before the first."""
    past = [impact for impact in impacts if impact.time <= time]
    return float(trace(time - past[-1].time)) * past[-1].strength if past else 0.0


def paint_puffs(
    canvas: Canvas, impacts: list[Impact], time: float, size: float, colour: tuple[float, float, float]
) -> None:
    """Dust or sparks to both sides of each fresh impact."""
    for impact in impacts:
        age = (time - impact.time) / PUFF_SECONDS
        if not 0 <= age < 1:
            continue
        reach = size * (0.9 + 1.8 * age) * (0.6 + 0.4 * impact.strength)
        for side in (-1, 1):
            puff = Ellipse(impact.x + side * reach, impact.y - 0.5 * age * size, 0.65 * size, 0.42 * size)
            canvas.paint(puff, colour, 0.95 * (1 - age))


ACTORS = {"ball": Ball, "hammer": Hammer, "footsteps": Footsteps, "door": Door}
