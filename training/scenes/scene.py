"""One clip: drawn from a seed, looked at and listened to at any time."""

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from .actors import ACTORS, Actor, Stage
from .backdrop import Backdrop
from .events import IMPACTS, KINDS, MATERIALS, Event, draw_kind, phrase
from .synthesis import SAMPLE_RATE, SteadyNoise, Strikes, limit, place
from .weather import DENSE, Drifter, Rain

Split = Literal["train", "held-out"]
SPLITS = {"train": 0, "held-out": 1}
FRAME_RATES = (24.0, 25.0, 30_000 / 1001, 30.0, 60.0)
SECONDS = 8.0
SIZE = 128  # pixels, height of the picture, and width unless another is asked for
ROOM_LEVEL = 1e-4  # RMS, -80 dBFS
ROOM_BAND = (80.0, 4000.0)  # Hz
CEILING = 0.7  # -3 dBFS
RAIN_BESIDE = 0.22  # densest rain in which something else is still heard
EDGE = 0.47  # picture heights from the middle, at the floor, as far as things are seen


@dataclass(frozen=True)
class Source:
    """Something that sounds by impacts: what it is, and its looks and its sounds."""

    kind: str
    material: str
    actor: Actor
    strikes: Strikes

    def dubbed(self, material: str) -> "Source":
        strikes = Strikes(
            self.kind, material, self.strikes.distance, np.random.default_rng(self.strikes.seed)
        )
        return replace(self, material=material, strikes=strikes)


