"""`--graphs`: whether steps are recorded as CUDA graphs, and where that pays."""

import argparse

import torch

from ..host.standalone.progress import say
from ..hunyuan.foley.graphed import StepGraphs, hooked_layer
from .foley_job import FoleyJob
from .foley_models import FoleyModels

# Recording takes as long as some plain steps: two more for each graph, of which a clip has one or two.
LEAST_STEPS = 10


def add_graphs_option(group) -> None:
    """group: of a parser's options."""
    group.add_argument(
        "--graphs", action=argparse.BooleanOptionalAction,
        help="record steps as CUDA graphs, so that the card waits for no small operation to be"
        f" launched (default: on an NVIDIA card from {LEAST_STEPS} steps on, if all networks stay there)",
    )  # fmt: skip


def check_graphs(asked: bool | None, device: torch.device) -> None:
    """Raise ValueError where graphs are asked for and cannot be recorded."""
    if asked and device.type != "cuda":
        raise ValueError(
            f"--graphs needs an NVIDIA card, and this runs on {device}. Leave it out, or give --device cuda."
        )


def graphs_pay(asked: bool | None, device: torch.device, steps: int, transformer: torch.nn.Module) -> bool:
    """Whether to record graphs: as asked, or by what is known of them."""
    if asked is not None:
        return asked
    return device.type == "cuda" and steps >= LEAST_STEPS and hooked_layer(transformer) is None


def records(job: FoleyJob, models: FoleyModels, *, film: bool = False) -> bool:
    """Whether the job's steps are recorded: where that was asked for, or pays.

    film: whether they go on while sound is decoded. Within a limit of memory, which was planned for the one
        or the other, they are then recorded only if that was asked for.
    """
    if film and models.limited and models.graphs is None:
        return False
    return graphs_pay(models.graphs, models.placement.device, job.steps, models.transformer)


def graphs_for(job: FoleyJob, models: FoleyModels, *, film: bool = False) -> StepGraphs | None:
    """What the job's steps are recorded in, if they are. film: as in `records`."""
    return StepGraphs(models.transformer) if records(job, models, film=film) else None


def tell_graphs(graphs: StepGraphs | None) -> None:
    """Say what recording has taken, where something was recorded."""
    if graphs is not None and graphs.captured:
        say(f"CUDA graphs: {graphs.captured} recorded, in {graphs.seconds:.1f} s")
