"""Whether a long film's sound stays on time: the bars of synchrony, minute by minute.

    python tools/eval_film.py [--minutes 5] [--kind ball] [--steps 25] [--weights DIR] [--seed N]

A held-out scene of that length is rendered, its sound made in windows as `foley` makes it, and its onsets are
compared with the impacts, which are known. Exit status 1 if a minute misses a bar.
"""

import argparse
import sys
from fractions import Fraction

import numpy as np
import torch

import _pack  # noqa: F401 - makes hunyuan_av importable
from eval_generate import add_options
from eval_scenes import LARGEST_OFFSET, LEAST_MATCHED, MOST_FALSE, impacts
from eval_seams import film_sound
from hunyuan_av.cli.foley_models import FoleyModels
from hunyuan_av.host.standalone.memory import Placement
from hunyuan_av.hunyuan.foley.synchrony import Synchrony, find_onsets, match
from hunyuan_av.hunyuan.foley.timing import SAMPLE_RATE
from hunyuan_av.hunyuan.long_form.plan import FilmPlan
from hunyuan_av.training.scenes import KINDS, Scene

MINUTE = 60.0


@torch.no_grad()
def main() -> int:
    options = parse()
    models = FoleyModels.load(options.weights, None, Placement.choose(options.device))
    seconds = Fraction(options.minutes) * 60
    scene = Scene.draw(options.seed, "held-out", kind=options.kind, seconds=float(seconds))
    plan = FilmPlan.of_clip(Fraction(0), seconds)
    print(f"{options.minutes} min of {scene.caption}, {len(plan.windows)} windows, weights: {models.origin}")
    sound = film_sound(models, scene, plan, options, options.seed)
    minutes = by_minute(scene, sound)
    for number, (seen, heard) in enumerate(minutes, 1):
        verdict = "ok" if within_bars(seen, heard) else "BELOW"
        print(
            f"minute {number}: {seen.num_events:3d} impacts, {seen.matched:.2f} heard, {heard.false:.2f} of"
            f" the onsets false, median {1000 * seen.absolute_offset:.0f} ms off   {verdict}"
        )
    return 0 if all(within_bars(*minute) for minute in minutes) else 1


def by_minute(scene: Scene, sound: np.ndarray) -> list[tuple[Synchrony, Synchrony]]:
    """Of each minute: its onsets against the impacts that are seen, and against all that are heard."""
    onsets = find_onsets(sound, SAMPLE_RATE)
    everything = [impacts(scene), impacts(scene, visible=False), onsets]
    found = []
    for start in np.arange(0.0, scene.seconds, MINUTE):
        seen, heard, made = (times[(times >= start) & (times < start + MINUTE)] for times in everything)
        found.append((match(seen, made), match(heard, made)))
    return found


def within_bars(seen: Synchrony, heard: Synchrony) -> bool:
    return bool(
        seen.matched >= LEAST_MATCHED and heard.false <= MOST_FALSE and seen.absolute_offset <= LARGEST_OFFSET
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Whether a long film's sound stays on time.")
    parser.add_argument("--minutes", type=int, default=5, help="of film (default: %(default)s)")
    parser.add_argument("--kind", choices=KINDS, default="ball", help="of scene (default: %(default)s)")
    add_options(parser)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
