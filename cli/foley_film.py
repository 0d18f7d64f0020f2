"""A Foley job that is longer than one generation covers: windows, in a job folder that survives a kill."""

import dataclasses
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import torch
from torch import Tensor

from ..host.foley_conditioning import NOTHING_SEEN
from ..hunyuan.foley.config import FoleyConfig
from ..hunyuan.foley.features import FeatureStream
from ..hunyuan.foley.graphed import StepGraphs
from ..hunyuan.foley.text_encoder import high_quality
from ..hunyuan.foley.time_mask import time_mask
from ..hunyuan.foley.timed_prompts import PromptTrack
from ..hunyuan.foley.timing import LATENT_RATE, MAX_SECONDS, SYNC_RATE
from ..hunyuan.long_form.deliver import deliver
from ..hunyuan.long_form.disk import bytes_needed, check_room, size
from ..hunyuan.long_form.finish import Finish, finished
from ..hunyuan.long_form.given import GivenSound
from ..hunyuan.long_form.guided import GuidedWindows
from ..hunyuan.long_form.job import Job
from ..hunyuan.long_form.pipeline import LongFilm, LongFilmParts
from ..hunyuan.long_form.plan import FilmPlan, Shot, WindowSettings, exact, samples_in
from ..hunyuan.long_form.prompts import WindowPrompts
from ..hunyuan.long_form.shot_list import shots_of_film
from ..hunyuan.media.container import probe, read_clock
from ..hunyuan.media.files import SOUND_FORMATS, digest
from ..hunyuan.media.sound_stream import check_sound
from ..hunyuan.sampling.guidance import GuidanceScales
from ..hunyuan.sampling.schedule import flow_sigmas
from ..hunyuan.sampling.solvers import SOLVERS
from .foley_graphs import graphs_for, records, tell_graphs
from .foley_job import AUTO, FoleyJob
from .foley_models import FoleyModels

Progress = Callable[[Iterable[Any], int, str], Iterable[Any]]

# Of a card: what the windows in work keep from step to step. With the largest network and a prompt of 15
# tokens that is some 14 MB each.
KEPT_BYTES = 512 << 20

# What says where things lie or how the work is done, and what is done with the finished sound: a job can go
# on with another loudness, say, than it was begun with.
NOT_SETTINGS = {"out", "video", "sound", "job", "keep_job", "restart", "device", "dtype", "shots"}
NOT_SETTINGS |= {"track", "gain", "duck", "loudness", "true_peak"}


def is_film(job: FoleyJob, seconds: float) -> bool:
    """Whether one generation is not enough: for the length, for shots, or for prompts that change."""
    is_timed = PromptTrack.parse(job.prompt) != PromptTrack.plain(job.prompt)
    return seconds > MAX_SECONDS + 1 / SYNC_RATE or job.shots is not None or is_timed


def check_film(job: FoleyJob, seconds: float) -> None:
    """Raise ValueError for what would be missing only after hours of work."""
    samples = max(1, samples_in(exact(seconds)))
    if job.sound is not None:
        check_sound(job.sound, 0.0, samples)
    if job.regenerate is not None:
        time_mask(math.ceil(seconds * LATENT_RATE), *job.regenerate, job.fade)
    if job.track == "mix" and job.video is not None:
        check_sound(job.video, job.start, samples)


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
    needed = disk_needed(job, plan, models.transformer.config)
    folder = job.job_folder
    check_room(folder, needed)
    with Job.open(folder, identity(job, plan, models), restart=job.restart) as work:
        windows = f"{len(plan.windows)} windows, at most {size(needed)}"
        print(f"Job: {folder} ({windows}{', continued' * work.resumed})")
        graphs = graphs_for(job, models, film=True)
        film = LongFilm(
            work, plan, parts_of(job, plan, models, graphs), sigmas=sigmas_of(job),
            seed=job.seed, takes=job.takes, solver=SOLVERS[job.solver], given=given_sound(job, models),
        )  # fmt: skip
        try:
            yield from finish(job, plan, work, film, progress)
            tell_graphs(graphs)
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
        sound = finished(work, plan, take, finish_of(job), progress)
        deliver(work, plan, sound, path, video, keep_original=job.track == "keep")
        yield str(path)


