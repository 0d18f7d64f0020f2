"""`hunyuan_av avatar`: what the user may say, and what is told back."""

import argparse
import dataclasses
import time
from pathlib import Path

from ..host.standalone.progress import progress
from ..hunyuan.avatar.conditions import EXPRESSION_MOTION, POSE_MOTION
from ..hunyuan.avatar.face_mask import ENLARGE
from ..hunyuan.avatar.prompt_text import NEGATIVE_PROMPT
from ..hunyuan.avatar.reference_image import DEFAULT_SIZE
from ..hunyuan.avatar.ring import SHIFT
from ..hunyuan.avatar.schedule import SCHEDULES, STEP_CACHES
from ..hunyuan.avatar.settings import CFG, FLOW_SHIFT, STEPS
from ..hunyuan.avatar.step_cache import TOLERANCE
from ..hunyuan.avatar.timing import FPS
from ..model_loaders.avatar_folder import FORMS
from . import avatar
from .avatar_job import AvatarJob, SpokenBy
from .avatar_models import AvatarModels
from .shared_options import DEFAULT, add_compile, add_job_folder, add_memory, add_placement


def add_parser(commands) -> None:
    parser = commands.add_parser(
        "avatar",
        help="a talking video from a portrait and a voice",
        description="Makes a portrait speak a recording, for as long as it lasts. Without --weights it uses"
        " the untrained pocket weights.",
    )
    parser.add_argument("--image", type=Path, required=True, help="the portrait")
    parser.add_argument(
        "--voice", dest="voices", action="append", required=True, metavar="FILE[@X,Y]",
        help="a recording, and which face speaks it: a point in the picture, in fractions up to 1 or in"
        " pixels. Give it once for each character; without points, the larger faces come first",
    )  # fmt: skip
    parser.add_argument(
        "--out", "--output", type=Path, required=True, dest="out",
        help="the video, with the voices (.mp4, .mov, .mkv)",
    )  # fmt: skip
    add_picture_options(parser)
    add_sampling_options(parser)
    add_weights_options(parser)
    add_job_options(parser)
    parser.set_defaults(run=run)


def add_picture_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is to be seen")
    group.add_argument("--prompt", default="", help="in words")
    group.add_argument("--negative-prompt", default=NEGATIVE_PROMPT, help=f"what is not {DEFAULT}")
    group.add_argument(
        "--no-quality", dest="quality", action="store_false", help="do not ask for quality before the prompt"
    )
    group.add_argument(
        "--mask", dest="masks", action="append", default=[], type=Path, metavar="FILE",
        help="where a voice acts, white on black, in place of finding its face: for animals and cartoons."
        " Give it once for each voice, in the same order",
    )  # fmt: skip
    group.add_argument("--face", type=int, metavar="N", help="the face that speaks, 0 is the largest")
    group.add_argument(
        "--enlarge", type=float, default=ENLARGE, help=f"size of the mask, in sizes of the face {DEFAULT}"
    )
    group.add_argument("--strength", type=float, default=1.0, help=f"how much the voice moves {DEFAULT}")
    group.add_argument("--size", type=int, default=DEFAULT_SIZE, help=f"short side, in pixels {DEFAULT}")
    group.add_argument("--fps", type=float, default=FPS, help=f"frames per second {DEFAULT}")
    group.add_argument(
        "--head-motion", type=float, default=POSE_MOTION, help=f"how lively the head is {DEFAULT}"
    )
    group.add_argument(
        "--expression", type=float, default=EXPRESSION_MOTION, help=f"how lively the face is {DEFAULT}"
    )


def add_sampling_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how it is made")
    group.add_argument("--steps", type=int, default=STEPS, help=f"denoising steps {DEFAULT}")
    group.add_argument("--cfg", type=float, default=CFG, help=f"guidance at the beginning {DEFAULT}")
    group.add_argument("--seed", type=int, default=0, help=f"the same seed gives the same video {DEFAULT}")
    group.add_argument(
        "--schedule", choices=SCHEDULES, default="scaled",
        help=f"when guidance changes: scaled to the number of steps, or at fixed steps {DEFAULT}",
    )  # fmt: skip
    group.add_argument(
        "--step-cache", choices=STEP_CACHES, default="scaled",
        help=f"which steps reuse the features of earlier ones {DEFAULT}",
    )  # fmt: skip
    group.add_argument(
        "--cache-tolerance", type=float, default=TOLERANCE,
        help="of --step-cache error-driven: how far off a step may be, as a fraction; such a video cannot go"
        f" on after a stop, it begins again {DEFAULT}",
    )  # fmt: skip
    group.add_argument(
        "--shift", type=int, default=SHIFT, help=f"latents by which windows move in each step {DEFAULT}"
    )
    group.add_argument("--overlap", type=int, default=0, help=f"latents that windows share {DEFAULT}")
    group.add_argument(
        "--flow-shift",
        type=float,
        default=FLOW_SHIFT,
        help=f"above 1: more steps for the noisy part {DEFAULT}",
    )


def add_job_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("speech longer than one window (5.3 s)")
    add_job_folder(
        group, "the video is kept between steps until it is done", ". Named, it is used for short speech too"
    )


def add_weights_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("weights and machine")
    group.add_argument("--weights", type=Path, help="folder with the published weights (see the README)")
    group.add_argument(
        "--form", choices=FORMS,
        help="which transformer, if the folder holds both; fp8 also keeps, or makes, its layers 8 bits wide",
    )  # fmt: skip
    group.add_argument(
        "--fp8-products", action="store_true",
        help="with --form fp8: also round what enters these layers to 8 bits, which NVIDIA cards from Ada on"
        " have units for; a layer is 3.8 %% off then, instead of 2.7 %%",
    )  # fmt: skip
    add_placement(group, "VAE")
    add_compile(group, "what the transformer's blocks do between their products")
    add_memory(group, "what has no room there waits in host memory, and it is said how much")


def run(options: argparse.Namespace) -> None:
    started = time.perf_counter()
    settings = {field.name: getattr(options, field.name) for field in dataclasses.fields(AvatarJob)}
    settings["voices"] = tuple(SpokenBy.parse(text) for text in options.voices)
    settings["masks"] = tuple(options.masks)
    job = AvatarJob(**settings)
    models = AvatarModels.find(
        options.weights, options.form, job.placement,
        vae_dtype=job.vae_dtype, float8_products=options.fp8_products, compiled=options.compile,
    )  # fmt: skip
    print(f"Weights: {models.origin}")

    print(f"Video: {avatar.make(job, models, progress)}")
    seconds = time.perf_counter() - started
    print(f"Took {seconds:.1f} s on {job.placement.device}, weights: {models.origin}")
