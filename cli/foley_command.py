"""`hunyuan_av foley`: what the user may say, and what is told back."""

import argparse
import dataclasses
import time
from pathlib import Path

from ..host.standalone.progress import progress
from ..hunyuan.foley.config import XL
from ..hunyuan.foley.timing import MAX_SECONDS
from ..hunyuan.long_form.disk import size
from ..hunyuan.long_form.plan import JOINS, OVERLAP
from ..hunyuan.sampling.guidance import needed_branches
from ..hunyuan.sampling.solvers import SOLVERS
from . import foley
from .foley_film import disk_needed, is_film, plan_of, scales_of
from .foley_graphs import add_graphs_option, check_graphs
from .foley_job import NEGATIVE_PROMPT, TRACKS, FoleyJob
from .foley_memory import MemoryLimit, add_memory_options
from .foley_models import FoleyModels
from .foley_presets import DEFAULT as DEFAULT_PRESET
from .foley_presets import PRESETS, with_preset
from .shared_options import DEFAULT, add_compile, add_job_folder, add_placement


def add_parser(commands) -> None:
    parser = commands.add_parser(
        "foley",
        help="sound for a silent video, or from text alone",
        description="Makes 48 kHz sound for a video. Without --weights it uses the pocket weights.",
    )
    parser.add_argument("--video", type=Path, help="the video; left out, sound is made from the prompt alone")
    parser.add_argument(
        "--out", "--output", type=Path, dest="out",
        help="the video with sound (.mp4, .mov, .mkv, .webm), or the sound alone (.wav, .flac)",
    )  # fmt: skip
    parser.add_argument("--start", type=float, default=0.0, help=f"seconds into the video {DEFAULT}")
    parser.add_argument("--seconds", type=float, help="how much of the video, or of sound from text alone")
    add_prompt_options(parser)
    add_sampling_options(parser)
    add_sound_options(parser)
    add_track_options(parser)
    add_film_options(parser)
    add_weights_options(parser)
    add_memory_options(parser)
    parser.set_defaults(run=run)


def add_prompt_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is to be heard")
    group.add_argument(
        "--prompt", default="", help="in words; it may change over time: '0:00 rain | 0:12 rain, thunder'"
    )
    group.add_argument("--negative-prompt", default=NEGATIVE_PROMPT, help=f"what is not {DEFAULT}")
    group.add_argument(
        "--high-quality",
        action="store_true",
        help="put the training data's mark of full-bandwidth sound first",
    )


def add_sampling_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how it is made")
    group.add_argument(
        "--preset", choices=tuple(PRESETS), default=DEFAULT_PRESET,
        help=f"{presets_in_words()}; what is said beside it counts {DEFAULT}",
    )  # fmt: skip
    group.add_argument("--steps", type=int, help="denoising steps (default: the preset's)")
    group.add_argument("--cfg", type=float, default=4.5, help=f"guidance scale; 1 is none {DEFAULT}")
    for name, what in {"text": "the prompt", "video": "the picture", "sync": "the timing"}.items():
        group.add_argument(
            f"--{name}-scale",
            type=float,
            default=1.0,
            help=f"guidance by {what}, in multiples of cfg {DEFAULT}",
        )
    group.add_argument(
        "--guide-from", type=float, metavar="SHARE",
        help="of the sampling at which guidance begins to act, 0 to 1 (default: the preset's)",
    )  # fmt: skip
    group.add_argument(
        "--guide-to", type=float, metavar="SHARE",
        help="at which it stops; steps without guidance take half the time (default: the preset's)",
    )  # fmt: skip
    group.add_argument("--solver", choices=tuple(SOLVERS), help="(default: the preset's)")
    group.add_argument(
        "--shift", type=float, default=1.0, help=f"above 1: more steps for the noisy part {DEFAULT}"
    )
    group.add_argument("--seed", type=int, default=0, help=f"the same seed gives the same sound {DEFAULT}")
    group.add_argument("--takes", type=int, default=1, help=f"how many sounds to make {DEFAULT}")
    group.add_argument("--batch", type=int, help="takes made at once: memory against time (default: all)")


def presets_in_words() -> str:
    words = []
    for name, preset in PRESETS.items():
        part = f", guidance in {preset.guide_from:.0%} to {preset.guide_to:.0%} of them".replace("%", "%%")
        guided = "" if (preset.guide_from, preset.guide_to) == (0, 1) else part
        words.append(f"{name} is {preset.steps} steps of {preset.solver}{guided}")
    return ", ".join(words)


def add_sound_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("starting from a given sound")
    group.add_argument("--sound", type=Path, help="a sound, or a video with sound, to change")
    group.add_argument(
        "--denoise",
        type=float,
        help="how much of it: 0 leaves it, 1 makes all of it anew (default: 1)",
    )
    group.add_argument(
        "--regenerate",
        type=float,
        nargs=2,
        metavar=("FROM", "TO"),
        help="seconds made anew; the rest is kept",
    )
    group.add_argument(
        "--fade", type=float, default=0.0, help=f"seconds of transition at both ends {DEFAULT}"
    )


