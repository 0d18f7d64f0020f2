"""Time one part of the system, and say what share of the machine's matmul speed it reaches.

    python tools/bench.py NAME [--device D] [--size pocket|xl|xxl|avatar] [--seconds S] [--batch N] [--json]
    python tools/bench.py step --plain --compile     also as published, also with compiled blocks; the ratios
    python tools/bench.py step --count --size xxl    counted on the meta device, at any size; nothing is timed

NAME is `step` (one guided denoising step), `decode` (latents to sound), `visual` or `sync` (the encoders of
the video). Weights are random. Reports the median of the repeats with their spread, the peak memory, the
FLOPs counted while it ran once, and the rate of a large matrix product measured in the same run.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

import _pack  # noqa: F401 - makes hunyuan_av importable
from bench_count import Count, count, weight_bytes
from bench_steps import AVATAR_TEXT_TOKENS, Setting, Step, avatar_steps, foley_config, foley_steps
from hunyuan_av.host.standalone.memory import DTYPES, Placement
from hunyuan_av.hunyuan.avatar.config import PATCH
from hunyuan_av.hunyuan.avatar.timing import WINDOW_FRAMES, WINDOW_LATENTS
from hunyuan_av.hunyuan.avatar.video_vae_config import SPACE_RATIO
from hunyuan_av.hunyuan.foley.audio_vae import AudioVAE, AudioVAEConfig
from hunyuan_av.hunyuan.foley.sync_encoder import SyncEncoder, SyncEncoderConfig
from hunyuan_av.hunyuan.foley.transformer import FoleyTransformer
from hunyuan_av.model_loaders.foley_folder import POCKET

CEILING_SIZE = {"cpu": 2048, "cuda": 8192}
SEGMENTS = 4  # sync segments, or images, encoded at once


def step(setting: Setting, arguments: argparse.Namespace) -> dict[str, Step]:
    if setting.size == "avatar":
        return avatar_steps(setting)
    return foley_steps(setting, plain=arguments.plain, compiled=arguments.compile)


def decode(setting: Setting, _: argparse.Namespace) -> dict[str, Step]:
    config = AudioVAEConfig() if setting.size != "pocket" else AudioVAEConfig(encoder_dim=4, decoder_dim=128)
    vae = AudioVAE(config, device="meta")
    setting.random(vae)
    latents = setting.noise(setting.batch, config.latent_dim, setting.timing.latent_frames)
    return {"": lambda: vae.decode(latents)}


def sync(setting: Setting, _: argparse.Namespace) -> dict[str, Step]:
    """Segments of 0.64 s, four at once."""
    pocket = SyncEncoderConfig(hidden_size=64, depth=2, num_heads=4, image_size=112, mlp_ratio=2.0)
    config = pocket if setting.size == "pocket" else SyncEncoderConfig()
    encoder = SyncEncoder(config, device="meta")
    setting.random(encoder)
    pixels = setting.noise(1, SEGMENTS, 16, 3, config.image_size, config.image_size)
    return {"": lambda: encoder(pixels.to(setting.placement.dtype))}


def visual(setting: Setting, _: argparse.Namespace) -> dict[str, Step]:
    """Frames through SigLIP 2, four at once."""
    from transformers import SiglipVisionConfig, SiglipVisionModel

    from hunyuan_av.hunyuan.foley.visual_encoder import VisualEncoder
    from hunyuan_av.model_loaders.encoders import load_visual_encoder

    if setting.size == "pocket":
        encoder = load_visual_encoder(POCKET / "siglip2").to(
            setting.placement.device, setting.placement.dtype
        )
        size = encoder.image_size
    else:
        size = 512
        with torch.device("meta"):
            tower = SiglipVisionModel(SiglipVisionConfig(image_size=size, patch_size=16))
        encoder = setting.random(VisualEncoder(tower))
    pixels = setting.noise(SEGMENTS, 3, size, size).to(setting.placement.dtype)
    return {"": lambda: encoder(pixels)}


BENCHES: dict[str, Callable[[Setting, argparse.Namespace], dict[str, Step]]] = {
    "step": step, "decode": decode, "visual": visual, "sync": sync,
}  # fmt: skip


# --- by the clock -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """seconds: that passed. cpu_seconds: that this process computed, whatever else the machine did."""

    seconds: float
    cpu_seconds: float


def measure(run: Step, device: torch.device, repeats: int) -> tuple[Run, list[Run]]:
    """A first run, and every repeat after it."""
    first, *rest = (_timed(run, device) for _ in range(1 + repeats))
    return first, rest


def _timed(run: Step, device: torch.device) -> Run:
    start, start_cpu = time.perf_counter(), time.process_time()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return Run(time.perf_counter() - start, time.process_time() - start_cpu)


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def ceiling(placement: Placement, repeats: int) -> float:
    """FLOP per second of a large square matrix product here and now."""
    size = CEILING_SIZE.get(placement.device.type, 2048)
    a, b = torch.randn(2, size, size, device=placement.device, dtype=placement.dtype)
    _, runs = measure(lambda: a @ b, placement.device, repeats)
    return 2 * size**3 / median(run.seconds for run in runs)


def peak_bytes(device: torch.device) -> int:
    """On an accelerator, the most its tensors took; on a CPU, the process's peak."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def report(arguments: argparse.Namespace) -> dict[str, object]:
    placement = Placement.choose(arguments.device, arguments.dtype)
    name = torch.cuda.get_device_name(placement.device) if placement.device.type == "cuda" else "cpu"
    figures: dict[str, object] = {"device": name, **what(arguments, placement)}
    with torch.inference_mode():
        limit = ceiling(placement, arguments.repeats)
        runs = BENCHES[arguments.name](setting_of(arguments, placement), arguments)
        for kind, run in runs.items():
            first, rest = measure(run, placement.device, arguments.repeats)
            seconds = [repeat.seconds for repeat in rest]
            figures |= {
                f"{kind}first s": first.seconds, f"{kind}median s": median(seconds),
                f"{kind}min s": min(seconds), f"{kind}max s": max(seconds),
            }  # fmt: skip
            if placement.device.type == "cpu":
                figures[f"{kind}CPU s"] = median(repeat.cpu_seconds for repeat in rest)
        figures["peak GB"] = peak_bytes(placement.device) / 1e9
        # What a compiled block does inside is not seen operation by operation: ours says what it computes.
        costs = {kind: count(run) for kind, run in runs.items() if kind != "compiled "}
    rate = costs[""].flop / figures["median s"]
    for kind, cost in costs.items():
        figures |= {f"{kind}TFLOP": cost.flop / 1e12, f"{kind}launches": cost.launches}
    figures |= {"TFLOP/s": rate / 1e12, "matmul TFLOP/s": limit / 1e12, "share": rate / limit}
    return figures | ratios(figures)


