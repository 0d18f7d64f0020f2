"""A film's sound in a graph: what `hunyuan.long_form` does, with the models that the sockets brought."""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import host
from ..host.fingerprint import fingerprint
from ..host.foley_conditioning import NOTHING_SEEN, WINDOW_KEY, with_clip
from ..hunyuan.foley.config import XL
from ..hunyuan.foley.features import FeatureStream, FoleyFeatures
from ..hunyuan.foley.seams import SeamReport
from ..hunyuan.foley.text_encoder import high_quality
from ..hunyuan.foley.timed_prompts import clock
from ..hunyuan.long_form.deliver import deliver, levelled
from ..hunyuan.long_form.disk import bytes_needed, check_room, size
from ..hunyuan.long_form.guided import weighted_sum
from ..hunyuan.long_form.job import Job
from ..hunyuan.long_form.joins import joins_of, listen
from ..hunyuan.long_form.pipeline import LongFilm, LongFilmParts, Stage
from ..hunyuan.long_form.plan import FilmPlan, PlannedWindow, Shot, exact
from ..hunyuan.long_form.prompts import WindowPrompts
from ..hunyuan.long_form.shot_list import shots_of_film
from ..hunyuan.media.container import probe, read_clock
from ..hunyuan.media.files import digest
from ..hunyuan.media.mux import CONTAINERS, fits
from ..hunyuan.media.source import open_video
from ..hunyuan.sampling.guidance import GuidanceScales
from ..hunyuan.sampling.schedule import flow_sigmas
from ..hunyuan.sampling.solvers import SOLVERS, Velocity
from .sockets import VideoEncoder, audio_vae, text_encoder, trimmed, video_file

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reel:
    """A VIDEO as the part from `start` to `end` of a file, in seconds on the file's clock.

    frames: roughly how many there are.
    """

    path: Path
    start: Fraction
    end: Fraction
    frames: int

    def checked(self, shots: Sequence[Shot] | None) -> Sequence[Shot]:
        """Its shots; one, if nothing is said of them. Raises ValueError if they are of another video."""
        if shots is None:
            return [Shot(start=self.start, end=self.end)]
        if (shots[0].start, shots[-1].end) != (self.start, self.end):
            raise ValueError(
                f"The shots last from {clock(shots[0].start)} to {clock(shots[-1].end)}, the video from"
                f" {clock(self.start)} to {clock(self.end)}. Connect the same video to Foley Shots."
            )
        return shots


@contextmanager
def open_reel(video: Any) -> Iterator[Reel]:
    """A VIDEO of any length; one that is only in memory is a file for as long as it is needed."""
    with video_file(video) as path:
        start, seconds = trimmed(video, 0.0, 0.0)
        info = probe(path)
        end = min(start + seconds, info.end_time) if seconds else info.end_time
        yield Reel(path, exact(float(start)), exact(float(end)), round((end - start) * info.frame_rate))


def shots_in(reel: Reel, threshold: float, prompts: str) -> list[Shot]:
    """A film's shots: as they are written, or between the cuts that are found."""
    watch = partial(host.progress, total=reel.frames, label="Looking for cuts")
    return shots_of_film(reel.path, reel.start, reel.end, prompts, threshold, watch)


@dataclass(frozen=True, kw_only=True)
class FilmSettings:
    """What the sound shall be like; see the node's widgets."""

    prompt: str
    negative: str
    high_quality: bool
    seed: int
    steps: int
    solver: str
    scales: GuidanceScales


