"""Time one part of the system, and say what share of the machine's matmul speed it reaches.

    python tools/bench.py NAME [--device D] [--size pocket|xl|xxl|avatar] [--seconds S] [--batch N] [--json]
    python tools/bench.py step --plain --compile     also as published, also with compiled blocks; the ratios
    python tools/bench.py step --graphs --compile    also from CUDA graphs, of plain and of compiled blocks
    python tools/bench.py step --size avatar --compile    also with compiled operations between its products
    python tools/bench.py step --count --size xxl    counted on the meta device, at any size; nothing is timed
    python tools/bench.py step --lengths 2 5 --batches 1 4    one report after another
    python tools/bench.py clip --size xxl            mp4 in to mp4 out, 50 steps, everything loaded before
    python tools/bench.py memory --memory 8 6        what `--memory` plans, carried out under that limit
    python tools/bench.py memory --size avatar --memory 24 12    the same of Avatar: reading, a step, decoding

NAME is `step` (one guided denoising step), `decode` (latents to sound), `visual` or `sync` (the encoders of
the video), `clip` or `memory` (a whole generation). Weights are random. Reports the median of the repeats
with their spread, the peak memory, the FLOPs counted while it ran once, and the rate of a large matrix
product measured in the same run. `off by` is the relative L2 distance to our plain step, `warm-up` what the
first step takes beyond a later one: compiling, or recording a graph.
"""

import argparse
import contextlib
import gc
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

import _pack  # noqa: F401 - makes hunyuan_av importable
from bench_clock import forget_peak, measure, median, peak_bytes, times, wait_for
from bench_count import Count, count, weight_bytes
from bench_steps import Setting, Step, avatar_steps, foley_config, foley_steps
from hunyuan_av.host.planned_memory import AVATAR_TEXT, avatar_tokens
from hunyuan_av.host.standalone.memory import DTYPES, Placement
from hunyuan_av.hunyuan.avatar.timing import WINDOW_FRAMES
from hunyuan_av.hunyuan.avatar.video_vae_config import SPACE_RATIO
from hunyuan_av.hunyuan.foley.audio_vae import AudioVAE, AudioVAEConfig
from hunyuan_av.hunyuan.foley.sync_encoder import SyncEncoder, SyncEncoderConfig
from hunyuan_av.hunyuan.foley.transformer import FoleyTransformer
from hunyuan_av.model_loaders.foley_folder import POCKET

CEILING_SIZE = {"cpu": 2048, "cuda": 8192}
SEGMENTS = 4  # sync segments, or images, encoded at once
# What a compiled block or a graph does inside is not seen operation by operation: ours says what it computes.
COUNTED = ("", "plain ")
HURRIED = ("compiled ", "graphed ", "graphed compiled ")
PROFILE_ROWS = 40


def step(setting: Setting, arguments: argparse.Namespace) -> dict[str, Step]:
    if setting.size == "avatar":
        return avatar_steps(setting, compiled=arguments.compile)
    return foley_steps(
        setting, plain=arguments.plain, compiled=arguments.compile, graphed=bool(arguments.graphs)
    )


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
    from bench_models import random_visual_encoder
    from hunyuan_av.model_loaders.encoders import load_visual_encoder

    device, dtype = setting.placement.device, setting.placement.dtype
    if setting.size == "pocket":
        encoder = load_visual_encoder(POCKET / "siglip2").to(device, dtype)
    else:
        encoder = random_visual_encoder(device).to(dtype)
    pixels = setting.noise(SEGMENTS, 3, encoder.image_size, encoder.image_size).to(dtype)
    return {"": lambda: encoder(pixels)}


BENCHES: dict[str, Callable[[Setting, argparse.Namespace], dict[str, Step]]] = {
    "step": step, "decode": decode, "visual": visual, "sync": sync,
}  # fmt: skip


def clip(arguments: argparse.Namespace, setting: Setting) -> dict[str, object]:
    from bench_clip import clip_report

    return clip_report(arguments, setting)


