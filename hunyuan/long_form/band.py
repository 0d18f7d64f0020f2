"""The band of windows in work, in a file: each window's results of its last two steps."""

import shutil
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..sampling.windows import wavefront
from .arrays import allocate
from .job import Job
from .plan import WindowSettings

ARRAY = "band.f32"
COPIES = ("checkpoint.0.f32", "checkpoint.1.f32")  # used in turn


def cells(num_windows: int, steps: int, settings: WindowSettings) -> Sequence[tuple[int, int]]:
    """(window, step) in the order in which they run."""
    if settings.join == "latents":
        return list(wavefront(num_windows, steps))
    return [(window, step) for window in range(num_windows) for step in range(steps)]


class Band:
    """Results by window and step; one is kept until the same window's step after the next."""

    def __init__(self, job: Job, most_windows: int, rows: int, channels: int, longest: int) -> None:
        """most_windows: how many windows can be in work at once. longest: latent frames of a window."""
        self.job = job
        self.shape = (most_windows, 2, rows, channels, longest)
        self.array = allocate(job, ARRAY, self.shape)

    def put(self, window: int, step: int, result: Tensor) -> None:
        self.array[window % self.shape[0], step % 2, ..., : result.shape[-1]] = result.numpy()

    def get(self, window: int, step: int, length: int) -> Tensor:
        return torch.from_numpy(self.array[window % self.shape[0], step % 2, ..., :length])

    def save(self, name: str) -> None:
        """Copy it into a part of the job: the band itself goes on changing."""
        self.array.flush()  # type: ignore[attr-defined]
        with self.job.writing(name) as path:
            shutil.copyfile(self.job.folder / ARRAY, path)
        self.job.finish(name)

    def restore(self, name: str) -> None:
        saved = np.memmap(self.job.folder / name, np.float32, "r", shape=self.shape)
        for slot in range(self.shape[0]):
            self.array[slot] = saved[slot]
