"""A long video's ring on the disk: what a kill costs is the steps since the ring was last written there.

Features that a step cache keeps are not written, so the ring is written only where the next step needs none.
"""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import av
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..hunyuan.avatar.schedule import AvatarStep
from ..hunyuan.avatar.timing import AvatarTiming
from ..hunyuan.long_form.job import Job
from ..hunyuan.media.files import digest
from .avatar_job import AvatarJob
from .avatar_models import AvatarModels

# What says where things lie or how the work is done, not what comes out.
NOT_SETTINGS = {"out", "image", "voices", "masks", "job", "keep_job", "restart", "device", "dtype", "memory"}

PART, SUFFIX = "ring_", ".safetensors"  # around the number of steps that are done


class RingFolder:
    """The latents of a ring after a number of steps, as the one part of a job."""

    def __init__(self, work: Job | None, plan: Sequence[AvatarStep], *, measured: bool) -> None:
        """work: None keeps nothing. measured: whether cached steps are decided while sampling."""
        self.work = work
        self.may_follow = [not (measured or step.cached) for step in plan]  # from a ring on the disk
        self.may_follow[:1] = [False]

    def read(self, noise: Tensor) -> tuple[int, Tensor]:
        """How many steps are done, and the ring after them: at the beginning none, and the noise."""
        for name in sorted(self.work.parts if self.work else (), reverse=True):
            assert self.work is not None
            if self.work.holds(name):
                steps = int(name.removeprefix(PART).removesuffix(SUFFIX))
                return steps, load_file(self.work.folder / name)["latents"]
        return 0, noise

    def keep(self, states: Iterator[Tensor], done: int) -> Iterator[Tensor]:
        """The states of the loop, written where the loop could begin again. done: steps before the first."""
        for steps, latents in enumerate(states, done + 1):
            if self.work is not None and (steps == len(self.may_follow) or self.may_follow[steps]):
                self._write(self.work, steps, latents)
            yield latents

    def _write(self, work: Job, steps: int, latents: Tensor) -> None:
        before, name = list(work.parts), f"{PART}{steps:05d}{SUFFIX}"
        with work.writing(name) as path:
            save_file({"latents": latents.contiguous()}, path)
        work.finish(name)
        work.commit()
        for part in before:
            work.drop(part)
        work.commit()


@contextmanager
def job_folder(job: AvatarJob, models: AvatarModels, timing: AvatarTiming) -> Iterator[Job | None]:
    """The job's folder while the block lasts, deleted when it ends well; None for a short job without one.

    Raises: ValueError if the folder holds another job, or something else.
    """
    if job.job is None and timing.windows == 1:
        yield None
        return
    folder = job.job or job.out.with_name(f"{job.out.name}.job")
    with Job.open(folder, identity(job, models), restart=job.restart) as work:
        print(f"Job: {folder}{', continued' * work.resumed}")
        try:
            yield work
        except KeyboardInterrupt:
            print(f"\nWhat is finished stays in {folder}: the same command goes on.", file=sys.stderr)
            raise
        work.close(keep=job.keep_job)


def identity(job: AvatarJob, models: AvatarModels) -> dict[str, dict[str, Any]]:
    """What a continued job has to have in common with the one that was begun."""
    fields = {field.name: getattr(job, field.name) for field in dataclasses.fields(job)}
    settings = {name: value for name, value in fields.items() if name not in NOT_SETTINGS}
    settings["points"] = [voice.point for voice in job.voices]
    placement = {"device": models.placement.device, "dtype": models.placement.dtype}
    if models.halves_apart:  # these are said only where they are so: a plain job can go on
        placement["halves of guidance"] = "in turn"
    if models.keep_float8:
        placement["layers"] = "fp8"
    if models.float8_products:
        placement["products"] = "fp8"
    if models.compiled:
        placement["compiled"] = True
    return {
        "inputs": {
            "image": digest(job.image),
            "voices": [digest(voice.path) for voice in job.voices],
            "masks": [digest(path) for path in job.masks],
            "weights": models.files.fingerprint,
        },
        "settings": {**settings, **placement},
        "versions": {"torch": torch.__version__, "av": av.__version__},
    }
