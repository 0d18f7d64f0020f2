"""`--graphs`: whether a clip's steps are recorded as CUDA graphs, and where that pays."""

import argparse

import torch

from ..host.standalone.progress import say
from ..hunyuan.foley.graphed import GraphedVelocity, hooked_layer
from ..hunyuan.foley.velocity import GuidedVelocity
from .foley_job import FoleyJob
from .foley_models import FoleyModels

# Recording takes as long as some plain steps: two for each of at most two graphs, and the recordings.
LEAST_STEPS = 10


def add_graphs_option(group) -> None:
    """group: of a parser's options."""
    group.add_argument(
        "--graphs", action=argparse.BooleanOptionalAction,
        help="record a clip's steps as CUDA graphs, so that the card waits for no small operation to be"
        f" launched (default: on an NVIDIA card from {LEAST_STEPS} steps on, if all networks stay there)",
    )  # fmt: skip


def check_graphs(asked: bool | None, device: torch.device, *, film: bool = False) -> None:
    """Raise ValueError where graphs are asked for and cannot be recorded.

    film: whether the sound is made in windows.
    """
    if asked and device.type != "cuda":
        raise ValueError(
            f"--graphs needs an NVIDIA card, and this runs on {device}. Leave it out, or give --device cuda."
        )
    if asked and film:
        raise ValueError(
            "--graphs is for what one generation makes, not for the windows of a film. Leave it out: the film"
            " is made without."
        )


def graphs_pay(asked: bool | None, device: torch.device, steps: int, transformer: torch.nn.Module) -> bool:
    """Whether to record graphs: as asked, or by what is known of them."""
    if asked is not None:
        return asked
    return device.type == "cuda" and steps >= LEAST_STEPS and hooked_layer(transformer) is None


def with_graphs(
    velocity: GuidedVelocity, job: FoleyJob, models: FoleyModels
) -> GuidedVelocity | GraphedVelocity:
    """The velocity, its steps recorded where that was asked for or pays."""
    if graphs_pay(models.graphs, models.placement.device, job.steps, models.transformer):
        return GraphedVelocity(velocity)
    return velocity


def tell_graphs(velocity: GuidedVelocity | GraphedVelocity) -> None:
    """Say what recording has taken, where something was recorded."""
    if isinstance(velocity, GraphedVelocity) and velocity.captured:
        say(f"CUDA graphs: {velocity.captured} recorded, in {velocity.seconds:.1f} s")
