"""What sound made for held-out scenes is worth, the truth being known: for `eval_sync.py --held-out`."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from eval_generate import Generator, Settings
from eval_material import NAMES, MaterialClassifier
from hunyuan_av.hunyuan.foley.conditions import SYNC, VISUAL
from hunyuan_av.hunyuan.foley.synchrony import APART, Synchrony, find_onsets, match
from hunyuan_av.hunyuan.media.compare import mel_distance, si_sdr
from hunyuan_av.hunyuan.media.measure import SoundMeasures, measure_sound
from hunyuan_av.training.scenes import MATERIALS, SAMPLE_RATE, Scene

CONTROLS = 24  # clips, at most, that are made again: with the wrong picture, with none, with another prompt
RAIN, SILENT = 12, 6  # scenes of their own for what 64 drawn ones show too seldom
OTHERS = 1_000_000  # seeds from here on
RAISED = 2.0  # guidance by the prompt against guidance by the picture, where both disagree
LEAST_MATCHED, MOST_FALSE, LARGEST_OFFSET = 0.9, 0.15, 0.03  # parts, parts, seconds: the bars of timing
NEAR = 0.02  # seconds within which an onset after the VAE is the one before it

Progress = Callable[[Iterable, int, str], Iterable]


@dataclass(frozen=True)
class Figure:
    """One row of the table. bar: what is asked for. met: whether it is reached, None without a bar."""

    name: str
    value: str
    bar: str = ""
    met: bool | None = None

    def __str__(self) -> str:
        verdict = {True: "ok", False: "BELOW", None: ""}[self.met]
        return f"{self.name:<58} {self.value:>12}   {self.bar:<10} {verdict}".rstrip()


def least(name: str, value: float, bar: float, form: str = ".2f") -> Figure:
    return Figure(name, format(value, form), f">= {bar:g}", bool(value >= bar))


def most(name: str, value: float, bar: float, form: str = ".2f") -> Figure:
    return Figure(name, format(value, form), f"<= {bar:g}", bool(value <= bar))


def below(name: str, value: float, bar: float) -> Figure:
    return Figure(name, format(value, ".2f"), f"< {bar:.2f}", bool(value < bar))


def impacts(scene: Scene, visible: bool = True) -> np.ndarray:
    """Times of what is heard; what coincides is heard once."""
    times = [event.time for event in scene.events if event.visible or not visible]
    return np.array([time for i, time in enumerate(times) if i == 0 or time - times[i - 1] > APART])


def pooled(found: Sequence[Synchrony]) -> Synchrony:
    """The figures of many clips as if they were one."""
    matches = tuple((0, 0, offset) for clip in found for _, _, offset in clip.matches)
    return Synchrony(sum(clip.num_events for clip in found), sum(clip.num_onsets for clip in found), matches)


def follow(scenes: Sequence[Scene], sounds: Sequence[np.ndarray]) -> Synchrony:
    """How the sounds follow the visible impacts."""
    return pooled(
        [
            match(impacts(scene), find_onsets(sound, SAMPLE_RATE))
            for scene, sound in zip(scenes, sounds, strict=True)
        ]
    )


def chance(scenes: Sequence[Scene], sounds: Sequence[np.ndarray]) -> Synchrony:
    """How sounds follow the impacts of scenes that they were not made for."""
    found = []
    for turn in range(1, min(4, len(scenes))):
        found += [follow([scene], [sounds[i - turn]]) for i, scene in enumerate(scenes)]
    return pooled(found)


@dataclass(eq=False)
class HeldOut:
    """The held-out scenes of the seeds from 0 on, and what is made for them."""

    generator: Generator
    settings: Settings
    clips: int
    progress: Progress
    seconds: float = 8.0
    sounds: dict[Scene, np.ndarray] = field(default_factory=dict)

    @cached_property
    def scenes(self) -> list[Scene]:
        return [Scene.draw(seed, "held-out", seconds=self.seconds) for seed in range(self.clips)]

    @cached_property
    def struck(self) -> list[Scene]:
        """Scenes with impacts, the first `CONTROLS` of them."""
        return [scene for scene in self.scenes if len(impacts(scene)) > 1][:CONTROLS]

    @cached_property
    def classifier(self) -> MaterialClassifier:
        return MaterialClassifier.of_scenes()

    def of_kind(self, kind: str, count: int) -> list[Scene]:
        """Scenes of one kind, beyond the seeds of the others."""
        return [
            Scene.draw(OTHERS + seed, "held-out", kind=kind, seconds=self.seconds) for seed in range(count)
        ]

    def make(self, scenes: Sequence[Scene], what: str, **how) -> list[np.ndarray]:
        """A sound for each scene. how: as in `Generator.sound`, the same for all."""
        watched = self.progress(scenes, len(scenes), what)
        return [self.generator.sound(scene, self.settings, **how) for scene in watched]

    def of(self, scenes: Sequence[Scene], what: str) -> list[np.ndarray]:
        """The sounds of scenes as a user would make them, made once."""
        missing = [scene for scene in scenes if scene not in self.sounds]
        self.sounds.update(zip(missing, self.make(missing, what), strict=True))
        return [self.sounds[scene] for scene in scenes]


def timing(held: HeldOut) -> list[Figure]:
    """Impacts are heard when they are seen."""
    sounds = held.of(held.scenes, "Held-out scenes")
    seen = follow(held.scenes, sounds)
    all_heard = pooled(
        [
            match(impacts(scene, visible=False), find_onsets(sound, SAMPLE_RATE))
            for scene, sound in zip(held.scenes, sounds, strict=True)
        ]
    )
    return [
        least("visible impacts with an onset within 80 ms", seen.matched, LEAST_MATCHED),
        most("onsets without an impact", all_heard.false, MOST_FALSE),
        most("median absolute offset, ms", 1000 * seen.absolute_offset, 1000 * LARGEST_OFFSET, ".0f"),
        Figure("median offset, ms", format(1000 * seen.offset, "+.0f")),
    ]


def controls(held: HeldOut) -> list[Figure]:
    """The picture drives the timing: with another clip's picture, and with none, it is lost."""
    scenes = held.struck
    own = follow(scenes, held.of(scenes, "Held-out scenes"))
    others = [*scenes[1:], *scenes[:1]]
    pairs = held.progress(list(zip(scenes, others, strict=True)), len(scenes), "Another clip's picture")
    swapped = [held.generator.sound(scene, held.settings, picture=other) for scene, other in pairs]
    blind = held.make(scenes, "No picture", drop=frozenset({VISUAL, SYNC}))
    by_chance = chance(scenes, blind).matched
    margin = 0.05 + 2 * float(np.sqrt(0.25 / max(1, follow(scenes, blind).num_events)))
    return [
        Figure(f"impacts matched, own picture ({len(scenes)} clips)", format(own.matched, ".2f")),
        below("impacts matched, another clip's picture", follow(scenes, swapped).matched, own.matched / 2),
        below("impacts matched, no picture", follow(scenes, blind).matched, by_chance + margin),
        Figure("  chance: the same sounds, other scenes' impacts", format(by_chance, ".2f")),
    ]


