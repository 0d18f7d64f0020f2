"""Sound for a film of any length, in memory that does not depend on it.

Frames are watched once; each window's features go into a file. The windows are then denoised as a wavefront:
window w runs step s once w - 1, w and w + 1 have run step s - 1, which gives what running all windows step by
step would, with only a band of them in work. Latents become sound as soon as they are finished. Everything
lies in files of a job folder, and what was finished before a kill is not done again.

    film = LongFilm(job, plan, parts, sigmas=flow_sigmas(50), seed=0)
    for stage in film.stages(frames_from):
        for _ in progress(stage.work, stage.total, stage.label):
            pass
    film.sound  # (takes, samples), float32 in a file
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ..foley.features import FoleyFeatures
from ..sampling.denoise import MaskedVelocity, noised
from ..sampling.solvers import Solver, Velocity, euler
from ..sampling.windows import Blend
from .arrays import allocate, draw_noise_into, has_array
from .band import COPIES, Band, cells
from .given import GivenSound, KeptSound
from .job import Job
from .plan import FilmPlan, PlannedWindow
from .sound import SOUND, Decode, SoundTrackFile, TiledDecoder, WindowDecoder
from .spool import FeatureSpool
from .watch import Stream, watch_windows

logger = logging.getLogger(__name__)

NOISE, LATENTS = "noise.f32", "latents.f32"
FramesFrom = Callable[[Fraction], Iterable[tuple[float, np.ndarray]]]
CHECKPOINT_SECONDS = 20.0  # of work that a kill costs, at most


@dataclass(frozen=True, kw_only=True)
class LongFilmParts:
    """What a film's sound is made with. Everything is called in the order of time, one call at a time.

    new_stream:   encodes one window; see `watch.Stream`. Two, for a moment three, are in use at a time.
    velocity:     (window, its features) -> (latents (takes, c, n), sigma) -> velocity, on latents that lie on
                  `device`; see `guided.GuidedWindows`. Without a video there are no features.
    kept_bytes:   of velocities that stay until the next step of their window; the others, and those that do
                  not say how large they are, are asked for in every step anew.
    decode:       (1, c, n) -> (1, 1, 960 n), on the latents' device.
    decode_reach: latent frames on each side that a decoded frame depends on.
    """

    new_stream: Callable[[], Stream]
    velocity: Callable[[PlannedWindow, FoleyFeatures | None], Velocity]
    decode: Decode
    decode_reach: int
    latent_channels: int
    device: torch.device | str = "cpu"
    kept_bytes: int = 0


@runtime_checkable
class SizedVelocity(Protocol):
    """A velocity that says how much it holds."""

    @property
    def nbytes(self) -> int: ...

    def __call__(self, latents: Tensor, sigma: float, /) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of the work: `total` items of it are left, and each item of `work` is one of them done."""

    label: str
    total: int
    work: Iterator[None]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the sound is, and what that is known from.

    shots: that are complete. cells, tiles: steps of windows, and pieces of sound, of the next one.
    band:  the part of the job that holds its band of windows after those cells.
    """

    shots: int = 0
    cells: int = 0
    tiles: int = 0
    band: str | None = None

    def is_complete(self, plan: FilmPlan) -> bool:
        return self.shots == len(plan.shots)


class LongFilm:
    """The sound of a film, made or continued in a job's folder."""

    def __init__(
        self,
        job: Job,
        plan: FilmPlan,
        parts: LongFilmParts,
        *,
        sigmas: Tensor,
        seed: int,
        takes: int = 1,
        solver: Solver = euler,
        given: GivenSound | None = None,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
    ) -> None:
        """sigmas: (steps + 1,), down to 0; from 1, or from less where a sound is given. No steps leave that.

        The noise is one draw for the whole film; take k is row k.
        given: what the film's sound is made from, instead of noise alone.
        """
        self.job, self.plan, self.parts, self.takes, self.given = job, plan, parts, takes, given
        self.sigmas, self.seed, self.solver = sigmas.tolist(), seed, solver
        self.checkpoint_seconds = checkpoint_seconds
        self.spool = FeatureSpool(job)
        self.watched = False

    def stages(self, frames_from: FramesFrom | None) -> Iterator[Stage]:
        """The work that is left, stage by stage; each is to be worked through before the next is asked for.

        frames_from: seconds on the file's clock -> (clock, picture) from the one on screen then on, as
            `hunyuan.media.container.read_clock` gives them; None for sound without a video.
        """
        reached = self._reached()
        if frames_from is not None and not reached.is_complete(self.plan):
            self.watched = True
            made = [window for window in self.plan.windows if self.makes(window)]
            missing = [window for window in made if not self.spool.holds(window)]
            work = self._watch(missing, frames_from)
            yield Stage(label="Watching the video", total=len(missing), work=work)
        left = sum(map(len, self.plan.by_shot[reached.shots :]))
        total = (len(self.sigmas) - 1) * left - reached.cells
        work = iter(()) if reached.is_complete(self.plan) else self._make(reached)
        yield Stage(label="Making the sound", total=total, work=work)

    def makes(self, window: PlannedWindow) -> bool:
        """Whether there is anything to make in a window; of a given sound, it may keep all."""
        return len(self.sigmas) > 1 and (self.given is None or self.given.changes(self.plan, window))

    @property
    def sound(self) -> np.ndarray:
        """(takes, samples) float32 at 48 kHz: the film's sound, as far as it is made."""
        return SoundTrackFile(self.job, self.plan, self.takes).array

    # --- features -----------------------------------------------------------------------------------------

    def _watch(self, missing: list[PlannedWindow], frames_from: FramesFrom) -> Iterator[None]:
        if missing:
            frames = frames_from(missing[0].seen_from)
            for window, features in watch_windows(frames, missing, self.parts.new_stream):
                self.spool.put(window, features)
                yield

    # --- latents and sound --------------------------------------------------------------------------------

    def _reached(self) -> Progress:
        """How far the sound is; nowhere, if what was made of it is damaged."""
        reached = Progress(**self.job.state.get("made", {}))
        if reached.is_complete(self.plan):
            intact = self.job.holds(SOUND)
        else:
            intact = reached == Progress() or self._has_arrays(reached)
        if not intact:
            logger.warning("%s is damaged: the sound is made anew.", self.job.folder)
            self.job.state.pop("made")
            return Progress()
        return reached

    def _has_arrays(self, reached: Progress) -> bool:
        return (
            has_array(self.job.folder / LATENTS, self.latent_shape)
            and SoundTrackFile.are_there(self.job, self.plan, self.takes)
            and (reached.band is None or self.job.holds(reached.band))
        )

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Of the whole film's latents."""
        return self.takes, self.parts.latent_channels, self.plan.latent_offsets[-1]

    def _make(self, reached: Progress) -> Iterator[None]:
        noise = draw_noise_into(self.job, NOISE, self.latent_shape, self.seed)
        latents = allocate(self.job, LATENTS, self.latent_shape)
        given = None if self.given is None else self.given.latents_into(self.job, self.plan)
        track = SoundTrackFile(self.job, self.plan, self.takes)
        band = self._new_band()
        if reached.band is not None:
            band.restore(reached.band)
        saver = Saver(self.job, band, [latents, track.array, track.fades], self.checkpoint_seconds)
        offsets = self.plan.latent_offsets
        for shot in range(reached.shots, len(self.plan.shots)):
            here = slice(offsets[shot], offsets[shot + 1])
            kept = None if given is None or self.given is None else self.given.of_shot(self.plan, shot, given)
            maker = ShotMaker(self, shot, band, noise[..., here], latents[..., here], track, kept)
            yield from maker.run(reached if shot == reached.shots else Progress(shots=shot), saver)
        self.job.finish(SOUND)
        saver.save(Progress(shots=len(self.plan.shots)))

    def _new_band(self) -> Band:
        most = min(len(self.sigmas) + 1, max(map(len, self.plan.by_shot)) + 1)
        longest = max(planned.window.length for planned in self.plan.windows)
        return Band(self.job, most, self.takes, self.parts.latent_channels, longest)


