"""A sound from which a film's is made: its latents in a file, and which of them are made anew."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..foley.audio_vae import TILE, tiles
from ..foley.time_mask import mask_at
from ..foley.timing import LATENT_RATE, SAMPLE_RATE, SAMPLES_PER_LATENT
from ..media.sound_stream import stream_sound
from ..sampling.windows import Window
from .arrays import allocate, has_array, open_array, write_blocks
from .job import Job
from .plan import FilmPlan, PlannedWindow

SOUND, LATENTS = "given.f32", "given_latents.f32"


@dataclass(frozen=True, kw_only=True, eq=False)
class KeptSound:
    """What a shot has of the given sound.

    latents: (1, c, n). mask: (1, 1, n), 1 where it is made anew; None is everywhere.
    """

    latents: np.ndarray
    mask: Tensor | None

    def within(self, window: Window) -> tuple[Tensor, Tensor]:
        """The latents and the mask of a window."""
        here = slice(window.start, window.stop)
        mask = torch.ones(1, 1, window.length) if self.mask is None else self.mask[..., here]
        return torch.from_numpy(self.latents[..., here].copy()), mask

    def paste(self, latents: Tensor, window: Window) -> Tensor:
        """A window's finished latents with the kept ones put back, bit for bit."""
        kept, mask = self.within(window)
        return torch.where(mask == 0, kept, latents)


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenSound:
    """path:       a sound, or a video with sound; it begins where the film does.
    encode:     (1, 1, samples) -> latents (1, c, n), on the CPU; zeros complete the last one.
    reach:      latent frames on each side that a latent depends on.
    channels:   of the latents.
    regenerate: seconds of the film, from and to, that are made anew; None is all of it.
    fade:       seconds of transition at both ends.
    """

    path: Path
    encode: Callable[[Tensor], Tensor]
    reach: int
    channels: int
    regenerate: tuple[float, float] | None = None
    fade: float = 0.0

    def latents_into(self, job: Job, plan: FilmPlan) -> np.ndarray:
        """(1, c, n) of the whole film, as a part of the job; encoded once, in the memory of a tile."""
        shape = 1, self.channels, plan.latent_offsets[-1]
        path = job.folder / LATENTS
        if not (has_array(path, shape) and job.holds(LATENTS)):
            blocks = stream_sound(self.path, 0.0, plan.samples, SAMPLE_RATE, most_channels=1)
            waveform = write_blocks(job, SOUND, 1, plan.samples, blocks)
            latents = allocate(job, LATENTS, shape)
            for shot in range(len(plan.shots)):
                self._encode_shot(plan, shot, waveform, latents)
            latents.flush()  # type: ignore[attr-defined]
            job.finish(LATENTS)
            job.commit()
            del waveform
            job.drop(SOUND)
        return open_array(path, shape, mode="r")

    def _encode_shot(self, plan: FilmPlan, shot: int, waveform: np.ndarray, latents: np.ndarray) -> None:
        begin, offset = plan.sample_offsets[shot], plan.latent_offsets[shot]
        length = plan.latent_lengths[shot]
        for start, stop, first, last in tiles(length, TILE, self.reach):
            part = np.zeros((1, (last - first) * SAMPLES_PER_LATENT), np.float32)
            heard = waveform[:, begin + first * SAMPLES_PER_LATENT : begin + last * SAMPLES_PER_LATENT]
            part[:, : heard.shape[1]] = heard
            with torch.no_grad():
                encoded = self.encode(torch.from_numpy(part)[None])[..., start - first : stop - first]
            latents[..., offset + start : offset + stop] = encoded.float().numpy()

    def of_shot(self, plan: FilmPlan, shot: int, latents: np.ndarray) -> KeptSound:
        """latents: (1, c, n) of the whole film."""
        here = slice(plan.latent_offsets[shot], plan.latent_offsets[shot + 1])
        mask = self._mask(plan, shot, 0, plan.latent_lengths[shot])
        return KeptSound(latents=latents[..., here], mask=mask)

    def changes(self, plan: FilmPlan, window: PlannedWindow) -> bool:
        """Whether anything in a window is made anew."""
        mask = self._mask(plan, window.shot, window.window.start, window.window.stop)
        return mask is None or bool(mask.any())

    def _mask(self, plan: FilmPlan, shot: int, first: int, last: int) -> Tensor | None:
        """Of a shot's latents from `first` to before `last`."""
        if self.regenerate is None:
            return None
        frames = torch.arange(first, last, dtype=torch.float64)
        times = (frames + 0.5) / LATENT_RATE + float(plan.shots[shot].start - plan.start)
        return mask_at(times, *self.regenerate, self.fade)[None, None]