def materials(held: HeldOut) -> list[Figure]:
    """The sound is that of the material, and of the prompt's if the prompt insists."""
    tell = held.classifier.classify
    scenes = [
        scene for scene in held.scenes if scene.material in NAMES and len(scene.sources) == 1 and scene.events
    ]
    right = [
        tell(sound) == scene.material
        for scene, sound in zip(scenes, held.of(scenes, "Held-out scenes"), strict=True)
    ]
    truth = [tell(scene.waveform()) == scene.material for scene in scenes]
    insisting = replace(held.settings, text_scale=RAISED)
    asked = [(scene, other_material(scene)) for scene in scenes[:CONTROLS]]
    obeyed = [
        tell(held.generator.sound(scene, insisting, prompt=scene.caption_for(wanted))) == wanted
        for scene, wanted in held.progress(asked, len(asked), "Another prompt")
    ]
    return [
        Figure("material of true sounds is told", format(np.mean(truth), ".2f")),
        least("material of generated sounds is told", float(np.mean(right)), 0.85),
        least(f"the prompt's material wins, text guidance x {RAISED:g}", float(np.mean(obeyed)), 0.7),
    ]


def other_material(scene: Scene) -> str:
    """Another material that the same kind of thing may have; a different one for each scene."""
    others = [material for material in MATERIALS[scene.kind] if material != scene.material]
    return others[len(scene.events) % len(others)]


