"""How guidance, steps, solver and length change what is made for held-out scenes: `eval_sync.py --tables`."""

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from eval_generate import Settings
from eval_scenes import HeldOut, follow
from hunyuan_av.hunyuan.foley.synchrony import Synchrony
from hunyuan_av.training.scenes import Scene

SCALES = (1.0, 1.5, 2.0, 3.0, 4.5, 8.0)
STEPS = (10, 25, 50)
STAGES = {"euler": 1, "heun": 2, "midpoint": 2, "rk4": 4}  # network calls in a step
CALLS = 48  # that each solver gets
CLIPS = 12
FEW_SOLVERS, FEW_STEPS = ("euler", "midpoint", "heun"), (6, 8, 10, 16)
LENGTHS, KINDS = (2.0, 3.0, 5.0, 6.0, 8.0, 9.92), ("ball", "hammer")  # seconds; of each, `CLIPS` scenes
PARTS = {"all": 1.0, "first 60 %": 0.6}  # of the sampling, in which guidance acts

HEADER = f"{'':<22} {'matched':>8} {'false':>8} {'|offset| ms':>12} {'material':>9} {'s a clip':>9}"


def tables(held: HeldOut) -> None:
    """Print them."""
    print_table(
        "Guidance scale", {f"cfg {scale:g}": replace(held.settings, cfg=scale) for scale in SCALES}, held
    )
    print_table("Steps", {f"{steps} steps": replace(held.settings, steps=steps) for steps in STEPS}, held)
    solvers = {
        f"{name}, {CALLS // stages} steps": replace(held.settings, solver=name, steps=CALLS // stages)
        for name, stages in STAGES.items()
    }
    print_table(f"Solvers at {CALLS} network calls", solvers, held)
    print_table("Few steps", few_steps(held.settings), held)
    lengths(held)


def few_steps(settings: Settings) -> dict[str, Settings]:
    """Every solver at every small number of steps, guided throughout and at first only."""
    return {
        f"{solver} {steps}, {part}": replace(
            settings, solver=solver, steps=steps, guide_from=0.0, guide_to=end
        )
        for solver, steps, (part, end) in product(FEW_SOLVERS, FEW_STEPS, PARTS.items())
    }


def print_table(title: str, rows: dict[str, Settings], held: HeldOut) -> None:
    scenes = held.struck[:CLIPS]
    print(f"\n{title} ({len(scenes)} clips)\n{HEADER}")
    for name, settings in rows.items():
        print_row(name, scenes, settings, held)


def lengths(held: HeldOut) -> None:
    """Print how clips of other lengths do."""
    print(f"\nLengths ({CLIPS} clips each)\n{HEADER}")
    for seconds, kind in product(LENGTHS, KINDS):
        scenes = replace(held, seconds=seconds).of_kind(kind, CLIPS)
        print_row(f"{seconds:g} s, {kind}", scenes, held.settings, held)


def print_row(name: str, scenes: Sequence[Scene], settings: Settings, held: HeldOut) -> None:
    found, right, seconds = try_out(scenes, settings, held)
    print(
        f"{name:<22} {found.matched:>8.2f} {found.false:>8.2f} {1000 * found.absolute_offset:>12.0f}"
        f" {right:>9.2f} {seconds:>9.1f}",
        flush=True,
    )


def try_out(scenes: Sequence[Scene], settings: Settings, held: HeldOut) -> tuple[Synchrony, float, float]:
    """How sounds follow their pictures, the share whose material is told, and seconds for each."""
    for scene in scenes:
        held.generator.features(scene)
    started = time.perf_counter()
    sounds = [held.generator.sound(scene, settings) for scene in scenes]
    seconds = (time.perf_counter() - started) / len(scenes)
    plain = [(scene, sound) for scene, sound in zip(scenes, sounds, strict=True) if len(scene.sources) == 1]
    right = [held.classifier.classify(sound) == scene.material for scene, sound in plain]
    return follow(scenes, sounds), sum(right) / max(1, len(right)), seconds
