"""One Foley job from files to files, without a graph: what `hunyuan_av foley` and `batch` run."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..host.foley_conditioning import NOTHING_SEEN
from ..hunyuan.foley.features import FoleyFeatures, encode_video
from ..hunyuan.foley.graphed import paced
from ..hunyuan.foley.text_encoder import high_quality
from ..hunyuan.foley.time_mask import time_mask
from ..hunyuan.foley.timing import SAMPLE_RATE, FoleyTiming
from ..hunyuan.foley.velocity import FoleyPrompt, GuidedVelocity
from ..hunyuan.media.audio import fit_length, resample, to_mono
from ..hunyuan.media.container import VideoInfo, probe, read_frames
from ..hunyuan.media.files import read_audio, write_audio
from ..hunyuan.media.loudness import normalise_loudness
from ..hunyuan.media.mux import check_mux, mux
from ..hunyuan.media.soundtrack import mix_tracks
from ..hunyuan.sampling.denoise import denoise_from, draw_noise
from ..hunyuan.sampling.schedule import flow_sigmas
from ..hunyuan.sampling.solvers import SOLVERS
from .foley_film import Progress, check_film, is_film, make_film, plan_of, scales_of
from .foley_graphs import graphs_for, tell_graphs
from .foley_job import FoleyJob
from .foley_models import FoleyModels


def make(job: FoleyJob, models: FoleyModels, progress: Progress) -> Iterator[str]:
    """Run the job; yields the path of each finished file. Nothing unfinished stands under a final name."""
    info = look(job)
    if is_film(job, length(job, info)):
        yield from make_film(job, plan_of(job, length(job, info), progress), models, progress)
        return
    features = watch(job, info, models, progress) if info else None

    with torch.inference_mode():
        for waveform, path in zip(sounds(job, models, features, progress), job.outputs, strict=True):
            track = soundtrack(job, waveform.numpy())
            if job.is_sound:
                write_audio(path, track, SAMPLE_RATE)
            else:
                assert job.video is not None
                keep = job.track == "keep"
                mux(job.video, track, path, start=job.start, seconds=job.seconds, keep_original=keep)
            yield str(path)


def look(job: FoleyJob) -> VideoInfo | None:
    """What the job's video holds. Raises ValueError, before the work begins, for what could not end."""
    info = probe(job.video) if job.video else None
    if job.video and info and length(job, info) <= 0:
        ends = f"{job.video.name} ends at {info.end_time:.2f} s"
        raise ValueError(f"{ends}, before --start {job.start:g}. Choose an earlier start.")
    if job.video and info and job.track != "replace" and not info.has_audio:
        raise ValueError(f"{job.video.name} has no sound to {job.track}. Use --track replace.")
    if is_film(job, length(job, info)):
        check_film(job, length(job, info))
    if info is None or job.video is None:
        return None
    if not job.is_sound:
        check_mux(job.video, job.out, keep_original=job.track == "keep")
    return info


def length(job: FoleyJob, info: VideoInfo | None) -> float:
    """Seconds of the video that are looked at, or of sound from text alone."""
    if info is None:
        assert job.seconds is not None
        return job.seconds
    rest = info.end_time - job.start
    return rest if job.seconds is None else min(job.seconds, rest)


def watch(job: FoleyJob, info: VideoInfo, models: FoleyModels, progress: Progress) -> FoleyFeatures:
    """The features of the job's part of the video."""
    assert job.video is not None
    frames = read_frames(job.video, job.start, job.seconds)
    watched = progress(frames, round(length(job, info) * info.frame_rate), "Watching the video")
    return encode_video(watched, models.visual_encoder, models.sync_encoder)


def sounds(
    job: FoleyJob, models: FoleyModels, features: FoleyFeatures | None, progress: Progress
) -> Iterator[Tensor]:
    """The takes, (1, samples) each, made `batch` at a time from one draw of noise."""
    device = models.placement.device
    prompt, timing = guide(job, models, features)
    velocity = GuidedVelocity(
        models.transformer,
        prompt,
        scales_of(job),
        interval=job.guidance_interval,
        dtype=models.placement.dtype,
        run=models.run,
    )
    kept = starting_latents(job, models, timing)
    mask = None
    if job.regenerate is not None:
        mask = time_mask(timing.latent_frames, *job.regenerate, job.fade).to(device)
    sigmas = flow_sigmas(job.steps, shift=job.shift, denoise=1.0 if job.denoise is None else job.denoise)

    def denoised(noise: Tensor) -> Tensor:
        """Graphs are recorded for these takes alone: decoding shall have their memory."""
        graphs = graphs_for(job, models)
        asked = velocity if graphs is None else graphs.of(velocity)
        latents = kept.expand_as(noise)
        steps = denoise_from(asked, latents, noise, sigmas, SOLVERS[job.solver], mask)
        for latents in progress(paced(steps), len(sigmas) - 1, "Making the sound"):  # noqa: B007 - the last is used
            pass
        tell_graphs(graphs)
        return latents

    for noise in draw_noise((job.takes, *kept.shape[1:]), job.seed).to(device).split(job.batch or job.takes):
        latents = denoised(noise)
        yield from torch.cat(list(models.audio_vae.decode_tiles(latents)), dim=-1).float().cpu()


def guide(
    job: FoleyJob, models: FoleyModels, features: FoleyFeatures | None
) -> tuple[FoleyPrompt, FoleyTiming]:
    """What guides the sampler: prompts, and the clip or, for sound from text alone, only a length."""
    words = high_quality(job.prompt) if job.high_quality else job.prompt
    negative, positive = models.text_encoder.encode(job.negative_prompt, words)
    if features is not None:
        visual, sync, timing, drop = features.visual, features.sync, features.timing, frozenset()
    else:
        assert job.seconds is not None
        timing = FoleyTiming(job.seconds)
        config = models.transformer.config
        visual = torch.zeros(1, timing.visual_frames, config.visual_size)
        sync = torch.zeros(1, timing.sync_tokens, config.sync_size)
        drop = NOTHING_SEEN
    device = models.placement.device
    prompt = FoleyPrompt(
        positive=positive.to(device), negative=negative.to(device),
        visual=visual.to(device), sync=sync.to(device), drop=drop,
    )  # fmt: skip
    return prompt, timing


def starting_latents(job: FoleyJob, models: FoleyModels, timing: FoleyTiming) -> Tensor:
    """(1, c, n): the given sound as latents, or zeros where there is none."""
    device = models.placement.device
    if job.sound is None:
        return torch.zeros(1, models.transformer.config.latent_channels, timing.latent_frames, device=device)
    waveform, rate = read_audio(job.sound)
    mono = fit_length(resample(to_mono(waveform), rate, SAMPLE_RATE), timing.samples)
    return models.audio_vae.encode_tiled(torch.from_numpy(mono)[None].to(device)).mode.float()


def soundtrack(job: FoleyJob, take: np.ndarray) -> np.ndarray:
    """A take, (1, samples), mixed with the video's own sound and at the asked loudness."""
    if job.track == "mix":
        assert job.video is not None
        original, rate = read_audio(job.video, job.start, job.seconds)
        original = resample(original if len(original) <= 2 else to_mono(original), rate, SAMPLE_RATE)
        take = mix_tracks(take, original, gain_db=job.gain, duck_db=job.duck)
    elif job.gain:
        take = (take * 10 ** (job.gain / 20)).astype(np.float32)
    if job.loudness is not None:
        take = normalise_loudness(take, job.loudness, job.true_peak)
    return take
