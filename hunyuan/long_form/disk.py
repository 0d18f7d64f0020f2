"""How much of the disk a film's job takes, and whether that is there."""

import shutil
from contextlib import suppress
from math import ceil
from pathlib import Path

from ..foley.timing import LATENT_RATE, SAMPLE_RATE, FoleyTiming
from ..media.mux import BIT_RATE
from .plan import FilmPlan
from .sound import FADE

BYTES = 4  # of a float32
MARGIN = 64 << 20  # bytes: manifest, and what a disk needs to breathe


def bytes_needed(
    plan: FilmPlan,
    *,
    steps: int,
    takes: int,
    channels: int,
    visual_size: int,
    sync_size: int,
    rows_after: int = 0,
    given: bool = False,
    video: Path | None = None,
) -> int:
    """Bytes of the job's folder when it is fullest. Grows by the film's length.

    rows_after: of sound that the work on a finished take writes; see `finish.Finish.rows`.
    given:      whether the sound is made from another.
    video:      its picture is copied beside the finished sound, in the folder; None: the sound stands alone.
    """
    features = sum(
        timing.visual_frames * visual_size + timing.sync_tokens * sync_size
        for timing in (FoleyTiming(planned.window.length / LATENT_RATE) for planned in plan.windows)
    )
    longest = max(planned.window.length for planned in plan.windows)
    slots = min(steps + 2, max(map(len, plan.by_shot)) + 1)
    band = 3 * slots * 2 * takes * channels * longest  # and two copies, while one replaces the other
    latents = 2 * takes * channels * plan.latent_offsets[-1]  # noise, too
    sound = (takes + 1 + rows_after) * plan.samples + len(plan.shots) * takes * FADE  # one take at its level
    start = given * (plan.samples + channels * plan.latent_offsets[-1])
    return BYTES * (features + band + latents + sound + start) + finished_bytes(plan, video)


def finished_bytes(plan: FilmPlan, video: Path | None) -> int:
    """Of one finished file at most, all tracks of the video counted."""
    if video is None:
        return BYTES * plan.samples
    return video.stat().st_size + ceil(plan.samples / SAMPLE_RATE) * BIT_RATE // 8


def check_room(folder: Path, needed: int) -> None:
    """Raise OSError if the disk on which `folder` lies, or will lie, has less room than its job needs.

    What is in the folder is there already: a job that goes on needs the rest, one that begins anew frees it.
    """
    there = min(needed, bytes_in(folder)) if folder.exists() else 0
    free = shutil.disk_usage(folder if folder.exists() else folder.parent).free
    if free + there < needed + MARGIN:
        written = f", of which {size(there)} are there" if there else ""
        raise OSError(
            f"The job in {folder} needs {size(needed)} of disk{written}, and {size(free)} are free."
            " Make room, or put it on another disk: --job names a folder, in ComfyUI it is the output folder."
        )


def bytes_in(folder: Path) -> int:
    """What the files of a folder take."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # another process is at work there, which is told later
            total += path.stat().st_size if path.is_file() else 0
    return total


def size(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
