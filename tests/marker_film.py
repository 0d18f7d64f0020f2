"""A film that tells its times, encoders that read them, and a model that clicks at the time it is told."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

if "pack" not in sys.modules:  # in a process of its own
    import conftest  # noqa: F401

from pack.hunyuan.foley.features import FoleyFeatures
from pack.hunyuan.foley.timing import LATENT_RATE, SYNC_RATE, VISUAL_RATE
from pack.hunyuan.long_form.deliver import deliver
from pack.hunyuan.long_form.finish import Finish, finished
from pack.hunyuan.long_form.job import Job
from pack.hunyuan.long_form.pipeline import LongFilm, LongFilmParts, Stage
from pack.hunyuan.long_form.plan import FilmPlan, WindowSettings, exact
from pack.hunyuan.media.container import probe, read_clock
from pack.hunyuan.media.files import digest
from pack.hunyuan.media.video import FramePicker
from pack.hunyuan.sampling.schedule import flow_sigmas

CHANNELS, HOP = 16, 960
MIXING = "Mixing"
WHITE = 200  # mean level of a picture that flashes


class MarkerStream:
    """Features that hold, for every token, the time in the window of its frame, and whether that flashes."""

    def __init__(self) -> None:
        self.pickers = FramePicker(SYNC_RATE, 20.0), FramePicker(VISUAL_RATE, 20.0)
        self.seen: tuple[list, list] = ([], [])

    def see(self, time: float, frame: np.ndarray) -> None:
        for picker, seen in zip(self.pickers, self.seen, strict=True):
            seen += [(time, float(frame.mean() > WHITE))] * picker.take(time)

    def finish(self) -> FoleyFeatures:
        sync, visual = (torch.tensor(seen)[None] for seen in self.seen)
        return FoleyFeatures(visual=visual, sync=sync, sync_frames=sync.shape[1])


def click_velocity(window, features):
    """Towards latents that are 1 in their first channel at every flash, and otherwise a fixed noise."""
    times = [time for time, flash in features.sync[0].tolist() if flash]

    def velocity(latents, sigma):
        target = 0.01 * torch.sin(7.0 * latents)
        target[:, 0] = 0
        for seconds in times:
            target[:, 0, min(round(seconds * LATENT_RATE), latents.shape[-1] - 1)] = 1
        return (latents - target) / max(sigma, 1e-3)

    return velocity


def mixing_velocity(window, features):
    """Depends on everything that it should: neighbours in time, the features, the window's own length."""
    hint = features.sync.mean() + features.visual.float().std()

    def velocity(latents, sigma):
        around = torch.nn.functional.avg_pool1d(latents, 9, 1, 4) + latents.mean(dim=-1, keepdim=True)
        return torch.tanh(around * (1 + sigma)) + 0.1 * torch.sin(hint + latents)

    return velocity


def plain_decode(latents):
    """The first channel as impulses at the beginnings of the latent frames, and a little of the others."""
    waveform = torch.zeros(latents.shape[0], 1, latents.shape[-1], HOP)
    waveform[..., 0] = latents[:, :1]
    waveform[..., 1] = torch.nn.functional.avg_pool1d(latents.mean(dim=1, keepdim=True), 21, 1, 10)
    return waveform.flatten(2)


def run(film, frames_from) -> np.ndarray:
    for stage in film.stages(frames_from):
        for _ in stage.work:
            pass
    return np.array(film.sound)


def still_frames(seconds: float, fps: float = 25.0):
    """A film as `LongFilm` reads it, whose pictures are tiny and change slowly."""

    def frames_from(start):
        for i in range(round(seconds * fps)):
            if (i + 1) / fps > start:
                yield i / fps, np.full((4, 4, 3), i % 200, np.uint8)

    return frames_from


def make_film_file(
    video: Path,
    out: Path,
    *,
    folder: Path | None = None,
    velocity=mixing_velocity,
    steps: int = 3,
    takes: int = 1,
    join: str = "latents",
    checkpoint_seconds: float = 0.0,
    progress: Callable[[Stage], Iterable] = lambda stage: stage.work,
    keep: bool = False,
    finish: Finish | None = None,
    watch: Callable = lambda items, _total, _label: items,
) -> None:
    """A film's file with sound, as the command line makes it, on stand-ins for the networks."""
    folder = folder or out.with_name(f"{out.name}.job")
    plan = FilmPlan.of_clip(exact(0), exact(probe(video).end_time), WindowSettings(join=join))
    job = Job.open(folder, {"inputs": {"video": digest(video)}, "settings": {"steps": steps, "join": join}})
    film = LongFilm(
        job, plan, marker_parts(velocity), sigmas=flow_sigmas(steps), seed=5, takes=takes,
        checkpoint_seconds=checkpoint_seconds,
    )  # fmt: skip
    for stage in film.stages(lambda start: read_clock(video, float(start))):
        for _ in progress(stage):
            pass
    deliver(job, plan, finished(job, plan, film.sound[0], finish or Finish(), watch), out, video)
    job.close(keep=keep)


def marker_parts(velocity=mixing_velocity, new_stream=MarkerStream) -> LongFilmParts:
    return LongFilmParts(
        new_stream=new_stream, velocity=velocity, decode=plain_decode, decode_reach=10,
        latent_channels=CHANNELS,
    )  # fmt: skip


def make_film_slowly(video: Path, out: Path) -> None:
    """With time to be killed in between."""

    def progress(stage):
        for item in stage.work:
            time.sleep(0.01)
            yield item

    make_film_file(video, out, progress=progress)


def make_mixed_file(video: Path, out: Path, block: int | None = None, reached: Path | None = None) -> None:
    """With the film's own sound underneath, and at a loudness.

    block:   of the mix, after which the process kills itself, as nothing else could so exactly.
    reached: a file into which it writes that before.
    """

    def watch(items, _total, label):
        for number, item in enumerate(items):
            yield item
            if label == MIXING and number == block and reached:
                reached.write_text(f"{label} {number}")
                os.kill(os.getpid(), signal.SIGKILL)

    make_film_file(video, out, finish=Finish(original=video, duck_db=6, loudness=-20), watch=watch, steps=2)


def make_film_within(limit: int, video: Path, out: Path, told: Path) -> None:
    """As on a full disk: no file can grow beyond `limit` bytes. Writes what it was told into `told`."""
    import resource  # not on Windows

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        make_film_file(video, out)
    except OSError as error:
        told.write_text(str(error))