def ratios(figures: dict[str, object]) -> dict[str, object]:
    """How many times as much the plain program takes, and compiled blocks."""
    names = {"median s": "time", "CPU s": "CPU time", "TFLOP": "TFLOP", "launches": "launches"}
    return {
        f"{kind}/ ours, {name}": figures[f"{kind}{key}"] / figures[key]
        for kind in ("plain ", "compiled ")
        for key, name in names.items()
        if f"{kind}{key}" in figures
    }


# --- by count -----------------------------------------------------------------------------------------------


def counted_report(arguments: argparse.Namespace) -> dict[str, object]:
    """One guided step on the meta device."""
    placement = Placement(torch.device("meta"), DTYPES[arguments.dtype or "bfloat16"])
    figures = what(arguments, placement)
    if arguments.size == "avatar":
        return figures | _counted_avatar(arguments)
    setting = setting_of(arguments, placement)
    network = FoleyTransformer(foley_config(arguments.size), dtype=placement.dtype, device="meta")
    figures["weights GB"] = weight_bytes(network) / 1e9
    with torch.inference_mode():
        runs = foley_steps(setting, plain=arguments.plain)
        for kind, run in runs.items():
            if not kind:
                run()  # ours does once what is the same in all steps
            figures |= {kind + name: value for name, value in costs_of(count(run)).items()}
    return figures | ratios(figures)


