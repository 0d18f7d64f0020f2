"""From finished latents to the film's sound, in a file, as they become ready.

Every piece lands at a place that follows from the plan alone: making one twice changes nothing.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..foley.audio_vae import TILE, tiles
from ..foley.timing import SAMPLES_PER_LATENT
from ..sampling.windows import Window, rise
from .arrays import allocate, has_array
from .job import Job
from .plan import FilmPlan

SOUND = "sound.f32"
FADES = "fades.f32"
FADE = SAMPLES_PER_LATENT  # samples over which one shot's sound goes and the next one's comes, after the cut

Decode = Callable[[Tensor], Tensor]  # latents (1, c, n) -> waveform (1, 1, n * SAMPLES_PER_LATENT)
StateOf = Callable[[int], Tensor]


class SoundTrackFile:
    """The film's sound, (rows, samples) float32, and what each shot sounds like just after its end."""

    def __init__(self, job: Job, plan: FilmPlan, rows: int) -> None:
        self.plan = plan
        self.array = allocate(job, SOUND, (rows, plan.samples))
        self.fades = allocate(job, FADES, (len(plan.shots), rows, FADE))

    @staticmethod
    def are_there(job: Job, plan: FilmPlan, rows: int) -> bool:
        """Whether both files stand in the job's folder."""
        shapes = {SOUND: (rows, plan.samples), FADES: (len(plan.shots), rows, FADE)}
        return all(has_array(job.folder / name, shape) for name, shape in shapes.items())

    def put(self, shot: int, first: int, waveform: np.ndarray) -> None:
        """A piece (rows, n) of a shot's sound. first: its first sample, counted from the shot's beginning."""
        begin, end = self.plan.sample_offsets[shot : shot + 2]
        inside = waveform[:, : max(0, end - begin - first)]
        beyond = waveform[:, inside.shape[1] :]
        place = self.array[:, begin + first : begin + first + inside.shape[1]]
        place[:] = inside
        if shot > 0 and first < FADE:
            self._fade_in(shot, first, place)
        after_end = first + inside.shape[1] - (end - begin)
        room = self.fades[shot, :, after_end : after_end + beyond.shape[1]]
        room[:] = beyond[:, : room.shape[1]]

    def _fade_in(self, shot: int, first: int, place: np.ndarray) -> None:
        """Equal power: two shots' sounds have nothing to do with each other."""
        part = slice(first, min(FADE, first + place.shape[1]))
        rising = np.sqrt(rise(FADE).numpy())[part]
        falling = np.sqrt(1 - rise(FADE).numpy())[part]
        head = place[:, : len(rising)]
        head[:] = rising * head + falling * self.fades[shot - 1, :, part]

    def flush(self) -> None:
        self.array.flush()  # type: ignore[attr-defined]
        self.fades.flush()  # type: ignore[attr-defined]


class TiledDecoder:
    """A shot's latents to sound, in tiles with exact context: the samples of decoding all at once."""

    def __init__(
        self, shot: int, latents: np.ndarray, track: SoundTrackFile, decode: Decode, reach: int, done: int
    ) -> None:
        """latents: (rows, c, n), filled from left to right. done: tiles that were decoded before."""
        self.shot, self.latents, self.track, self.decode, self.done = shot, latents, track, decode, done
        self.tiles = list(tiles(latents.shape[-1], TILE, reach))

    def decode_until(self, ready: int) -> None:
        """Decode what depends on the first `ready` latent frames alone."""
        while self.done < len(self.tiles) and self.tiles[self.done][3] <= ready:
            start, stop, first, last = self.tiles[self.done]
            waveform = decode_rows(self.decode, torch.from_numpy(self.latents[..., first:last].copy()))
            here = slice((start - first) * SAMPLES_PER_LATENT, (stop - first) * SAMPLES_PER_LATENT)
            self.track.put(self.shot, start * SAMPLES_PER_LATENT, waveform[:, here])
            self.done += 1


class WindowDecoder:
    """Windows that were made each on its own to sound: from one to the next, waveforms are cross-faded."""

    def __init__(
        self, shot: int, windows: Sequence[Window], track: SoundTrackFile, decode: Decode, state_of: StateOf
    ) -> None:
        """state_of: window index -> its latents (rows, c, n), for a finished window and the one before."""
        self.shot, self.windows, self.track = shot, windows, track
        self.decode, self.state_of = decode, state_of
        self.before: tuple[int, np.ndarray] | None = None  # a window and its sound

    def finish(self, index: int) -> None:
        """Write a finished window's sound, up to where the next one begins to count."""
        window = self.windows[index]
        waveform = self._sound(index)
        counts = waveform[:, (window.first - window.start) * SAMPLES_PER_LATENT :].copy()
        if index > 0:
            previous = self.windows[index - 1]
            shared = (previous.stop - window.first) * SAMPLES_PER_LATENT
            rising = rise(shared).numpy()
            ending = self._sound(index - 1)[:, (window.first - previous.start) * SAMPLES_PER_LATENT :]
            counts[:, :shared] = rising * counts[:, :shared] + (1 - rising) * ending
        if index + 1 < len(self.windows):
            counts = counts[:, : (self.windows[index + 1].first - window.first) * SAMPLES_PER_LATENT]
        self.before = index, waveform
        self.track.put(self.shot, window.first * SAMPLES_PER_LATENT, counts)

    def _sound(self, index: int) -> np.ndarray:
        if self.before is not None and self.before[0] == index:
            return self.before[1]
        return decode_rows(self.decode, self.state_of(index))


def decode_rows(decode: Decode, latents: Tensor) -> np.ndarray:
    """(rows, samples), float32; one row after another, so that their number changes nothing."""
    with torch.no_grad():
        return torch.cat([decode(row[None])[:, 0] for row in latents]).float().cpu().numpy()