class Scene:
    """What a seed gives. `Scene.draw` makes one; nothing of it ever changes."""

    def __init__(
        self, rng: np.random.Generator, kind: str | None, material: str | None, seconds: float
    ) -> None:
        drawn, drawn_fps = draw_kind(rng), float(rng.choice(FRAME_RATES))
        self.kind, self.fps, self.seconds = kind or drawn, drawn_fps, seconds
        self._backdrop, self._wording = Backdrop(rng), int(rng.integers(1 << 16))
        self._room = SteadyNoise(ROOM_BAND, int(rng.integers(1 << 62)))
        kinds = two_kinds(rng) if self.kind == "two" else [self.kind]
        materials = [material or str(rng.choice(MATERIALS[kind])) for kind in kinds]
        self._rain = self._drifter = None
        self._struck: list[Source] = []
        stages = self._stages(sum(kind in IMPACTS for kind in kinds), rng)
        for part, its_material in zip(kinds, materials, strict=True):
            if part == "rain":
                self._rain = Rain(seconds, DENSE if self.kind == "rain" else RAIN_BESIDE, rng)
            elif part == "silence":
                self._drifter = Drifter(rng)
            else:
                self._struck.append(source(part, its_material, stages.pop(), rng))
        self.material = materials[0]
        self.sources = tuple(zip(kinds, materials, strict=True))

    @classmethod
    def draw(
        cls,
        seed: int,
        split: Split = "train",
        *,
        kind: str | None = None,
        material: str | None = None,
        seconds: float = SECONDS,
    ) -> "Scene":
        """The scene of a seed. kind and material: taken instead of what the seed would draw.

        Raises: ValueError for a split, a kind, or a material that the kind does not have.
        """
        if split not in SPLITS:
            raise ValueError(f"There is no split {split!r}. Choose one of {', '.join(SPLITS)}.")
        if kind is not None and kind not in KINDS:
            raise ValueError(f"There are no scenes of kind {kind!r}. Choose one of {', '.join(KINDS)}.")
        if material is not None and material not in MATERIALS.get(kind or "", ()):
            raise ValueError(
                f"No scene of kind {kind!r} is of {material!r}. Name a kind and one of MATERIALS[kind]."
            )
        if not 0 < seconds < float("inf"):
            raise ValueError(f"A scene of {seconds:g} s has no length. Choose more than 0 s.")
        return cls(np.random.default_rng([SPLITS[split], seed]), kind, material, seconds)

    def _stages(self, count: int, rng: np.random.Generator) -> list[Stage]:
        """Where things stand: one in the middle, or two side by side and smaller."""
        floor = self._backdrop.floor
        if count < 2:
            return [Stage(rng.uniform(-0.06, 0.06), floor, rng.uniform(0.8, 1.08), self.seconds)]
        return [Stage(x, floor, rng.uniform(0.62, 0.72), self.seconds) for x in (-0.24, 0.24)]

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """Everything that is heard at a certain time, in order."""
        events = [
            Event(impact.time, part.kind, part.material, impact.strength, self._sees(impact.time, impact.x))
            for part in self._struck
            for impact in part.actor.impacts
            if impact.time < self.seconds
        ]
        return tuple(sorted(events, key=lambda event: event.time))

    def _sees(self, time: float, x: float) -> bool:
        return bool(abs(x - self._backdrop.camera(time)[0]) < EDGE)

    @property
    def caption(self) -> str:
        """What is heard, in words."""
        return self._caption([material for _, material in self.sources])

    def caption_for(self, material: str) -> str:
        """The caption had everything that is struck been of another material."""
        return self._caption([material if kind in IMPACTS else own for kind, own in self.sources])

    def dubbed(self, material: str) -> "Scene":
        """The same picture, what is struck in it with the sounds and the words of another material."""
        other = copy(self)
        other._struck = [part.dubbed(material) for part in self._struck]
        other.sources = tuple((kind, material if kind in IMPACTS else own) for kind, own in self.sources)
        other.material = other.sources[0][1]
        other.__dict__.pop("events", None)  # they name the material
        return other

    def _caption(self, materials: list[str]) -> str:
        density = np.mean([self.density(time) for time in np.linspace(0, self.seconds, 17)])
        phrases = [
            phrase(kind, material, float(density), self._wording // 7**i)
            for i, ((kind, _), material) in enumerate(zip(self.sources, materials, strict=True))
        ]
        return " and ".join(phrases)

    def density(self, time: float) -> float:
        """Of the rain at this time: 0 to 1."""
        return self._rain.density(time) if self._rain else 0.0

    # --- picture --------------------------------------------------------------------------------------------

    def frames(
        self,
        fps: float | None = None,
        size: int | tuple[int, int] = SIZE,
        start: float = 0.0,
        seconds: float | None = None,
    ) -> np.ndarray:
        """(t, h, w, 3) uint8: the pictures at start, start + 1 / fps, ... before start + seconds.

        fps:  of the scene itself if it is left out. size: pixels; height and width, or of a square.
        """
        return np.stack([frame for _, frame in self.stream(fps, size, start, seconds)])

    def stream(
        self,
        fps: float | None = None,
        size: int | tuple[int, int] = SIZE,
        start: float = 0.0,
        seconds: float | None = None,
    ) -> Iterator[tuple[float, np.ndarray]]:
        """The same one by one, each (h, w, 3) with its time in seconds after `start`."""
        fps = fps or self.fps
        seconds = self.seconds - start if seconds is None else seconds
        painter = self._backdrop.painter(*((size, size) if isinstance(size, int) else size))
        for i in range(int(np.ceil(seconds * fps - 1e-6))):
            canvas = painter.canvas(start + i / fps)
            for part in (*(source.actor for source in self._struck), self._drifter, self._rain):
                if part is not None:
                    part.paint(canvas, start + i / fps)
            yield i / fps, painter.finish(canvas)

    # --- sound ----------------------------------------------------------------------------------------------

    def waveform(self, start: float = 0.0, seconds: float | None = None) -> np.ndarray:
        """(samples,) float32 at 48 kHz, mono, always below -3 dBFS."""
        seconds = self.seconds - start if seconds is None else seconds
        first, samples = round(start * SAMPLE_RATE), round(seconds * SAMPLE_RATE)
        sound = np.zeros(samples, np.float32)
        for part in self._struck:
            for number, impact in enumerate(part.actor.impacts):
                onset = round(impact.time * SAMPLE_RATE)
                if onset < first + samples and onset + part.strikes.samples > first:
                    place(sound, part.strikes.strike(impact.strength, number), onset - first)
        if self._rain:
            sound += self._rain.sound(first, samples, SAMPLE_RATE)
        return limit(sound, CEILING) + np.float32(ROOM_LEVEL) * self._room.part(first, samples)


def source(kind: str, material: str, stage: Stage, rng: np.random.Generator) -> Source:
    actor = ACTORS[kind](material, stage, rng)
    return Source(kind, material, actor, Strikes(kind, material, stage.distance, rng))


def two_kinds(rng: np.random.Generator) -> list[str]:
    """Two things that can be told apart: both struck, or one of them in the rain."""
    first, second = rng.choice([*IMPACTS, "rain"], 2, replace=False)
    return [str(second), str(first)] if first == "rain" else [str(first), str(second)]