@dataclass(frozen=True, kw_only=True, eq=False)
class FilmMaker:
    """The models of a graph, at work on a film."""

    model: Any
    vae: Any
    clip: Any
    video_encoder: VideoEncoder
    settings: FilmSettings
    plan: FilmPlan

    def make(self, video: Path) -> tuple[Path, SeamReport]:
        """The video with its sound as a new file, and what its joins are like.

        The work lies in a folder that is named by all that it depends on: stopped, it goes on there.
        """
        with self._job(video) as job:
            film = self._film(job)
            stages = film.stages(lambda start: read_clock(video, float(start)))
            with host.resident(self.video_encoder):
                work_through(next(stages))
            for stage in stages:
                work_through(stage)

            sound = levelled(job, self.plan, film.sound[0], self.settings.prompt)
            report = listen(sound[0], joins_of(self.plan))
            made = host.temporary_file(fitting_suffix(video))
            deliver(job, self.plan, sound, made, video)
            job.close()
        return made, report

    def _film(self, job: Job) -> LongFilm:
        settings, network = self.settings, audio_vae(self.vae)
        parts = LongFilmParts(
            new_stream=lambda: FeatureStream(self.video_encoder.visual, self.video_encoder.sync),
            velocity=self.velocity, decode=self.decode, decode_reach=network.config.decoder_reach,
            latent_channels=network.config.latent_dim,
        )  # fmt: skip
        sigmas = host.noise_levels(self.model, flow_sigmas(settings.steps))
        return LongFilm(
            job, self.plan, parts, sigmas=sigmas, seed=settings.seed, solver=SOLVERS[settings.solver]
        )

    def velocity(self, window: PlannedWindow, features: FoleyFeatures | None) -> Velocity:
        """What a solver asks for in a window."""
        assert features is not None  # a video was watched
        parts = []
        for text, weights in self.prompts(window):
            positive, negative = self._states(text)
            guider = host.foley_guider(
                self.model,
                with_clip([[positive, {WINDOW_KEY: True}]], features.visual, features.sync, ()),
                with_clip([[negative, {WINDOW_KEY: True}]], features.visual, features.sync, NOTHING_SEEN),
                self.settings.scales,
            )
            parts.append((host.velocity(guider), weights))
        return lambda latents, sigma: weighted_sum(parts, latents, sigma)

    def decode(self, latents: Tensor) -> Tensor:
        with host.resident(self.vae) as device:
            return audio_vae(self.vae).decode(latents.to(device)).cpu()

    @cached_property
    def prompts(self) -> WindowPrompts:
        return WindowPrompts(self.plan, self.settings.prompt)

    @cached_property
    def _encoded(self) -> dict[str, tuple[Tensor, Tensor]]:
        return {}

    def _states(self, text: str) -> tuple[Tensor, Tensor]:
        """Of the prompt and of the negative prompt, encoded together."""
        if text not in self._encoded:
            words = high_quality(text) if self.settings.high_quality else text
            with host.resident(self.clip), torch.no_grad():
                states = text_encoder(self.clip).encode(self.settings.negative, words)
            negative, positive = (state.to("cpu", torch.float32) for state in states)
            self._encoded[text] = positive, negative
        return self._encoded[text]

    def _job(self, video: Path) -> Job:
        models = fingerprint(self.model, self.vae, self.clip, self.video_encoder)
        shots = [[shot.start, shot.end, shot.prompt] for shot in self.plan.shots]
        identity = {
            "inputs": {"video": digest(video), "models": models},
            "settings": {**asdict(self.settings), **asdict(self.plan.settings), "shots": shots},
            "versions": {"torch": torch.__version__},
        }
        name = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:16]
        folder = host.jobs_folder() / name
        if not folder.exists():
            tell_of_unfinished(folder.parent)
        check_room(folder, self._bytes_needed(video))
        return Job.open(folder, identity)

    def _bytes_needed(self, video: Path) -> int:
        return bytes_needed(
            self.plan, steps=self.settings.steps, takes=1, channels=XL.latent_channels,
            visual_size=XL.visual_size, sync_size=XL.sync_size, video=video,
        )  # fmt: skip


def fitting_suffix(video: Path) -> str:
    """Of a container that holds the video's picture beside our sound: its own, if that does."""
    with open_video(video) as source:
        own = video.suffix.lower()
        for suffix in sorted(CONTAINERS, key=lambda other: other != own):
            if fits(source, CONTAINERS[suffix], keep_original=False):
                return suffix
    raise ValueError(f"No container holds the picture of {video.name} ({source.codec}) beside our sound.")


def tell_of_unfinished(folder: Path) -> None:
    """Films that were stopped and not queued again take room on the disk: say how much."""
    taken = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if taken:
        logger.warning(
            "%d unfinished films in %s take %s. Delete what is not to be continued.",
            sum(path.is_dir() for path in folder.iterdir()), folder, size(taken),
        )  # fmt: skip


def work_through(stage: Stage) -> None:
    for _ in host.progress(stage.work, stage.total, stage.label):
        pass
