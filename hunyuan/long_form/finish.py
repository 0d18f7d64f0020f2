"""What becomes of a film's finished sound before it is delivered: room, mix, loudness. All of it in files.

Nothing here is a part of the job: each file is written as a whole from the sound and the video alone, so a
job that was killed meanwhile writes it again, to the same last bit.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from ..foley.timing import SAMPLE_RATE
from ..media.loudness import LimitedSound, blocks_of
from ..media.sound_stream import BLOCK, stream_sound
from ..media.soundtrack import mix_blocks, true_peak_blocks
from .arrays import write_blocks
from .deliver import levelled
from .job import Job
from .plan import FilmPlan

MIXED, PEAKS, LOUD = "mixed.f32", "peaks.f32", "loud.f32"
MOST_CHANNELS = 2

Progress = Callable[[Iterable[np.ndarray], int, str], Iterable[np.ndarray]]  # items, how many, what is done


@dataclass(frozen=True, kw_only=True)
class Finish:
    """prompt:    what shots without one of their own are to sound like.
    gain_db:   by which our sound is turned up.
    original:  a video whose own sound is mixed with ours; None leaves it out.
    duck_db:   how far ours steps back where the original is loud.
    loudness:  LUFS of the result; None leaves it as it is.
    true_peak: dBTP, its limit where a loudness is asked for.
    """

    prompt: str = ""
    gain_db: float = 0.0
    original: Path | None = None
    duck_db: float = 0.0
    loudness: float | None = None
    true_peak: float = -1.0

    @property
    def rows(self) -> int:
        """Channels of sound that it writes, at most, beside the take at its level: what the disk needs."""
        channels = 1 if self.original is None else MOST_CHANNELS
        mixed = 0 if self.original is None else channels
        return mixed + (0 if self.loudness is None else channels + 1)


def finished(job: Job, plan: FilmPlan, take: np.ndarray, settings: Finish, progress: Progress) -> np.ndarray:
    """A take (samples,) as it is to be heard: (1 or 2, samples), in a file of the job.

    Raises: as `stream_sound`; ValueError for a loudness of what is silent or shorter than 0.4 s.
    """
    mixes = settings.original is not None
    sound = levelled(job, plan, take, settings.prompt, 0.0 if mixes else settings.gain_db)
    if mixes:
        sound = mixed(job, plan, sound, settings, progress)
    return sound if settings.loudness is None else at_loudness(job, sound, settings, progress)


def mixed(job: Job, plan: FilmPlan, sound: np.ndarray, settings: Finish, progress: Progress) -> np.ndarray:
    """A sound (1, samples) with the original's on top: (channels of the original, samples)."""
    assert settings.original is not None
    originals = stream_sound(settings.original, float(plan.start), plan.samples, most_channels=MOST_CHANNELS)
    first = next(originals)
    pairs = zip(blocks_of(sound), chain([first], originals), strict=True)
    together = mix_blocks(pairs, gain_db=settings.gain_db, duck_db=settings.duck_db)
    watched = progress(together, blocks_in(plan.samples), "Mixing")
    return write_blocks(job, MIXED, len(first), plan.samples, watched)


def at_loudness(job: Job, sound: np.ndarray, settings: Finish, progress: Progress) -> np.ndarray:
    """A sound (channels, samples) at the loudness that is asked for, its true peaks limited."""
    assert settings.loudness is not None
    channels, samples = sound.shape
    peak_blocks = (block[None] for block in true_peak_blocks(blocks_of(sound)))
    peaks = write_blocks(job, PEAKS, 1, samples, peak_blocks)
    limited = LimitedSound(
        sound=sound, peaks=peaks[0], limit=10 ** (settings.true_peak / 20), sample_rate=SAMPLE_RATE
    )

    def watch(blocks: Iterable[np.ndarray], label: str) -> Iterable[np.ndarray]:
        return progress(blocks, blocks_in(samples), label)

    levels = limited.normalised(settings.loudness, watch)
    return write_blocks(job, LOUD, channels, samples, limited.turned_up(*levels))


def blocks_in(samples: int) -> int:
    return -(-samples // BLOCK)
