"""Avatar within an amount of memory: what is planned, and what each part of a video then takes.

The plan is carried out as `hunyuan_av avatar --memory --vae-dtype float16` does it, with random weights of
the published sizes, and torch is limited to the amount: LLaVA reads a prompt with its portrait, the
transformer takes guided steps over a window, the decoder makes the window's frames. CLIP-L is not run; its
bytes are taken beside LLaVA.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

import torch

import _pack  # noqa: F401 - makes hunyuan_av importable
from bench_clock import measure, median
from bench_memory import limited, memory_of
from bench_models import filled
from bench_steps import Setting, avatar_step
from hunyuan_av.host.standalone.avatar_plan import (
    AvatarForm,
    AvatarPlan,
    Stage,
    blocks_of,
    layers_of,
    on_device,
    plan_avatar,
)
from hunyuan_av.host.standalone.memory_plan import GB
from hunyuan_av.hunyuan.avatar.config import PUBLISHED
from hunyuan_av.hunyuan.avatar.llava import Llava
from hunyuan_av.hunyuan.avatar.prompt_text import HEAD_TOKENS, MAX_TOKENS
from hunyuan_av.hunyuan.avatar.text_encoder import guiding_states
from hunyuan_av.hunyuan.avatar.timing import latent_frames
from hunyuan_av.hunyuan.avatar.transformer import AvatarTransformer
from hunyuan_av.hunyuan.avatar.video_vae import VideoVAE
from hunyuan_av.hunyuan.avatar.video_vae_config import SPACE_RATIO

CLIP = 123_100_000 * 4  # bytes: CLIP-L's text tower as published, in float32
WORD = 1  # a token like any other


@dataclass(frozen=True, kw_only=True)
class AvatarNetworks:
    """On the meta device, in the dtypes that they are used in."""

    llava: Llava
    transformer: AvatarTransformer
    vae: VideoVAE
    clip: int  # bytes

    @classmethod
    def published(cls, dtype: torch.dtype) -> "AvatarNetworks":
        """dtype: of the transformer; the others are float16, which the lower limits need."""
        return cls(
            llava=Llava(dtype=torch.float16, device="meta"),
            transformer=AvatarTransformer(PUBLISHED, dtype=dtype, device="meta"),
            vae=VideoVAE(dtype=torch.float16, device="meta"),
            clip=CLIP,
        )

    def form(self, height: int, width: int) -> AvatarForm:
        dtype = next(self.transformer.parameters()).dtype
        return AvatarForm.of(
            self.transformer, self.llava, self.vae, self.clip,
            name=str(dtype).removeprefix("torch."), dtype=dtype, height=height, width=width,
        )  # fmt: skip


def avatar_memory_report(arguments: argparse.Namespace, setting: Setting) -> dict[str, object]:
    networks = AvatarNetworks.published(setting.placement.dtype)
    plan = plan_avatar(int(arguments.memory * GB), networks.form(setting.height, setting.width))
    return carried_out(plan, networks, int(arguments.memory * GB), setting, arguments.repeats)


@torch.inference_mode()
def carried_out(
    plan: AvatarPlan, networks: AvatarNetworks, budget: int, setting: Setting, repeats: int
) -> dict[str, object]:
    """What a plan within `budget` bytes takes, in seconds and bytes, part by part."""
    device = setting.placement.device
    figures: dict[str, object] = {"memory GiB": budget / GB, "plan": str(plan)}
    parts = {
        "reading": (plan.llava, networks.llava, partial(reading, clip=networks.clip)),
        "step": (plan.transformer, networks.transformer, stepping),
        "decoding": (plan.decoder, networks.vae, decoding),
    }
    for name, (stage, network, prepared) in parts.items():
        figures[f"{name}, planned GiB"] = stage.peak / GB
        work = prepared(filled(network, device), stage, setting)
        figures |= {f"{name}, {key}": value for key, value in within(budget, device, work, repeats).items()}
    return figures


def within(
    budget: int, device: torch.device, work: AbstractContextManager[Callable[[], object]], repeats: int
) -> dict[str, object]:
    """What a part takes, or where the memory was full. work: what it gives does the part once."""
    with limited(budget, device):
        try:
            with work as run:
                _, runs = measure(run, device, repeats)
        except torch.OutOfMemoryError as error:
            return {"out of memory": str(error).splitlines()[0], **memory_of(device)}
        return {"s": median(each.seconds for each in runs), **memory_of(device)}


@contextmanager
def reading(llava: Llava, stage: Stage, setting: Setting, clip: int) -> Iterator[Callable[[], object]]:
    """The longest prompt with a portrait, as `hunyuan_av avatar` has it read twice. clip: bytes beside it."""
    device, config = setting.placement.device, llava.config
    side = config.vision.image_size
    pixels = setting.noise(1, 3, side, side).to(next(llava.parameters()).dtype)
    ids = torch.full((HEAD_TOKENS + MAX_TOKENS,), WORD, device=device)
    ids[-1] = config.image_token
    with on_device(llava, layers_of(llava), stage, device):
        beside = torch.empty(clip, dtype=torch.uint8, device=device)
        yield lambda: (beside, guiding_states(llava, ids, llava.see(pixels), HEAD_TOKENS))


@contextmanager
def stepping(
    transformer: AvatarTransformer, stage: Stage, setting: Setting
) -> Iterator[Callable[[], object]]:
    """A late guided step over the window."""
    with on_device(transformer, blocks_of(transformer), stage, setting.placement.device):
        yield avatar_step(transformer, setting, keep_on="cpu", together=not stage.apart)


@contextmanager
def decoding(vae: VideoVAE, _: Stage, setting: Setting) -> Iterator[Callable[[], object]]:
    """All frames of the window, one piece after another; the latents wait in host memory."""
    device = setting.placement.device
    vae.to(device)
    height, width = setting.height // SPACE_RATIO, setting.width // SPACE_RATIO
    shape = 1, vae.config.latent_channels, latent_frames(setting.frames), height, width
    latents = setting.noise(*shape).cpu()
    yield lambda: sum(piece.shape[2] for piece in vae.decode_frames(latents, device))