def add_track_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the video's own sound, and loudness")
    group.add_argument(
        "--track", choices=TRACKS, default="replace",
        help=f"replace it, keep it as a second track, or mix both {DEFAULT}",
    )  # fmt: skip
    group.add_argument("--gain", type=float, default=0.0, metavar="DB", help=f"level of our sound {DEFAULT}")
    group.add_argument(
        "--duck", type=float, default=0.0, metavar="DB",
        help=f"how far ours steps back where the original is loud, when mixed {DEFAULT}",
    )  # fmt: skip
    group.add_argument("--loudness", type=float, metavar="LUFS", help="EBU R 128 loudness of the result")
    group.add_argument(
        "--true-peak", type=float, default=-1.0, metavar="DBTP", help=f"limit with --loudness {DEFAULT}"
    )


def add_film_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("more than 15 seconds, shots, and prompts that change")
    group.add_argument(
        "--shots", metavar="FILE|auto",
        help="make each shot on its own: auto finds the cuts; a file holds a prompt for each shot in a line,"
        ' or, in JSON, shots: [{"start": 0, "prompt": "rain"}, {"start": "1:04.2"}]',
    )  # fmt: skip
    group.add_argument(
        "--plan", action="store_true", help="show the windows and the disk that is needed, and do nothing"
    )
    group.add_argument(
        "--overlap", type=float, default=float(OVERLAP), metavar="SECONDS",
        help=f"that the windows, one every 8 s, have in common; at most 2 {DEFAULT}",
    )  # fmt: skip
    group.add_argument(
        "--join", choices=JOINS, default=JOINS[0],
        help=f"blend the windows while they are made, or cross-fade their sounds {DEFAULT}",
    )  # fmt: skip
    add_job_folder(group, "finished parts are kept until all is done")


def add_weights_options(parser: argparse.ArgumentParser) -> None:
    """What a command asks about weights and the machine."""
    group = parser.add_argument_group("weights and machine")
    group.add_argument("--weights", type=Path, help="folder with the published weights (see the README)")
    group.add_argument("--size", choices=("xl", "xxl"), help="which transformer, if the folder holds both")
    group.add_argument(
        "--lora", action="append", default=[], metavar="FILE[:STRENGTH]",
        help="a LoRA to add to the transformer, 1 being as trained; repeat it for more (default strength: 1)",
    )  # fmt: skip
    add_placement(group, "decoder")
    add_compile(
        group,
        "the transformer's blocks: on an H200 a step then takes two fifths less, and the first one half a"
        " minute more",
    )
    add_graphs_option(group)


def job_of(options: argparse.Namespace) -> FoleyJob:
    settings = {field.name: getattr(options, field.name) for field in dataclasses.fields(FoleyJob)}
    if options.plan and options.out is None:
        settings["out"] = Path("sound.wav")  # nothing is written
    elif options.out is None:
        raise ValueError("Nothing says where the result shall go: name a file with --out.")
    return FoleyJob(**with_preset(settings, options.preset))


def print_plan(job: FoleyJob, seconds: float) -> None:
    """What a job would do, with the published networks."""
    if not is_film(job, seconds):
        print(f"{seconds:.2f} s: one generation, no windows.")
        return
    plan = plan_of(job, seconds)
    for line in plan.table():
        print(line)
    needed = size(disk_needed(job, plan, XL))
    print(f"{seconds:.2f} s: {len(plan.windows)} windows, at most {needed} in {job.job_folder}")


def limit_of(job: FoleyJob, seconds: float, gigabytes: float | None) -> MemoryLimit | None:
    """What --memory asks for. seconds: of the whole sound, of which no more than 15 s are made at once."""
    if gigabytes is None:
        return None
    branches = len(needed_branches(scales_of(job).chain))
    return MemoryLimit(
        gigabytes=gigabytes, rows=job.batch or job.takes, branches=branches, seconds=min(seconds, MAX_SECONDS)
    )


def run(options: argparse.Namespace) -> None:
    started = time.perf_counter()
    job = job_of(options)
    info = foley.look(job)  # before gigabytes are read
    if options.plan:
        print_plan(job, foley.length(job, info))
        return
    check_graphs(options.graphs, job.placement.device)
    models = FoleyModels.load(
        options.weights, options.size, job.placement,
        vae_part="both" if job.sound else "decoder", vae_dtype=job.vae_dtype, loras=options.lora,
        weight_dtype=options.weight_dtype, memory=limit_of(job, foley.length(job, info), options.memory),
        compiled=options.compile, graphs=options.graphs,
    )  # fmt: skip
    print(f"Weights: {models.origin}")

    for path in foley.make(job, models, progress):
        print(f"Sound: {path}")
    seconds = time.perf_counter() - started
    print(f"Took {seconds:.1f} s on {job.placement.device}, weights: {models.origin}")
