"""One runner for each kind of golden about Avatar's sampling: schedules, windows, and the loop as a whole."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from golden import Golden, Row
from hunyuan_av.hunyuan.avatar.conditions import (
    AvatarConditions,
    AvatarPrompt,
    AvatarScene,
    Character,
    Features,
    Motion,
    Opening,
    Speaker,
    Voice,
)
from hunyuan_av.hunyuan.avatar.ring import Window, windows
from hunyuan_av.hunyuan.avatar.schedule import AvatarStep, published_schedule
from hunyuan_av.hunyuan.avatar.timing import PUBLISHED_FRAMES, AvatarTiming
from hunyuan_av.hunyuan.avatar.velocity import AvatarClip, RingVelocity, WindowModel, denoise_ring
from hunyuan_av.hunyuan.sampling.schedule import TIME_SCALE, flow_sigmas
from hunyuan_av.hunyuan.sampling.solvers import euler
from parity_avatar import build_transformer

Rows = Iterator[Row]


def scheduler(golden: Golden) -> Rows:
    tolerance = golden.tolerance()
    for case in golden.sidecar["cases"]:
        i, step = case["index"], case["euler_step_index"]
        sigmas = flow_sigmas(case["steps"], shift=case["shift"])
        yield golden.compare(f"out.sigmas_{i}", sigmas, tolerance)
        yield golden.compare(f"out.timesteps_{i}", sigmas[:-1] * TIME_SCALE, tolerance)

        velocity = golden[f"in.velocity_{i}"]
        start, end = sigmas[step : step + 2].tolist()
        after = euler(lambda _x, _sigma, v=velocity: v, golden[f"in.sample_{i}"], start, end)
        yield golden.compare(f"out.step_{i}", after, tolerance)


# --- windows -----------------------------------------------------------------------------------------------


def window_schedule(golden: Golden) -> Rows:
    """Every length and every index. One row for each length of speech."""
    for case in golden.sidecar["cases"]:
        timing = AvatarTiming(case["audio_frames"], PUBLISHED_FRAMES)
        steps = published_schedule(len(case["steps"]), cfg=1.0)
        mine = {**lengths(timing), "steps": [step_of(i, steps[i], timing) for i in range(len(steps))]}
        yield golden.equal(f"{case['audio_frames']} frames", mine, case)


def lengths(timing: AvatarTiming) -> dict[str, int]:
    return {
        "audio_frames": timing.audio_frames,
        "used_frames": timing.used_frames,
        "padded_audio_frames": timing.padded_frames,
        "ring_frames_drawn": timing.noise_latents,
        "ring_frames_used": timing.ring_latents,
        "output_latent_frames": timing.latents,
        "decoded_pixel_frames": timing.decoded_frames,
        "kept_pixel_frames": timing.kept_frames,
        "windows_per_step": timing.windows,
    }


def step_of(index: int, step: AvatarStep, timing: AvatarTiming) -> dict[str, Any]:
    plan = windows(timing.ring_latents, index)
    visits = torch.cat([window.latents for window in plan]).bincount(minlength=timing.ring_latents)
    return {
        "step": index,
        "cached": step.cached,
        "windows": [
            {
                "latent_runs": runs(window.latents.tolist(), timing.ring_latents),
                "audio_runs": runs(window.audio_frames.tolist(), timing.padded_frames),
            }
            for window in plan
        ],
        "frames_counted_twice": (visits > 1).nonzero().flatten().tolist(),
        "max_count": int(visits.max()),
    }


def runs(indexes: Sequence[int], end: int) -> list[list[Any]]:
    """Ascending indexes as [first, count], and those from `end` on as ["zero", count]."""
    found = []
    for kind, group in groupby(
        enumerate(indexes), lambda pair: "zero" if pair[1] >= end else pair[1] - pair[0]
    ):
        members = [index for _, index in group]
        found.append([kind if kind == "zero" else members[0], len(members)])
    return found


# --- the loop ----------------------------------------------------------------------------------------------


def loop_dit(golden: Golden) -> Rows:
    yield from loop(golden, build_transformer(golden.weights, golden.sidecar["config"]))


def loop_stub(golden: Golden) -> Rows:
    yield from per_step(golden)
    yield from loop(golden, Stub(golden.sidecar["config"]["hidden"]))


def per_step(golden: Golden) -> Rows:
    config = golden.sidecar["config"]
    for i, step in enumerate(published_schedule(config["steps"], config["cfg_scale"])):
        mine = {
            "step": i,
            "guidance": round(step.guidance, 9),
            "cached": step.cached,
            "face_mask_multiplier": step.voice_strength,
            "uncond_text": "negative" if step.negative else "positive",
        }
        recorded = golden.sidecar["per_step"][i]
        recorded = {**recorded, "guidance": round(recorded["guidance"], 9)}
        yield golden.equal(f"per_step {i}", mine, recorded)


def loop(golden: Golden, model: WindowModel) -> Rows:
    config, tolerances = golden.sidecar["config"], golden.sidecar["tolerance"]
    timing = AvatarTiming(config["audio_frames"], PUBLISHED_FRAMES)
    schedule = published_schedule(config["steps"], config["cfg_scale"])
    sigmas = flow_sigmas(config["steps"], shift=config["flow_shift"])
    noise = golden["in.noise"]
    if noise.shape[2] != timing.noise_latents:
        raise ValueError(f"{noise.shape[2]} latents of noise, {timing} says {timing.noise_latents}.")
    noise = noise[:, :, : timing.ring_latents]

    velocity = RingVelocity(model, clip_of(golden), schedule, timing.ring_latents)
    states = list(denoise_ring(velocity, noise, sigmas))
    for name in golden.names:
        if name.startswith("out.ring_after_step_"):
            yield golden.compare(name, states[int(name.rpartition("_")[2])], golden.tolerance("fp32"))
    yield golden.compare("out.latents_fp32", states[-1][:, :, : timing.latents], golden.tolerance("fp32"))

    if golden.has("out.latents_bf16"):
        rounded = RoundedVelocity(model, clip_of(golden), schedule, timing.ring_latents)
        rounded.sigmas = sigmas.tolist()
        *_, last = denoise_ring(rounded, noise, sigmas)
        documented = "bf16" not in tolerances
        tolerance = golden.tolerance("fp32" if documented else "bf16")
        yield golden.compare("out.latents_bf16", last[:, :, : timing.latents], tolerance, info=documented)


class RoundedVelocity(RingVelocity):
    """As released: what each window's Euler step arrives at is rounded to bfloat16."""

    sigmas: list[float]

    def window_velocity(self, x: Tensor, sigma: float, step: int, window: Window) -> Tensor:
        distance = self.sigmas[step + 1] - self.sigmas[step]
        after = x + distance * super().window_velocity(x, sigma, step, window)
        return (after.bfloat16().float() - x) / distance