def memory(arguments: argparse.Namespace, setting: Setting) -> dict[str, object]:
    if arguments.size == "avatar":
        from bench_avatar_memory import avatar_memory_report

        return avatar_memory_report(arguments, setting)
    from bench_memory import memory_report

    return memory_report(arguments, setting)


GENERATIONS: dict[str, Callable[[argparse.Namespace, Setting], dict[str, object]]] = {
    "clip": clip, "memory": memory,
}  # fmt: skip


# --- by the clock -------------------------------------------------------------------------------------------


def ceiling(placement: Placement, repeats: int) -> float:
    """FLOP per second of a large square matrix product here and now."""
    size = CEILING_SIZE.get(placement.device.type, 2048)
    a, b = torch.randn(2, size, size, device=placement.device, dtype=placement.dtype)
    _, runs = measure(lambda: a @ b, placement.device, repeats)
    return 2 * size**3 / median(run.seconds for run in runs)


def report(arguments: argparse.Namespace) -> dict[str, object]:
    placement = Placement.choose(arguments.device, arguments.dtype)
    name = torch.cuda.get_device_name(placement.device) if placement.device.type == "cuda" else "cpu"
    figures: dict[str, object] = {"device": name, **what(arguments, placement)}
    setting = setting_of(arguments, placement)
    if arguments.name in GENERATIONS:
        return figures | GENERATIONS[arguments.name](arguments, setting)
    with torch.inference_mode():
        limit = ceiling(placement, arguments.repeats)
        forget_peak(placement.device)
        return figures | timed(arguments, setting, limit)


def timed(arguments: argparse.Namespace, setting: Setting, limit: float) -> dict[str, object]:
    """limit: FLOP per second of the ceiling."""
    device, figures = setting.placement.device, {}
    runs = BENCHES[arguments.name](setting, arguments)
    for kind, run in runs.items():
        first, rest = measure(run, device, arguments.repeats)
        figures |= times(kind, first, rest, device)
        if kind in HURRIED:
            figures[f"{kind}warm-up s"] = max(0.0, first.seconds - figures[f"{kind}median s"])
    figures["peak GB"] = peak_bytes(device) / 1e9
    figures |= {f"{kind}off by": off_by(run(), runs[""]()) for kind, run in runs.items() if kind}

    costs = {}
    for kind, run in runs.items():
        with profiled(arguments.profile, f"{arguments.name} {kind}", device):
            if kind in COUNTED:
                costs[kind] = count(run)
            elif arguments.profile:
                run()
    for kind, cost in costs.items():
        figures |= {f"{kind}TFLOP": cost.flop / 1e12, f"{kind}launches": cost.launches}
    rate = costs[""].flop / figures["median s"]
    figures |= {"TFLOP/s": rate / 1e12, "matmul TFLOP/s": limit / 1e12, "share": rate / limit}
    for kind in runs:
        if kind in HURRIED:
            figures[f"{kind}share"] = costs[""].flop / figures[f"{kind}median s"] / limit
    return figures | ratios(figures)


def off_by(answer: object, expected: object) -> float:
    """Relative L2."""
    assert isinstance(answer, torch.Tensor)
    assert isinstance(expected, torch.Tensor)
    return float((answer - expected).norm() / expected.norm())


@contextlib.contextmanager
def profiled(path: Path | None, title: str, device: torch.device) -> Iterator[None]:
    """Append a table to the file, if there is one, of where the time goes, on a GPU by its kernels.

    What is counted meanwhile is called more slowly; the kernels' own times are not affected.
    """
    if path is None:
        yield
        return
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profiler:
        yield
        wait_for(device)
    table = profiler.key_averages().table(
        sort_by=f"self_{device.type}_time_total", row_limit=PROFILE_ROWS, max_name_column_width=90
    )
    with path.open("a") as file:
        file.write(f"{title}\n{table}\n\n")