def quiet_and_rain(held: HeldOut) -> list[Figure]:
    """Rain is as loud as it looks, and where nothing happens nothing is heard."""
    from scipy.stats import spearmanr

    rain, silent = held.of_kind("rain", RAIN), held.of_kind("silence", SILENT)
    densities = [
        np.mean([scene.density(time) for time in np.arange(0, scene.seconds, 0.5)]) for scene in rain
    ]
    levels = [np.sqrt(np.mean(sound**2)) for sound in held.of(rain, "Rain")]
    loudest = max(measured(sound).loudness for sound in held.of(silent, "Silence"))
    return [
        least(f"rank correlation of rain's density and level ({RAIN})", spearmanr(densities, levels)[0], 0.8),
        most(f"loudest silent scene of {SILENT}, LUFS", loudest, -50, ".1f"),
    ]


def measured(sound: np.ndarray) -> SoundMeasures:
    return measure_sound(sound[None], SAMPLE_RATE)


def faults(held: HeldOut) -> list[Figure]:
    """What no sound may have."""
    measures = [measured(sound) for sound in held.of(held.scenes, "Held-out scenes")]
    clicks = [
        max(one.clicks) for one, scene in zip(measures, held.scenes, strict=True) if ends_quietly(scene)
    ]
    return [
        most("highest peak, dBFS", max(one.peak for one in measures), -1, ".1f"),
        most("largest DC", max(abs(one.offset) for one in measures), 0.005, ".4f"),
        Figure("median click at the ends, dB", format(np.median(clicks), ".1f") if clicks else "-"),
        Figure("median bandwidth, Hz", format(np.median([one.bandwidth for one in measures]), ".0f")),
    ]


def ends_quietly(scene: Scene) -> bool:
    """Whether nothing is struck near either end: an impact there is no click."""
    return all(0.1 < event.time < scene.seconds - 0.1 for event in scene.events)


def round_trips(held: HeldOut) -> list[Figure]:
    """What the VAE alone does to true sounds."""
    true = [scene.waveform() for scene in held.scenes]
    coded = [
        held.generator.round_trip(sound)
        for sound in held.progress(true, len(true), "Through the VAE and back")
    ]
    loud = [(a, b) for scene, a, b in zip(held.scenes, true, coded, strict=True) if scene.kind != "silence"]
    kept = pooled([match(find_onsets(a, SAMPLE_RATE), find_onsets(b, SAMPLE_RATE), NEAR) for a, b in loud])
    return [
        Figure("VAE: mel distance, dB", format(np.mean([mel_distance(a, b) for a, b in loud]), ".1f")),
        Figure("VAE: SI-SDR, dB", format(np.mean([si_sdr(a, b) for a, b in loud]), ".1f")),
        Figure("VAE: onsets kept", format(kept.matched, ".2f")),
        most("VAE: median absolute move of onsets, ms", 1000 * kept.absolute_offset, 5, ".1f"),
    ]


SECTIONS = {
    "1  Timing": timing,
    "2  The picture drives it": controls,
    "3  Material": materials,
    "4  Rain and silence": quiet_and_rain,
    "5  VAE": round_trips,
    "7  Faults": faults,
}
