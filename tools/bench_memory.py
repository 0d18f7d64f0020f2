"""Foley within an amount of memory: what is planned, and what a whole generation then takes.

The plan is carried out as `hunyuan_av foley --memory` does it, with random weights, and torch is limited to
the amount. Where blocks are streamed, it is also timed what a step takes while all of them stay, and what the
copies take by themselves: `hidden` is the share of the shorter of the two that the other covers.
"""

import argparse
import contextlib
import gc
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

import _pack  # noqa: F401 - makes hunyuan_av importable
from bench_clip import MAKING, PROMPT
from bench_clock import Clock, forget_peak, measure, median, peak_bytes, wait_for
from bench_models import SmallNetworks, filled, moving_frames, small_networks
from bench_steps import GUIDANCE, TEXT_TOKENS, Setting, foley_config
from hunyuan_av.cli import foley
from hunyuan_av.cli.foley_job import FoleyJob
from hunyuan_av.cli.foley_memory import FULL, SMALL, MemoryLimit, needs_of
from hunyuan_av.cli.foley_models import FoleyModels
from hunyuan_av.host.standalone.memory_plan import (
    GB,
    FoleyForm,
    MemoryPlan,
    carry_out,
    limit_cuda,
    plan_memory,
)
from hunyuan_av.hunyuan.foley.config import FoleyConfig
from hunyuan_av.hunyuan.foley.features import encode_video
from hunyuan_av.hunyuan.foley.timing import FoleyTiming
from hunyuan_av.hunyuan.foley.transformer import FoleyTransformer
from hunyuan_av.hunyuan.foley.velocity import FoleyPrompt, GuidedVelocity
from hunyuan_av.hunyuan.layers.packing import PACKINGS
from hunyuan_av.hunyuan.sampling.guidance import GuidanceScales
from hunyuan_av.model_loaders.foley_packed import packable_layers

BRANCHES = 2
STEPS = 4  # the first of which is not counted


def memory_report(arguments: argparse.Namespace, setting: Setting) -> dict[str, object]:
    device = setting.placement.device
    limit = MemoryLimit(
        gigabytes=arguments.memory, rows=setting.batch, branches=BRANCHES, seconds=setting.seconds
    )
    small = small_networks(setting.size, device)
    plan = plan_memory(limit.bytes, forms(setting, limit), needs_of(*small, limit))
    figures = {"memory GiB": limit.gigabytes, "plan": plan.how, "planned GiB": plan.peak / GB}
    return figures | carried_out(plan, small, limit, setting, arguments)


def carried_out(
    plan: MemoryPlan,
    small: SmallNetworks,
    limit: MemoryLimit,
    setting: Setting,
    arguments: argparse.Namespace,
) -> dict[str, object]:
    """What a plan takes, in seconds and bytes."""
    device, figures = setting.placement.device, {}
    transformer = filled(plan.form.network, device)
    with torch.inference_mode():
        if plan.streamed:
            figures |= alone(plan, transformer, setting, arguments.repeats)
        visual, sync, text, vae = small
        with limited(limit.bytes, device):
            carry_out(plan, transformer, [[visual, sync], [text], [vae]], device)
            models = FoleyModels(
                transformer=transformer, visual_encoder=visual, sync_encoder=sync, text_encoder=text,
                audio_vae=vae, origin="random", fingerprint="random", placement=setting.placement,
            )  # fmt: skip
            figures |= generation(models, setting, arguments.steps or STEPS)
    if plan.streamed and isinstance(step := figures.get("step s"), float):
        shorter = min(figures["resident step s"], figures["copies s"])
        figures["hidden"] = (figures["resident step s"] + figures["copies s"] - step) / shorter
    return figures


def forms(setting: Setting, limit: MemoryLimit) -> list[FoleyForm]:
    """The forms that `--memory` chooses from, the best first."""
    config, dtype = foley_config(setting.size), setting.placement.dtype
    layers = packable_layers(FoleyTransformer(config, device="meta"))

    def form(name: str, packing: str, packed: list[str]) -> FoleyForm:
        return FoleyForm(
            name=name, packing=packing, config=config, dtype=dtype, rows=limit.rows * BRANCHES,
            packings=dict.fromkeys(packed, PACKINGS[SMALL]), seconds=limit.seconds,
        )  # fmt: skip

    return [form(str(dtype).removeprefix("torch."), FULL, []), form(SMALL, SMALL, layers)]


