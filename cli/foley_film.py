"""A Foley job that is longer than one generation covers: windows, in a job folder that survives a kill."""

import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import torch

from ..host.foley_conditioning import NOTHING_SEEN
from ..hunyuan.foley.features import FeatureStream
from ..hunyuan.foley.text_encoder import high_quality
from ..hunyuan.foley.timed_prompts import PromptTrack
from ..hunyuan.foley.timing import MAX_SECONDS, SYNC_RATE
from ..hunyuan.long_form.deliver import deliver, levelled
from ..hunyuan.long_form.disk import bytes_needed, check_room, size
from ..hunyuan.long_form.guided import GuidedWindows
from ..hunyuan.long_form.job import Job
from ..hunyuan.long_form.pipeline import LongFilm, LongFilmParts
from ..hunyuan.long_form.plan import FilmPlan, Shot, WindowSettings, exact
from ..hunyuan.long_form.prompts import WindowPrompts
from ..hunyuan.long_form.shot_list import shots_of_film
from ..hunyuan.media.container import probe, read_clock
from ..hunyuan.media.files import digest
from ..hunyuan.sampling.guidance import GuidanceScales
from ..hunyuan.sampling.schedule import flow_sigmas
from ..hunyuan.sampling.solvers import SOLVERS
from .foley_job import AUTO, FoleyJob
from .foley_models import FoleyModels

Progress = Callable[[Iterable[Any], int, str], Iterable[Any]]

# What says where things lie or how the work is done, not what comes out.
NOT_SETTINGS = {"out", "video", "job", "keep_job", "restart", "device", "dtype", "shots"}


def is_film(job: FoleyJob, seconds: float) -> bool:
    """Whether one generation is not enough: for the length, for shots, or for prompts that change."""
    is_timed = PromptTrack.parse(job.prompt) != PromptTrack.plain(job.prompt)
    return seconds > MAX_SECONDS + 1 / SYNC_RATE or job.shots is not None or is_timed


def check_film(job: FoleyJob, seconds: float) -> None:
    """Raise ValueError for what is only done to clips that one generation covers."""
    asked = {
        "--sound": job.sound, "--loudness": job.loudness, "--track mix": job.track == "mix" or None,
    }  # fmt: skip
    for option, value in asked.items():
        if value is not None:
            raise ValueError(
                f"{option} works on at most {MAX_SECONDS:g} s without --shots and timed prompts, and this"
                f" lasts {seconds:.2f} s. Leave it out, or choose a part with --start and --seconds."
            )


def plan_of(job: FoleyJob, seconds: float, progress: Progress | None = None) -> FilmPlan:
    """The job's windows. seconds: of the video that are looked at, or of sound from text alone."""
    settings = WindowSettings(overlap=exact(job.overlap), join=job.join)
    start = exact(job.start if job.video else 0.0)
    end = start + exact(seconds)
    if job.shots is None or job.video is None:
        return FilmPlan.of_clip(start, end, settings)
    return FilmPlan(shots_of(job.video, job.shots, start, end, progress), settings)


def shots_of(
    video: Path, shots: str, start: Fraction, end: Fraction, progress: Progress | None
) -> list[Shot]:
    """The shots that --shots asks for."""
    text = "" if shots == AUTO else read_text(Path(shots))
    total = round((end - start) * probe(video).frame_rate)

    def watch(frames):
        return progress(frames, total, "Looking for cuts") if progress else frames

    return shots_of_film(video, start, end, text, watch=watch)


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8 text. Save the list of shots in UTF-8.") from error


def make_film(job: FoleyJob, plan: FilmPlan, models: FoleyModels, progress: Progress) -> Iterator[str]:
    """Make or continue the job's sound; yields the path of each finished file."""
    needed = disk_needed(job, plan, models)
    folder = job.job_folder
    if not folder.exists():
        check_room(folder, needed)
    with Job.open(folder, identity(job, plan, models), restart=job.restart) as work:
        windows = f"{len(plan.windows)} windows, at most {size(needed)}"
        print(f"Job: {folder} ({windows}{', continued' * work.resumed})")
        film = LongFilm(
            work, plan, parts_of(job, plan, models), sigmas=flow_sigmas(job.steps, shift=job.shift),
            seed=job.seed, takes=job.takes, solver=SOLVERS[job.solver],
        )  # fmt: skip
        try:
            yield from finish(job, plan, work, film, progress)
        except KeyboardInterrupt:
            print(f"\nThe finished parts stay in {folder}: the same command goes on.", file=sys.stderr)
            raise
        work.close(keep=job.keep_job)


def finish(job: FoleyJob, plan: FilmPlan, work: Job, film: LongFilm, progress: Progress) -> Iterator[str]:
    """All that is left of a job; yields the path of each finished file."""
    video = job.video
    for stage in film.stages(None if video is None else lambda start: read_clock(video, float(start))):
        for _ in progress(stage.work, stage.total, stage.label):
            pass
    for take, path in zip(film.sound, job.outputs, strict=True):
        sound = levelled(work, plan, take, job.prompt, job.gain)
        deliver(work, plan, sound, path, video, keep_original=job.track == "keep")
        yield str(path)


def parts_of(job: FoleyJob, plan: FilmPlan, models: FoleyModels) -> LongFilmParts:
    """The job's networks, as a long film is made with them."""
    words = WindowPrompts(plan, job.prompt)

    def prompts(window):
        return [(high_quality(p) if job.high_quality else p, weights) for p, weights in words(window)]

    guided = GuidedWindows(
        transformer=models.transformer, encode_text=models.text_encoder.encode, prompts=prompts,
        negative_prompt=job.negative_prompt, scales=scales_of(job), interval=job.guidance_interval,
        drop=frozenset() if job.video else NOTHING_SEEN, batch=job.batch,
        dtype=models.placement.dtype, device=models.placement.device,
    )  # fmt: skip
    return LongFilmParts(
        new_stream=lambda: FeatureStream(models.visual_encoder, models.sync_encoder),
        velocity=guided, decode=models.audio_vae.decode,
        decode_reach=models.audio_vae.config.decoder_reach,
        latent_channels=models.transformer.config.latent_channels, device=models.placement.device,
    )  # fmt: skip


def scales_of(job: FoleyJob) -> GuidanceScales:
    return GuidanceScales(
        text=job.cfg * job.text_scale, video=job.cfg * job.video_scale, sync=job.cfg * job.sync_scale
    )


def identity(job: FoleyJob, plan: FilmPlan, models: FoleyModels) -> dict[str, dict[str, Any]]:
    """What a continued job has to have in common with the one that was begun."""
    settings = {
        field.name: getattr(job, field.name)
        for field in dataclasses.fields(job)
        if field.name not in NOT_SETTINGS
    }
    placement = {"device": models.placement.device, "dtype": models.placement.dtype}
    shots = [[shot.start, shot.end, shot.prompt] for shot in plan.shots]
    return {
        "inputs": {"video": digest(job.video) if job.video else None, "weights": models.fingerprint},
        "settings": {**settings, **placement, "shots": shots},
        "versions": {"torch": torch.__version__, "av": av.__version__},
    }


def disk_needed(job: FoleyJob, plan: FilmPlan, models: FoleyModels) -> int:
    config = models.transformer.config
    return bytes_needed(
        plan, steps=job.steps, takes=job.takes, channels=config.latent_channels,
        visual_size=config.visual_size, sync_size=config.sync_size,
    )  # fmt: skip
