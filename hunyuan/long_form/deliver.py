"""A film's finished sound beside its picture, or alone, at its level: a file that appears when complete."""

import errno
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..foley.timing import SAMPLE_RATE
from ..media.files import SOUND_FORMATS, replacing, write_audio
from ..media.mux import mux
from .arrays import BLOCK, open_array
from .job import Job
from .plan import FilmPlan
from .room import GainCurve, cut_gains, floors_of, room_gains

LEVELLED = "levelled.f32"


def levelled(
    job: Job, plan: FilmPlan, sound: np.ndarray, prompt: str = "", gain_db: float = 0.0
) -> np.ndarray:
    """The sound with the same room before and after each cut, in a file of the job.

    sound:   (samples,), in a file. prompt: what shots without one of their own are to sound like.
    gain_db: by which all of it is turned up.
    Returns: (1, samples).
    """
    floors = [floors_of(sound[begin:end]) for begin, end in pairwise(plan.sample_offsets)]
    prompts = [prompt if shot.prompt is None else shot.prompt for shot in plan.shots]
    gains = room_gains(floors, prompts)
    at_cuts = cut_gains(floors, prompts, gains)
    curve = GainCurve(plan.sample_offsets, gains, at_cuts, gain_db=gain_db)
    with job.writing(LEVELLED) as path, path.open("wb") as file:
        for first in range(0, len(sound), BLOCK):
            file.write(curve.apply(first, sound[None, first : first + BLOCK]).tobytes())
    return open_array(job.folder / LEVELLED, (1, len(sound)), mode="r")


def deliver(
    job: Job,
    plan: FilmPlan,
    sound: np.ndarray,
    out: Path,
    video: Path | None = None,
    *,
    keep_original: bool = False,
) -> None:
    """Write `out`: the video's picture, copied, with the sound (1, samples); or the sound alone.

    It is put together in the job's folder: a kill leaves nothing beside `out`.
    Raises: as `hunyuan.media.mux.mux` and `hunyuan.media.files.write_audio`.
    """
    finished = job.folder / f"finished{out.suffix}"
    if out.suffix.lower() in SOUND_FORMATS:
        write_audio(finished, sound, SAMPLE_RATE)
    else:
        assert video is not None
        start, seconds = float(plan.start), float(plan.end - plan.start)
        mux(video, sound, finished, start=start, seconds=seconds, keep_original=keep_original)
    move(finished, out)


def move(source: Path, target: Path) -> None:
    """Atomically, also from one disk to another."""
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)
        source.unlink()
