"""Arrays in files: they grow with the film, memory does not.

Their pages belong to the file, so that the system takes them back when it needs the room.
"""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from .job import Job

BLOCK = 1 << 20  # numbers written at once


def allocate(job: Job, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The job's array of float32, made of zeros unless it is there.

    The zeros are written: a full disk is noticed here, as an error, and not later by the machine.
    """
    path = job.folder / name
    if not has_array(path, shape):
        with job.writing(name) as unfinished:
            fill(unfinished, math.prod(shape), lambda count: np.zeros(count, np.float32))
    return open_array(path, shape)


def draw_noise_into(job: Job, name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """`hunyuan.sampling.denoise.draw_noise` as an array of the job, read only: the same numbers."""
    path = job.folder / name
    if not has_array(path, shape) or not job.holds(name):
        generator = torch.Generator().manual_seed(seed)
        with job.writing(name) as unfinished:
            # A block is a multiple of 16 numbers, so the generator gives in pieces what it gives at once.
            fill(unfinished, math.prod(shape), lambda count: torch.randn(count, generator=generator).numpy())
        job.finish(name)
        job.commit()
    return open_array(path, shape, mode="r")


def fill(path: Path, total: int, numbers: Callable[[int], np.ndarray]) -> None:
    with path.open("wb") as file:
        for first in range(0, total, BLOCK):
            file.write(numbers(min(BLOCK, total - first)).data)


def write_blocks(
    job: Job, name: str, channels: int, samples: int, blocks: Iterable[np.ndarray]
) -> np.ndarray:
    """The job's array (channels, samples), read only, written from blocks (channels, n) of it."""
    with job.writing(name) as unfinished, unfinished.open("wb") as file:
        first = 0
        for block in blocks:
            for channel, row in enumerate(block):
                file.seek(4 * (channel * samples + first))
                file.write(np.ascontiguousarray(row, np.float32).data)
            first += block.shape[1]
        assert first == samples, f"{name}: {first} samples instead of {samples}"
    return open_array(job.folder / name, (channels, samples), mode="r")


def has_array(path: Path, shape: tuple[int, ...]) -> bool:
    return path.is_file() and path.stat().st_size == 4 * math.prod(shape)


def open_array(path: Path, shape: tuple[int, ...], mode: Literal["r", "r+"] = "r+") -> np.ndarray:
    return np.memmap(path, np.float32, mode, shape=shape)