@contextlib.contextmanager
def limited(budget: int, device: torch.device) -> Iterator[None]:
    """Torch held to so many bytes of the device, its peaks counted from here."""
    gc.collect()
    forget_peak(device)
    limit_cuda(budget, device)
    try:
        yield
    finally:
        if device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(1.0, device)


def generation(models: FoleyModels, setting: Setting, steps: int) -> dict[str, object]:
    """A whole one, from frames in memory to a sound there; or where the memory was full."""
    clock, device, start = Clock(), setting.placement.device, time.perf_counter()
    with TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        job = FoleyJob(
            out=Path(folder) / "out.wav", prompt=PROMPT, seconds=setting.seconds, steps=steps,
            takes=setting.batch, device=str(device),
        )  # fmt: skip
        try:
            features = encode_video(
                moving_frames(setting.seconds), models.visual_encoder, models.sync_encoder
            )
            list(foley.sounds(job, models, features, clock))
        except torch.OutOfMemoryError as error:
            return {"out of memory": str(error).splitlines()[0], **memory_of(device)}
    wait_for(device)
    end, made = time.perf_counter(), clock.noted[MAKING]
    return {
        "watching, prompts s": made[0] - start, "step s": median(clock.item_seconds(MAKING)[1:]),
        "decoding s": end - made[-1], **memory_of(device),
    }  # fmt: skip


def memory_of(device: torch.device) -> dict[str, object]:
    """Of torch's tensors, of what torch holds for them, and of the card with all that CUDA takes."""
    figures: dict[str, object] = {"peak GiB": peak_bytes(device) / GB}
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        held, most = torch.cuda.memory_reserved(device), torch.cuda.max_memory_reserved(device)
        figures |= {"peak held GiB": most / GB, "peak of the card GiB": (total - free - held + most) / GB}
    return figures


def alone(
    plan: MemoryPlan, transformer: FoleyTransformer, setting: Setting, repeats: int
) -> dict[str, object]:
    """What a step takes while all blocks stay, and what the copies take while nothing is computed."""
    device = setting.placement.device
    step = one_step(transformer.to(device), plan.form.config, setting)
    _, steps = measure(step, device, repeats)
    transformer.to("cpu")
    sizes = [plan.form.weights.blocks[number] for number in plan.streamed]
    _, copies = measure(copying(sizes, device), device, repeats)
    return {
        "streamed GiB": sum(sizes) / GB,
        "resident step s": median(run.seconds for run in steps),
        "copies s": median(run.seconds for run in copies),
    }


def one_step(transformer: FoleyTransformer, config: FoleyConfig, setting: Setting) -> Callable[[], Tensor]:
    timing = FoleyTiming(setting.seconds)
    text = setting.noise(1, TEXT_TOKENS, config.text_size)
    prompt = FoleyPrompt(
        positive=text, negative=-text,
        visual=setting.noise(1, timing.visual_frames, config.visual_size),
        sync=setting.noise(1, timing.sync_tokens, config.sync_size),
    )  # fmt: skip
    velocity = GuidedVelocity(
        transformer, prompt, GuidanceScales.all(GUIDANCE), dtype=setting.placement.dtype
    )
    latents = setting.noise(setting.batch, config.latent_channels, timing.latent_frames)
    return lambda: velocity(latents, 0.5)


def copying(sizes: list[int], device: torch.device) -> Callable[[], None]:
    """Copies of so many bytes each, from pinned memory."""
    source = torch.empty(max(sizes), dtype=torch.uint8, pin_memory=device.type == "cuda")
    place = torch.empty(max(sizes), dtype=torch.uint8, device=device)

    def copy() -> None:
        for size in sizes:
            place[:size].copy_(source[:size], non_blocking=True)

    return copy
