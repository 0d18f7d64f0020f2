"""How much of the disk a film's job takes, and whether that is there."""

import shutil
from pathlib import Path

from ..foley.timing import LATENT_RATE, FoleyTiming
from .plan import FilmPlan
from .sound import FADE

BYTES = 4  # of a float32
MARGIN = 64 << 20  # bytes: manifest, and what a disk needs to breathe


def bytes_needed(
    plan: FilmPlan, *, steps: int, takes: int, channels: int, visual_size: int, sync_size: int
) -> int:
    """Bytes of the job's folder when it is fullest, without the finished film. Grows by the film's length."""
    features = sum(
        timing.visual_frames * visual_size + timing.sync_tokens * sync_size
        for timing in (FoleyTiming(planned.window.length / LATENT_RATE) for planned in plan.windows)
    )
    longest = max(planned.window.length for planned in plan.windows)
    slots = min(steps + 2, max(map(len, plan.by_shot)) + 1)
    band = 3 * slots * 2 * takes * channels * longest  # and two copies, while one replaces the other
    latents = 2 * takes * channels * plan.latent_offsets[-1]  # noise, too
    sound = (takes + 1) * plan.samples + len(plan.shots) * takes * FADE  # and one take at its level
    return BYTES * (features + band + latents + sound)


def check_room(folder: Path, needed: int) -> None:
    """Raise OSError if the disk on which `folder` lies, or will lie, has less room."""
    free = shutil.disk_usage(folder if folder.exists() else folder.parent).free
    if free < needed + MARGIN:
        raise OSError(
            f"The job in {folder} needs {size(needed)} of disk, and {size(free)} are free."
            " Make room, or put it on another disk: --job names a folder, in ComfyUI it is the output folder."
        )


def size(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
