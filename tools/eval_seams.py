"""Whether the joins of long sounds can be heard, in figures.

    python tools/eval_seams.py FILE [FILE ...] [--shots FILE|auto] [--start S] [--seconds S] [--overlap S]
    python tools/eval_seams.py --rain 4 --steps 25 [--shots-every S] [--weights DIR] [--seed N]
    python tools/eval_seams.py --once-or-twice 4 --steps 25 [--weights DIR] [--seed N]

Of files with sound: for each place where windows or shots meet, how much the level jumps there, and whether
the spectrum moves more than it does elsewhere. Of held-out scenes of steady rain, for which it makes the
sound, and which --shots-every cuts into shots: the same, against the bars. Of scenes with impacts, 10 s made
in one window and in two: how far apart the onsets are. Exit status 1 if a bar is missed.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from itertools import count, islice
from pathlib import Path

import numpy as np
import torch

import _pack  # noqa: F401 - makes hunyuan_av importable
from eval_generate import add_options
from hunyuan_av.cli.foley_film import shots_of
from hunyuan_av.cli.foley_models import FoleyModels, Placement
from hunyuan_av.hunyuan.foley.features import FeatureStream
from hunyuan_av.hunyuan.foley.seams import SeamReport
from hunyuan_av.hunyuan.foley.synchrony import find_onsets, match
from hunyuan_av.hunyuan.foley.timing import LATENT_RATE, SAMPLE_RATE
from hunyuan_av.hunyuan.long_form.deliver import levelled
from hunyuan_av.hunyuan.long_form.guided import GuidedWindows
from hunyuan_av.hunyuan.long_form.job import Job
from hunyuan_av.hunyuan.long_form.joins import joins_of, listen
from hunyuan_av.hunyuan.long_form.pipeline import LongFilm, LongFilmParts
from hunyuan_av.hunyuan.long_form.plan import OVERLAP, FilmPlan, PlannedWindow, Shot, WindowSettings, exact
from hunyuan_av.hunyuan.long_form.watch import watch_windows
from hunyuan_av.hunyuan.media.audio import resample, to_mono
from hunyuan_av.hunyuan.media.container import probe
from hunyuan_av.hunyuan.media.files import read_audio
from hunyuan_av.hunyuan.sampling.denoise import denoise, draw_noise
from hunyuan_av.hunyuan.sampling.guidance import GuidanceScales
from hunyuan_av.hunyuan.sampling.schedule import flow_sigmas
from hunyuan_av.hunyuan.sampling.windows import Window
from hunyuan_av.training.scenes import Scene

MEDIAN_JUMP, WORST_JUMP, SMOOTH = 1.0, 3.0, 0.95  # dB, dB, part of the joins: the bars
CUT_JUMP = 1.5  # dB, at cuts
STEADY = 1.1  # densest against lightest moment of a rain that holds
APART = 0.04  # seconds between the same onset in both
ONCE = 10.0  # seconds made in one window and in two
NEGATIVE = "noisy, harsh"


@torch.no_grad()
def main() -> int:
    options = parse()
    if options.files:
        for path in options.files:
            print(f"{path}:\n{report_of_file(path, options).as_text()}")
        return 0
    models = FoleyModels.load(options.weights, None, Placement.choose(options.device))
    print(f"Weights: {models.origin}")
    passed = judge_rain(models, options) if options.rain else judge_impacts(models, options)
    print("passed" if passed else "FAILED")
    return 0 if passed else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Whether the joins of long sounds can be heard.")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="video with sound, or sound")
    parser.add_argument("--shots", metavar="FILE|auto", help="of the files, as for `foley`")
    parser.add_argument("--start", type=float, default=0.0)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--overlap", type=float, default=float(OVERLAP))
    parser.add_argument("--join", default="latents")
    parser.add_argument(
        "--rain", type=int, default=0, metavar="N", help="held-out scenes of steady rain to make"
    )
    parser.add_argument("--length", type=float, default=40.0, help="seconds of each")
    parser.add_argument("--shots-every", type=float, metavar="SECONDS", help="cut them into shots")
    parser.add_argument("--once-or-twice", type=int, default=0, metavar="N", help="scenes with impacts")
    add_options(parser)
    options = parser.parse_args()
    if sum(map(bool, (options.files, options.rain, options.once_or_twice))) != 1:
        parser.error("name files, or give --rain N or --once-or-twice N")
    return options


# --- files --------------------------------------------------------------------------------------------------


def report_of_file(path: Path, options: argparse.Namespace) -> SeamReport:
    """The joins that `foley` makes with these options, in a file's sound."""
    waveform, rate = read_audio(path, options.start, options.seconds)
    sound = resample(to_mono(waveform), rate, SAMPLE_RATE)[0]
    start = exact(options.start)
    end = start + exact(options.seconds or len(sound) / SAMPLE_RATE)
    if options.shots:
        end = min(end, exact(probe(path).end_time))
        shots = shots_of(path, options.shots, start, end, None)
    else:
        shots = [Shot(start=start, end=end)]
    return listen(sound, joins_of(FilmPlan(shots, settings_of(options))))


def settings_of(options: argparse.Namespace) -> WindowSettings:
    return WindowSettings(overlap=exact(options.overlap), join=options.join)


# --- rain ---------------------------------------------------------------------------------------------------