def ratios(figures: dict[str, object]) -> dict[str, object]:
    """How many times as much the plain program takes, and other ways to call ours."""
    names = {"median s": "time", "CPU s": "CPU time", "TFLOP": "TFLOP", "launches": "launches"}
    return {
        f"{kind}/ ours, {name}": figures[f"{kind}{key}"] / figures[key]
        for kind in ("plain ", *HURRIED)
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
    tokens = avatar_tokens((arguments.height // SPACE_RATIO) * (arguments.width // SPACE_RATIO))
    cost = avatar_step(network, arguments.height, arguments.width)
    return {
        "tokens": tokens, "text tokens": AVATAR_TEXT,
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
    names = (*BENCHES, *GENERATIONS)
    parser.add_argument("name", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--device", help="default: the best there is")
    parser.add_argument("--size", choices=("pocket", "xl", "xxl", "avatar"), default="pocket")
    parser.add_argument("--dtype", choices=DTYPES)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the clip")
    parser.add_argument("--batch", type=int, default=1, help="samples at once")
    parser.add_argument("--lengths", type=float, nargs="+", help="several --seconds, one after another")
    parser.add_argument("--batches", type=int, nargs="+", help="several --batch, one after another")
    parser.add_argument("--height", type=int, default=704, help="of Avatar's video, pixels")
    parser.add_argument("--width", type=int, default=768, help="of Avatar's video, pixels")
    parser.add_argument("--frames", type=int, default=WINDOW_FRAMES, help="of Avatar's video")
    parser.add_argument(
        "--plain", action="store_true", help="Foley's step also as the published program does it"
    )
    parser.add_argument(
        "--compile", action="store_true", help="a step also with its blocks, or parts of them, compiled"
    )
    parser.add_argument(
        "--graphs",
        action=argparse.BooleanOptionalAction,
        help="Foley's step also from CUDA graphs (for a clip: as the command does it by itself)",
    )
    parser.add_argument(
        "--profile", type=Path, metavar="FILE", help="append a table of kernels' times for each kind of step"
    )
    parser.add_argument("--memory", type=float, nargs="+", metavar="GB", help="one after another")
    parser.add_argument("--steps", type=int, help="of a whole generation (default: 50, with --memory 4)")
    parser.add_argument(
        "--no-files", action="store_true", help="a clip from frames in memory, where PyAV is not installed"
    )
    parser.add_argument(
        "--count", action="store_true", help="count a step, on the meta device, and time nothing"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(given)

    is_foley = arguments.name == "step" and arguments.size != "avatar"
    if arguments.plain and not is_foley:
        parser.error("--plain is for Foley's step.")
    if arguments.graphs and not (is_foley or arguments.name == "clip"):
        parser.error("--graphs is for Foley's step, and for a clip.")
    if arguments.compile and arguments.name not in ("step", "clip"):
        parser.error("--compile is for a step, and for a clip.")
    if arguments.size == "avatar" and arguments.name not in ("step", "memory"):
        parser.error(f"Of Avatar, step and memory are timed, not {arguments.name}.")
    if arguments.count and (arguments.name != "step" or arguments.compile or arguments.graphs):
        parser.error("--count counts a step as it is dispatched: not another part, not compiled, no graph.")
    if (arguments.memory is None) == (arguments.name == "memory"):
        parser.error("--memory GB belongs to the name memory, and that to it.")
    return arguments


def cases(arguments: argparse.Namespace) -> Iterator[argparse.Namespace]:
    """One for each length, batch and amount of memory."""
    for seconds in arguments.lengths or [arguments.seconds]:
        for batch in arguments.batches or [arguments.batch]:
            for memory in arguments.memory or [None]:
                yield argparse.Namespace(
                    **{**vars(arguments), "seconds": seconds, "batch": batch, "memory": memory}
                )


def main(given: Sequence[str] | None = None) -> int:
    arguments = parse(given)
    for case in cases(arguments):
        try:
            figures = counted_report(case) if case.count else report(case)
        except ValueError as error:
            raise SystemExit(f"bench.py: {error}") from error
        show(figures, arguments.json)
        gc.collect()  # the next one needs the room
    return 0


def show(figures: dict[str, object], as_json: bool) -> None:
    if as_json:
        print(json.dumps(figures), flush=True)
    else:
        width = max(map(len, figures))
        for name, value in figures.items():
            shown = f"{value:.4g}" if isinstance(value, float) else value
            print(f"{name:>{width}}  {shown}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
