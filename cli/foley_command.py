"""`hunyuan_av foley`: what the user may say, and what is told back."""

import argparse
import dataclasses
import time
from pathlib import Path

from ..host.standalone.memory import DTYPES
from ..host.standalone.progress import progress
from ..hunyuan.foley.velocity import ALWAYS
from ..hunyuan.sampling.solvers import SOLVERS
from . import foley
from .foley_job import NEGATIVE_PROMPT, TRACKS, FoleyJob
from .foley_models import FoleyModels

DEFAULT = "(default: %(default)s)"


def add_parser(commands) -> None:
    parser = commands.add_parser(
        "foley",
        help="sound for a silent video, or from text alone",
        description="Makes 48 kHz sound for a video. Without --weights it uses the untrained pocket weights.",
    )
    parser.add_argument("--video", type=Path, help="the video; left out, sound is made from the prompt alone")
    parser.add_argument(
        "--out", "--output", type=Path, required=True, dest="out",
        help="the video with sound (.mp4, .mov, .mkv, .webm), or the sound alone (.wav, .flac)",
    )  # fmt: skip
    parser.add_argument("--start", type=float, default=0.0, help=f"seconds into the video {DEFAULT}")
    parser.add_argument("--seconds", type=float, help="how much of the video, or of sound from text alone")
    add_prompt_options(parser)
    add_sampling_options(parser)
    add_sound_options(parser)
    add_track_options(parser)
    add_weights_options(parser)
    parser.set_defaults(run=run)


def add_prompt_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is to be heard")
    group.add_argument("--prompt", default="", help="in words")
    group.add_argument("--negative-prompt", default=NEGATIVE_PROMPT, help=f"what is not {DEFAULT}")
    group.add_argument(
        "--high-quality",
        action="store_true",
        help="put the training data's mark of full-bandwidth sound first",
    )


def add_sampling_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how it is made")
    group.add_argument("--steps", type=int, default=50, help=f"denoising steps {DEFAULT}")
    group.add_argument("--cfg", type=float, default=4.5, help=f"guidance scale; 1 is none {DEFAULT}")
    for name, what in {"text": "the prompt", "video": "the picture", "sync": "the timing"}.items():
        group.add_argument(
            f"--{name}-scale",
            type=float,
            default=1.0,
            help=f"guidance by {what}, in multiples of cfg {DEFAULT}",
        )
    group.add_argument(
        "--guidance-interval", type=float, nargs=2, default=ALWAYS, metavar=("LOW", "HIGH"),
        help="noise levels (1 is noise, 0 is sound) where guidance acts; other steps take half the time",
    )  # fmt: skip
    group.add_argument("--solver", choices=tuple(SOLVERS), default="euler", help=DEFAULT)
    group.add_argument(
        "--shift", type=float, default=1.0, help=f"above 1: more steps for the noisy part {DEFAULT}"
    )
    group.add_argument("--seed", type=int, default=0, help=f"the same seed gives the same sound {DEFAULT}")
    group.add_argument("--takes", type=int, default=1, help=f"how many sounds to make {DEFAULT}")
    group.add_argument("--batch", type=int, help="takes made at once: memory against time (default: all)")


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


def add_weights_options(parser: argparse.ArgumentParser) -> None:
    """What a command asks about weights and the machine."""
    group = parser.add_argument_group("weights and machine")
    group.add_argument("--weights", type=Path, help="folder with the published weights (see the README)")
    group.add_argument("--size", choices=("xl", "xxl"), help="which transformer, if the folder holds both")
    group.add_argument(
        "--dtype", choices=tuple(DTYPES), help="of the transformer (default: bfloat16 on a GPU)"
    )
    group.add_argument(
        "--vae-dtype", choices=tuple(DTYPES), default="float32", help=f"of the decoder {DEFAULT}"
    )
    group.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: the best there is)")


def run(options: argparse.Namespace) -> None:
    started = time.perf_counter()
    settings = {field.name: getattr(options, field.name) for field in dataclasses.fields(FoleyJob)}
    job = FoleyJob(**settings)
    foley.look(job)  # before gigabytes are read
    models = FoleyModels.load(
        options.weights, options.size, job.placement,
        vae_part="both" if job.sound else "decoder", vae_dtype=job.vae_dtype,
    )  # fmt: skip
    print(f"Weights: {models.origin}")

    for path in foley.make(job, models, progress):
        print(f"Sound: {path}")
    seconds = time.perf_counter() - started
    print(f"Took {seconds:.1f} s on {job.placement.device}, weights: {models.origin}")
