"""One Avatar job from files to a file, without a graph: what `hunyuan_av avatar` runs.

Each stage loads the network it needs and lets go of it. What grows with the video is the ring of latents and
the speech; frames go into the file as they are decoded.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..hunyuan.avatar.conditions import AvatarPrompt, AvatarScene, Character, Motion
from ..hunyuan.avatar.face_mask import face_mask, fit_mask
from ..hunyuan.avatar.face_pick import FaceBox, face_at, face_numbered, faces_by_size
from ..hunyuan.avatar.prompt_text import with_quality
from ..hunyuan.avatar.reference_image import llava_pixels, reference_latents, resize, vae_pixels
from ..hunyuan.avatar.speech_encoder import Speech
from ..hunyuan.avatar.timing import SAMPLE_RATE, AvatarTiming
from ..hunyuan.avatar.velocity import AvatarClip, RingVelocity, denoise_ring
from ..hunyuan.long_form.job import Job
from ..hunyuan.media.audio import fit_length, resample, to_mono
from ..hunyuan.media.encode import write_video
from ..hunyuan.media.files import read_audio
from ..hunyuan.media.mux import SAMPLE_RATE as TRACK_RATE
from ..hunyuan.media.picture import read_mask, read_picture
from ..hunyuan.sampling.denoise import draw_noise
from ..hunyuan.sampling.schedule import flow_sigmas
from .avatar_job import AvatarJob
from .avatar_models import AvatarModels
from .avatar_resume import RingFolder, job_folder

Progress = Callable[[Iterable[Any], int, str], Iterable[Any]]

LEVELS = 255  # as released: levels are cut off, not rounded


@dataclass(frozen=True, kw_only=True)
class Heard:
    """The voices of a job.

    speech: what the model hears, one for each voice. track: (1 or 2, samples) at 48 kHz, all voices at once.
    """

    speech: list[Speech]
    track: np.ndarray
    timing: AvatarTiming


def make(job: AvatarJob, models: AvatarModels, progress: Progress) -> str:
    """Run the job; returns the path of the finished file. Nothing unfinished stands under its name."""
    image = read_picture(job.image)
    picture = resize(image, job.size)
    if job.memory is not None:
        models = models.within(job.memory, (picture.shape[0], picture.shape[1]))
    with torch.inference_mode():
        heard = listen(job, models)
        timing = heard.timing
        masks = find_speakers(job, models, image, picture, timing)
        with job_folder(job, models, timing) as work:
            # Nobody else holds what guides the sampler: it goes before frames are decoded.
            latents = sample(job, models, guide(job, models, picture, heard, masks), timing, progress, work)
            frames = progress(pictures(models, latents, timing), timing.kept_frames, "Decoding the video")
            write_video(job.out, frames, job.fps, heard.track)
    return str(job.out)


def listen(job: AvatarJob, models: AvatarModels) -> Heard:
    """All voices, encoded and mixed. Raises ValueError for what cannot be heard."""
    encoder, speech, tracks = models.speech_encoder(), [], []
    for voice in job.voices:
        waveform, rate = read_audio(voice.path)
        mono = resample(to_mono(waveform), rate, SAMPLE_RATE)[0]
        if len(mono) * Fraction(job.fps) < SAMPLE_RATE:
            raise ValueError(
                f"{voice.path.name} is shorter than one video frame ({1 / job.fps:g} s). Use a longer"
                " recording."
            )
        speech.append(encoder.encode(torch.from_numpy(mono)))
        tracks.append(resample(waveform[:2], rate, TRACK_RATE))
    frames = max(one.num_frames(job.fps) for one in speech)
    return Heard(speech=speech, track=mixed(tracks), timing=AvatarTiming(frames, fit=True))


def mixed(tracks: list[np.ndarray]) -> np.ndarray:
    """Voices at once; one alone stays as it is. Where together they would be cut off, all are turned down."""
    if len(tracks) == 1:
        return tracks[0]
    samples, channels = max(track.shape[1] for track in tracks), max(len(track) for track in tracks)
    total = np.zeros((channels, samples), np.float32)
    for track in tracks:
        total += fit_length(track, samples)
    return total / max(1.0, float(np.abs(total).max()))


def find_speakers(
    job: AvatarJob, models: AvatarModels, image: np.ndarray, picture: np.ndarray, timing: AvatarTiming
) -> list[Tensor]:
    """For each voice, where it acts: the mask that is given for it, or around the face that speaks.

    image: as the file has it, whose pixels points may be given in. picture: as the model sees it.
    """
    height, width = picture.shape[:2]
    original = image.shape[0], image.shape[1]
    masks = [fit_mask(read_mask(path), height, width, timing, original) for path in job.masks]
    if len(masks) == len(job.voices):
        return masks
    for box in choose_faces(job, models, image, picture):
        mask = face_mask(box, height, width, job.enlarge)
        masks.append(fit_mask(mask[None], height, width, timing))
    return masks


def choose_faces(
    job: AvatarJob, models: AvatarModels, image: np.ndarray, picture: np.ndarray
) -> list[FaceBox]:
    """A face for each voice without a mask: the one at its point, or else the next by size."""
    size = picture.shape[0], picture.shape[1]
    boxes: list[FaceBox] = [
        tuple(box) for box in faces_by_size(models.face_detector()(picture)).boxes.tolist()
    ]
    chosen: list[FaceBox] = []
    for i, voice in enumerate(job.voices[len(job.masks) :]):
        if voice.point is None:
            chosen.append(face_numbered(boxes, i if job.face is None else job.face, size))
        else:
            chosen.append(face_at(boxes, *voice.fractions(*image.shape[:2]), size))
        if chosen[-1] in chosen[:-1]:
            other = job.voices[len(job.masks) + chosen.index(chosen[-1])].path.name
            raise ValueError(
                f"{other} and {voice.path.name} would be spoken by the same face. Say where each face is,"
                f" as in --voice {voice.path.name}@0.7,0.4."
            )
    return chosen


def guide(
    job: AvatarJob, models: AvatarModels, picture: np.ndarray, heard: Heard, masks: list[Tensor]
) -> AvatarClip:
    """All that guides the sampler."""
    device = models.placement.device
    positive, negative = read_prompts(job, models, picture)
    reference = reference_latents(models.video_vae(), vae_pixels(picture).to(device))
    motion = Motion.of(job.expression, job.head_motion, job.fps)
    motion = Motion(
        expression=motion.expression.to(device), pose=motion.pose.to(device), fps=motion.fps.to(device)
    )
    return AvatarClip(
        positive=positive,
        negative=negative,
        scene=AvatarScene(reference=reference.float(), motion=motion),
        characters=tuple(
            # Speech stays on the CPU, which holds as much of it as there is: windows take their parts.
            Character(audio=speech.windows(job.fps), mask=mask)
            for speech, mask in zip(heard.speech, masks, strict=True)
        ),
    )


def read_prompts(
    job: AvatarJob, models: AvatarModels, picture: np.ndarray
) -> tuple[AvatarPrompt, AvatarPrompt]:
    """Positive and negative."""
    words = with_quality(job.prompt) if job.quality else job.prompt
    with models.text_encoder() as encoder:
        seen = encoder.see(llava_pixels(picture).to(models.placement.device))
        return encoder.encode(words, seen), encoder.encode(job.negative_prompt, seen)


def sample(
    job: AvatarJob, models: AvatarModels, clip: AvatarClip, timing: AvatarTiming, progress: Progress,
    work: Job | None,
) -> Tensor:  # fmt: skip
    """The video's latents, (1, c, latents, h, w), on the CPU, where the whole ring lies all the time.

    work: the job's folder, where they are kept between steps.
    """
    channels, _, height, width = clip.scene.reference.shape[1:]
    ring = timing.ring_latents
    latents = draw_noise((1, channels, timing.noise_latents, height, width), job.seed)[:, :, :ring]
    sigmas = flow_sigmas(job.steps, shift=job.flow_shift)
    with models.transformer() as transformer:
        velocity = RingVelocity.of(
            transformer, clip, job.settings, job.steps, ring,
            keep_on="cpu", dtype=models.placement.dtype, together=not models.halves_apart,
        )  # fmt: skip
        folder = RingFolder(work, velocity.schedule, measured=velocity.step_cache is not None)
        done, latents = folder.read(latents)
        states = folder.keep(denoise_ring(velocity, latents, sigmas, done=done), done)
        for latents in progress(states, job.steps - done, "Making the video"):  # noqa: B007 - the last is used
            pass
    return latents[:, :, : timing.latents]


def pictures(models: AvatarModels, latents: Tensor, timing: AvatarTiming) -> Iterator[np.ndarray]:
    """The video's frames, (h, w, 3) uint8, as they are decoded."""
    vae, left = models.video_vae(), timing.kept_frames
    # Nothing here holds a piece on the device while the next one is decoded.
    for piece in map(levels, vae.decode_frames(latents, models.placement.device)):
        shown = piece[:left]
        left -= len(shown)
        yield from shown


def levels(piece: Tensor) -> np.ndarray:
    """(1, t, h, w, 3) in [0, 1] to (t, h, w, 3) uint8."""
    return (piece[0] * LEVELS).byte().cpu().numpy()