def clip_of(golden: Golden) -> AvatarClip:
    positive, negative = (
        AvatarPrompt(
            states=golden[f"in.text_{which}"],
            mask=golden[f"in.mask_{which}"],
            pooled=golden[f"in.text2_{which}"],
        )
        for which in ("pos", "neg")
    )
    motion = Motion(expression=golden["in.motion_exp"], pose=golden["in.motion_pose"], fps=golden["in.fps"])
    return AvatarClip(
        positive=positive,
        negative=negative,
        scene=AvatarScene(reference=golden["in.ref"], motion=motion),
        characters=(Character(audio=golden["in.audio"], mask=golden["in.face_mask"]),),
    )


@dataclass(frozen=True, kw_only=True)
class FreshFeatures(Features):
    """Features of a full step: the stub predicts another velocity from them than from kept ones."""

    velocity: Tensor


class StubSpeaker(Speaker):
    """Windows hear the mean sound of each latent frame, inside the mask as it is."""

    def at(self, latents: Tensor, heard: Tensor) -> Voice:
        still = self.keys_values.shape[3] == 1
        sound = self.keys_values[:, 0, 0, torch.zeros_like(heard) if still else heard].mean((2, 3, 4))
        mask = self.weights if self.weights.shape[2] == 1 else self.weights[:, :, latents]
        return Voice(keys_values=sound, places=self.places, weights=mask)