class Saver:
    """Writes down how far the sound is, every now and then."""

    def __init__(self, job: Job, band: Band, arrays: Sequence[np.ndarray], seconds: float) -> None:
        """arrays: what has to be on the disk before it is written down. seconds: until the next time."""
        self.job, self.band, self.arrays, self.seconds = job, band, arrays, seconds
        self.saved_at = time.monotonic()

    def save_if_due(self, reached: Progress) -> None:
        if time.monotonic() - self.saved_at >= self.seconds:
            self.save(reached)

    def save(self, reached: Progress) -> None:
        for array in self.arrays:
            array.flush()  # type: ignore[attr-defined]
        before = Progress(**self.job.state.get("made", {})).band
        name = COPIES[before == COPIES[0]] if reached.cells else None
        if name is not None:
            self.band.save(name)
        self.job.state["made"] = asdict(replace(reached, band=name))
        self.job.parts.pop(before or "", None)
        self.job.commit()
        if before is not None:
            self.job.drop(before)
        self.saved_at = time.monotonic()


class ShotMaker:
    """One shot: from noise to latents, window by window and step by step, and on to sound."""

    def __init__(
        self,
        film: LongFilm,
        shot: int,
        band: Band,
        noise: np.ndarray,
        latents: np.ndarray,
        track: SoundTrackFile,
        kept: KeptSound | None = None,
    ) -> None:
        """noise, latents: (takes, c, n) of this shot. kept: of it, where a sound is given."""
        self.film, self.shot, self.band, self.noise, self.latents = film, shot, band, noise, latents
        self.track, self.kept = track, kept
        self.planned = film.plan.by_shot[shot]
        self.made = [film.makes(planned) for planned in self.planned]
        self.windows = [planned.window for planned in self.planned]
        self.blend = Blend(self.windows)
        self.blended = film.plan.settings.join == "latents"
        self.steps = len(film.sigmas) - 1
        self.ready: dict[int, SizedVelocity] = {}  # of windows in work

    def run(self, reached: Progress, saver: Saver) -> Iterator[None]:
        """Every cell, a step of a window, that is left; yields after each."""
        parts = self.film.parts
        tiled = TiledDecoder(
            self.shot, self.latents, self.track, self._decode, parts.decode_reach, reached.tiles
        )
        if self.kept is not None and not self.steps:
            self.latents[:] = self.kept.latents
            tiled.decode_until(self.latents.shape[-1])
        single = WindowDecoder(self.shot, self.windows, self.track, self._decode, self._result)
        order = cells(len(self.planned), self.steps, self.film.plan.settings)
        for number, (window, step) in enumerate(order[reached.cells :], reached.cells + 1):
            self._run_cell(window, step)
            if step == self.steps - 1:
                ready = self._finish(window)
                tiled.decode_until(ready) if self.blended else single.finish(window)
            saver.save_if_due(Progress(shots=self.shot, cells=number, tiles=tiled.done))
            yield

    def _run_cell(self, window: int, step: int) -> None:
        film = self.film
        if not self.made[window]:
            self.band.put(window, step, self._noised(window, step + 1))
            return
        x = self._state(window, step).to(film.parts.device)
        with torch.no_grad():
            velocity = self._velocity(window)
            asked = self._keeping(window, velocity)
            result = film.solver(asked, x, film.sigmas[step], film.sigmas[step + 1])
        self.band.put(window, step, result.float().cpu())
        if step == self.steps - 1:
            self.ready.pop(window, None)
        elif window not in self.ready:
            self._keep_ready(window, velocity)

    def _velocity(self, window: int) -> Velocity:
        """The velocity of a window: what was kept of the step before, or a new one."""
        if window in self.ready:
            return self.ready[window]
        film, planned = self.film, self.planned[window]
        return film.parts.velocity(planned, film.spool.get(planned) if film.watched else None)

    def _keep_ready(self, window: int, velocity: Velocity) -> None:
        """Keep it until the window's last step, if there is room."""
        room = self.film.parts.kept_bytes
        if room and isinstance(velocity, SizedVelocity):
            held = sum(other.nbytes for other in self.ready.values())
            if held + velocity.nbytes <= room:
                self.ready[window] = velocity

    def _keeping(self, window: int, velocity: Velocity) -> Velocity:
        """The velocity of a window, of whose given sound a part is kept."""
        if self.kept is None or self.kept.mask is None:
            return velocity
        place, device = self.windows[window], self.film.parts.device
        kept, mask = self.kept.within(place)
        return MaskedVelocity(velocity, kept.to(device), self._noise(window).to(device), mask.to(device))

    def _noise(self, window: int) -> Tensor:
        place = self.windows[window]
        return torch.from_numpy(self.noise[..., place.start : place.stop].copy())

    def _noised(self, window: int, step: int) -> Tensor:
        """The given sound of a window with as much noise as there is before a step."""
        assert self.kept is not None
        kept, _ = self.kept.within(self.windows[window])
        return noised(kept, self._noise(window), self.film.sigmas[step])

    def _state(self, window: int, step: int) -> Tensor:
        """(takes, c, n): where a window is before a step."""
        if step == 0:
            return self._noise(window) if self.kept is None else self._noised(window, 0)
        if self.blended:
            return self.blend.over(window, lambda other: self._part(other, step - 1))
        return self._part(window, step - 1).clone()

    def _part(self, window: int, step: int) -> Tensor:
        return self.band.get(window, step, self.windows[window].length)

    def _result(self, window: int) -> Tensor:
        result = self._part(window, self.steps - 1)
        return result if self.kept is None else self.kept.paste(result, self.windows[window])

    def _finish(self, window: int) -> int:
        """Write the latents of a window that has run all steps; returns where those that are not begin."""
        place = self.windows[window]
        ready = self.windows[window + 1].first if window + 1 < len(self.windows) else place.stop
        state = self.blend.over(window, self._result, until=window) if self.blended else self._result(window)
        if self.kept is not None:
            state = self.kept.paste(state, place)
        self.latents[..., place.first : ready] = state[..., place.first - place.start : ready - place.start]
        return ready

    def _decode(self, latents: Tensor) -> Tensor:
        return self.film.parts.decode(latents.to(self.film.parts.device))