def judge_rain(models: FoleyModels, options: argparse.Namespace) -> bool:
    """Print every film's joins and the figures over all; whether they are within the bars."""
    every = exact(options.shots_every or options.length)
    seams = []
    for number, scene in enumerate(islice(steady_rains(options), options.rain)):
        plan = FilmPlan(equal_shots(exact(options.length), every), settings_of(options))
        sound = film_sound(models, scene, plan, options, options.seed + number)  # each with noise of its own
        report = listen(sound, joins_of(plan))
        print(f"rain {number}, {scene.caption}:\n{report.as_text()}")
        seams += report.seams
    windows, cuts = (SeamReport(tuple(seams)).of_kind(kind) for kind in ("window", "shot"))
    print(f"windows: {windows.as_text().splitlines()[-1]}")
    print(f"cuts:    {cuts.as_text().splitlines()[-1]}")
    return (
        windows.median_jump <= MEDIAN_JUMP
        and windows.worst_jump <= WORST_JUMP
        and windows.smooth_share >= SMOOTH
        and cuts.worst_jump <= CUT_JUMP
    )


def steady_rains(options: argparse.Namespace) -> Iterator[Scene]:
    """Held-out scenes in which it rains as hard all the time: what changes at a join is the join's doing."""
    for seed in count(options.seed):
        scene = Scene.draw(seed, "held-out", kind="rain", seconds=options.length)
        densities = [scene.density(time) for time in np.arange(0, options.length, 0.5)]
        if max(densities) <= STEADY * min(densities):
            yield scene


def equal_shots(length: Fraction, every: Fraction) -> list[Shot]:
    """Shots as long as `every`; the last is what is left."""
    starts = [every * number for number in range(-int(-length // every))]
    return [Shot(start=start, end=min(start + every, length)) for start in starts]


def film_sound(
    models: FoleyModels, scene: Scene, plan: FilmPlan, options: argparse.Namespace, seed: int
) -> np.ndarray:
    """(samples,): a scene's sound, as `foley` makes it. seed: of the noise."""
    parts = LongFilmParts(
        new_stream=lambda: FeatureStream(models.visual_encoder, models.sync_encoder),
        velocity=guided(models, scene, options), decode=models.audio_vae.decode,
        decode_reach=models.audio_vae.config.decoder_reach,
        latent_channels=models.transformer.config.latent_channels, device=models.placement.device,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        job = Job.open(Path(folder) / "job", {})
        film = LongFilm(job, plan, parts, sigmas=flow_sigmas(options.steps), seed=seed)
        for stage in film.stages(lambda start: frames_from(scene, float(start))):
            for _ in stage.work:
                pass
        return np.array(levelled(job, plan, film.sound[0])[0])


def frames_from(scene: Scene, start: float) -> Iterator[tuple[float, np.ndarray]]:
    """Frames from the one on screen at `start` on, at the rate that the scene is shown at."""
    return ((time, frame) for time, frame in scene.stream() if time > start - 1 / scene.fps)


def guided(models: FoleyModels, scene: Scene, options: argparse.Namespace) -> GuidedWindows:
    return GuidedWindows(
        transformer=models.transformer, encode_text=models.text_encoder.encode,
        prompts=lambda window: [(scene.caption, None)], negative_prompt=NEGATIVE,
        scales=GuidanceScales.all(options.cfg), dtype=models.placement.dtype,
        device=models.placement.device,
    )  # fmt: skip


# --- once or twice ------------------------------------------------------------------------------------------


def judge_impacts(models: FoleyModels, options: argparse.Namespace) -> bool:
    """Print how far apart onsets are between both ways of making 10 s; whether both have all, and close."""
    passed = True
    for number in range(options.once_or_twice):
        scene = Scene.draw(options.seed + number, "held-out", kind="hammer", seconds=ONCE)
        plan = FilmPlan.of_clip(Fraction(0), exact(ONCE), settings_of(options))
        once = find_onsets(sound_at_once(models, scene, options), SAMPLE_RATE)
        twice = find_onsets(film_sound(models, scene, plan, options, options.seed), SAMPLE_RATE)
        found = match(once, twice, tolerance=2 * APART)
        apart = max((abs(offset) for _, _, offset in found.matches), default=0.0)
        passed &= apart <= APART and len(once) == len(twice) == len(found.matches) > 0
        print(
            f"{scene.caption}: {len(once)} onsets at once, {len(twice)} in {len(plan.windows)} windows,"
            f" {len(found.matches)} the same, at most {apart * 1000:.0f} ms apart"
        )
    return passed


def sound_at_once(models: FoleyModels, scene: Scene, options: argparse.Namespace) -> np.ndarray:
    """(samples,): the scene's sound made in one window."""
    latents = round(ONCE * LATENT_RATE)
    window = PlannedWindow(
        index=0, shot=0, window=Window(0, latents, 0), start=Fraction(0), end=exact(ONCE),
        shot_end=exact(ONCE),
    )  # fmt: skip
    streams = lambda: FeatureStream(models.visual_encoder, models.sync_encoder)  # noqa: E731
    ((_, features),) = watch_windows(frames_from(scene, 0.0), [window], streams)
    velocity = guided(models, scene, options)(window, features)
    noise = draw_noise((1, models.transformer.config.latent_channels, latents), options.seed)
    *_, made = denoise(velocity, noise.to(models.placement.device), flow_sigmas(options.steps))
    return torch.cat(list(models.audio_vae.decode_tiles(made)), dim=-1)[0, 0].cpu().numpy()


if __name__ == "__main__":
    sys.exit(main())