class Stub:
    """The goldens' velocity in closed form; the sidecar has the formula."""

    def __init__(self, hidden: int) -> None:
        self.hidden = hidden

    def prepare(self, prompt: AvatarPrompt, scene: AvatarScene) -> AvatarConditions:
        rows, columns = (side // 2 for side in scene.reference.shape[-2:])
        weights = prompt.mask[..., None].float()
        text = ((prompt.states * weights).sum(1) / weights.sum(1)).mean(-1)
        motion = scene.motion.expression.float().mean(1) + 2 * scene.motion.pose.float().mean(1)
        constant = 0.1 * text + 0.05 * prompt.pooled.mean(1) + 1e-4 * (motion + scene.motion.fps)
        return AvatarConditions(
            text=F.pad(prompt.states, (0, self.hidden - prompt.states.shape[-1])),
            text_context=text,
            text_mask=prompt.mask,
            text_tokens=prompt.mask.shape[1],
            vector=constant[:, None, None, None, None],
            prefix=torch.zeros(len(text), rows, columns, self.hidden),
            reference=0.3 * scene.reference,
        )

    def listen(self, characters: Sequence[Character], like: Tensor) -> tuple[Speaker, ...]:
        """The mean sound of each video frame, and the mask as it is."""
        return tuple(
            StubSpeaker(
                keys_values=character.audio.flatten(2).mean(2)[:, None, None, :, None, None],
                places=torch.empty(len(character.audio), 0),
                weights=character.mask,
                frame_tokens=0,
            )
            for character in characters
        )

    def open(self, x: Tensor, t: Tensor, conditions: AvatarConditions) -> Opening:
        return Opening(image=x, text=x, frames=x.shape[2])

    def speak(self, opening: Opening, t: Tensor, conditions: AvatarConditions) -> "FreshFeatures":
        return self.features(opening.image, t, conditions)

    def features(self, x: Tensor, t: Tensor, conditions: AvatarConditions) -> FreshFeatures:
        (voice,) = conditions.voices
        frames = x.shape[2]
        places = (torch.arange(frames) / frames)[:, None, None]
        heard = voice.keys_values[:, None, :, None, None] * voice.weights
        base = 0.5 * x + conditions.reference + 0.2 * places + heard + conditions.vector
        video = rearrange(base, "b c f (rows p) (columns q) -> b f (rows columns) (c p q)", p=2, q=2)
        joined = Features.join(video.mean(1), video, conditions.text)
        return FreshFeatures(**vars(joined), velocity=base * (0.5 + t / 2000)[:, None, None, None, None])

    def predict(self, features: Features, t: Tensor, conditions: AvatarConditions) -> Tensor:
        if isinstance(features, FreshFeatures):
            return features.velocity
        rows, columns = conditions.prefix.shape[1:3]
        video = rearrange(
            features.video, "b f (rows columns) (c p q) -> b c f (rows p) (columns q)",
            rows=rows, columns=columns, p=2, q=2,
        )  # fmt: skip
        around = 0.1 * features.prefix.mean((1, 2)) + 0.05 * features.text.mean((1, 2))
        return video * (0.5 + t / 2000)[:, None, None, None, None] + around[:, None, None, None, None]


RUNNERS: dict[str, Callable[[Golden], Rows]] = {
    "scheduler": scheduler,
    "window_schedule": window_schedule,
    "loop_stub": loop_stub,
    "loop_dit": loop_dit,
}
