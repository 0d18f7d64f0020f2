"""Options that several commands have, and what is checked of all jobs' numbers."""

import math
from argparse import ArgumentParser, _ArgumentGroup
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..host.standalone.memory import DTYPES

DEFAULT = "(default: %(default)s)"
SEEDS = 1 << 64  # how many there are


def add_placement(group: _ArgumentGroup, decoder: str) -> None:
    """In which numbers the networks compute, and where. decoder: what turns latents into the result."""
    group.add_argument(
        "--dtype", choices=tuple(DTYPES), help="of the transformer (default: bfloat16 on a GPU)"
    )
    group.add_argument(
        "--vae-dtype", choices=tuple(DTYPES), default="float32", help=f"of the {decoder} {DEFAULT}"
    )
    add_device(group)


def add_device(group: ArgumentParser | _ArgumentGroup) -> None:
    group.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: the best there is)")


def add_job_folder(group: _ArgumentGroup, what: str, more: str = "") -> None:
    """Where a long job lies. what: is kept there, and until when. more: to be said of it."""
    group.add_argument(
        "--job", type=Path, metavar="FOLDER",
        help=f"where {what}: the same command goes on from there (default: beside the output){more}",
    )  # fmt: skip
    group.add_argument("--keep-job", action="store_true", help="do not delete that folder in the end")
    group.add_argument("--restart", action="store_true", help="throw away what another job left there")


def add_compile(group: _ArgumentGroup, what: str) -> None:
    """--compile. what: is compiled, and what comes of it."""
    group.add_argument(
        "--compile", action="store_true",
        help=f"compile {what}; needs torch 2.5, a C++ compiler, and Triton on a GPU",
    )  # fmt: skip


def add_memory(group: ArgumentParser | _ArgumentGroup, how: str) -> None:
    """--memory. how: networks are made to fit."""
    group.add_argument(
        "--memory", type=float, metavar="GB",
        help=f"of the graphics card: {how} (on a CPU: does the same, and saves little)",
    )  # fmt: skip


def check_memory(gigabytes: float) -> None:
    """Raise ValueError for an amount of memory that is none."""
    if not 0 < gigabytes < math.inf:
        raise ValueError(f"--memory {gigabytes:g} is no size: give the graphics card's memory in GB, 8 say.")


def check_numbers(job: Any, least: Mapping[str, float]) -> None:
    """Raise ValueError for a job's number that is none, or that is less than it must be at least.

    job: a dataclass whose fields are named like the options; one of them is its seed.
    """
    for field in fields(job):
        value = getattr(job, field.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{option(field.name)} {value} is no number.")
    for name, smallest in {"seed": 0, **least}.items():
        value = getattr(job, name)
        if value is not None and value < smallest:
            raise ValueError(f"{option(name)} {value:g} is too small: it must be at least {smallest}.")
    if job.seed >= SEEDS:
        raise ValueError(f"--seed {job.seed} is too large: it must be below {SEEDS}.")


def option(name: str) -> str:
    """What a job's field is called on the command line."""
    return f"--{name.replace('_', '-')}"