def parts_of(job: FoleyJob, plan: FilmPlan, models: FoleyModels, graphs: StepGraphs | None) -> LongFilmParts:
    """The job's networks, as a long film is made with them. graphs: what steps are recorded in."""
    words = WindowPrompts(plan, job.prompt)

    def prompts(window):
        return [(high_quality(p) if job.high_quality else p, weights) for p, weights in words(window)]

    guided = GuidedWindows(
        transformer=models.transformer, encode_text=models.text_encoder.encode, prompts=prompts,
        negative_prompt=job.negative_prompt, scales=scales_of(job), interval=job.guidance_interval,
        drop=frozenset() if job.video else NOTHING_SEEN, batch=job.batch,
        dtype=models.placement.dtype, device=models.placement.device, run=models.run,
        graphs=graphs,
    )  # fmt: skip
    return LongFilmParts(
        new_stream=lambda: FeatureStream(models.visual_encoder, models.sync_encoder),
        velocity=guided, decode=models.audio_vae.decode,
        decode_reach=models.audio_vae.config.decoder_reach,
        latent_channels=models.transformer.config.latent_channels, device=models.placement.device,
        kept_bytes=kept_bytes(models),
    )  # fmt: skip


def kept_bytes(models: FoleyModels) -> int:
    """Of what windows keep between their steps: only on a card, and if nobody has limited its memory.

    On a CPU it would save a sixteenth of the time, and memory would grow for as many windows as there are
    steps.
    """
    return 0 if models.limited or models.placement.device.type == "cpu" else KEPT_BYTES


def sigmas_of(job: FoleyJob) -> Tensor:
    return flow_sigmas(job.steps, shift=job.shift, denoise=1.0 if job.denoise is None else job.denoise)


def given_sound(job: FoleyJob, models: FoleyModels) -> GivenSound | None:
    """What the film's sound is made from."""
    if job.sound is None:
        return None
    vae, device = models.audio_vae, models.placement.device
    return GivenSound(
        path=job.sound, encode=lambda waveform: vae.encode(waveform.to(device)).mode.cpu(),
        reach=vae.config.encoder_reach, channels=models.transformer.config.latent_channels,
        regenerate=job.regenerate, fade=job.fade,
    )  # fmt: skip


def finish_of(job: FoleyJob) -> Finish:
    return Finish(
        prompt=job.prompt, gain_db=job.gain, original=job.video if job.track == "mix" else None,
        duck_db=job.duck, loudness=job.loudness, true_peak=job.true_peak,
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
    if models.is_compiled:  # which shows in the last digits; not said otherwise, as jobs were begun before
        placement["compiled"] = True
    if records(job, models, film=True):  # so may this
        placement["graphs"] = True
    shots = [[shot.start, shot.end, shot.prompt] for shot in plan.shots]
    return {
        "inputs": {
            "video": digest(job.video) if job.video else None,
            "weights": models.fingerprint,
            "sound": digest(job.sound) if job.sound else None,
        },
        "settings": {**settings, **placement, "shots": shots},
        "versions": {"torch": torch.__version__, "av": av.__version__},
    }


def disk_needed(job: FoleyJob, plan: FilmPlan, config: FoleyConfig) -> int:
    """Bytes of the job's folder when it is fullest."""
    return bytes_needed(
        plan, steps=job.steps, takes=job.takes, channels=config.latent_channels,
        visual_size=config.visual_size, sync_size=config.sync_size,
        rows_after=finish_of(job).rows, given=job.sound is not None,
        video=None if job.out.suffix.lower() in SOUND_FORMATS else job.video,
    )  # fmt: skip