def _counted_avatar(arguments: argparse.Namespace) -> dict[str, object]:
    from activation_peak import avatar_network, avatar_step

    if arguments.frames != WINDOW_FRAMES:
        raise ValueError(
            f"A window has {WINDOW_FRAMES} frames, and a step is counted for one, not for {arguments.frames}."
        )
    network = avatar_network(dtype=DTYPES[arguments.dtype or "bfloat16"])
    side = SPACE_RATIO * PATCH
    frame = (arguments.height // side) * (arguments.width // side)
    tokens = (1 + WINDOW_LATENTS) * frame + AVATAR_TEXT_TOKENS
    cost = avatar_step(network, arguments.height, arguments.width)
    return {
        "tokens": tokens, "text tokens": AVATAR_TEXT_TOKENS,
        "weights GB": weight_bytes(network) / 1e9, **costs_of(cost),
    }  # fmt: skip


def costs_of(cost: Count) -> dict[str, object]:
    return {
        "TFLOP": cost.flop / 1e12,
        "launches": cost.launches,
        "activations GB": cost.peak_bytes / 1e9,
        "conversions": {f"{source} to {target}": n for (source, target), n in cost.conversions.items()},
        "copies": {f"{source} to {target}": n for (source, target), n in cost.copies.items()},
        "waits": dict(cost.waits),
    }


# --- the command line ---------------------------------------------------------------------------------------


def what(arguments: argparse.Namespace, placement: Placement) -> dict[str, object]:
    figures: dict[str, object] = {
        "name": arguments.name, "size": arguments.size, "torch": torch.__version__,
        "dtype": str(placement.dtype).removeprefix("torch."), "batch": arguments.batch,
    }  # fmt: skip
    if arguments.size == "avatar":
        return figures | {"video": f"{arguments.height} x {arguments.width} x {arguments.frames}"}
    return figures | {"clip seconds": arguments.seconds}


def setting_of(arguments: argparse.Namespace, placement: Placement) -> Setting:
    return Setting(
        placement=placement, size=arguments.size, seconds=arguments.seconds, batch=arguments.batch,
        height=arguments.height, width=arguments.width, frames=arguments.frames,
    )  # fmt: skip


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time one part of the system.")
    parser.add_argument("name", choices=BENCHES, metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--device", help="default: the best there is")
    parser.add_argument("--size", choices=("pocket", "xl", "xxl", "avatar"), default="pocket")
    parser.add_argument("--dtype", choices=DTYPES)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the clip")
    parser.add_argument("--batch", type=int, default=1, help="samples at once")
    parser.add_argument("--height", type=int, default=704, help="of Avatar's video, pixels")
    parser.add_argument("--width", type=int, default=768, help="of Avatar's video, pixels")
    parser.add_argument("--frames", type=int, default=WINDOW_FRAMES, help="of Avatar's video")
    parser.add_argument(
        "--plain", action="store_true", help="Foley's step also as the published program does it"
    )
    parser.add_argument("--compile", action="store_true", help="Foley's step also with compiled blocks")
    parser.add_argument(
        "--count", action="store_true", help="count a step, on the meta device, and time nothing"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(given)

    if (arguments.plain or arguments.compile) and (arguments.name != "step" or arguments.size == "avatar"):
        parser.error("--plain and --compile are for Foley's step.")
    if arguments.size == "avatar" and arguments.name != "step":
        parser.error(f"Of Avatar, the step is timed, not {arguments.name}.")
    if arguments.count and (arguments.name != "step" or arguments.compile):
        parser.error("--count counts a step as it is dispatched: not another part, and not compiled.")
    return arguments


def main(given: Sequence[str] | None = None) -> int:
    arguments = parse(given)
    try:
        figures = counted_report(arguments) if arguments.count else report(arguments)
    except ValueError as error:
        raise SystemExit(f"bench.py: {error}") from error
    if arguments.json:
        print(json.dumps(figures))
    else:
        width = max(map(len, figures))
        for name, value in figures.items():
            print(
                f"{name:>{width}}  {value:.4g}" if isinstance(value, float) else f"{name:>{width}}  {value}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
