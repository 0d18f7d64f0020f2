"""Time one part of the system, and say what share of the machine's matmul speed it reaches.

    python tools/bench.py NAME [--device D] [--size pocket|xl|xxl] [--seconds S] [--batch N] [--json]

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
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import _pack  # noqa: F401 - makes hunyuan_av importable
from hunyuan_av.host.standalone.memory import DTYPES, Placement
from hunyuan_av.hunyuan.foley.audio_vae import AudioVAE, AudioVAEConfig
from hunyuan_av.hunyuan.foley.config import XL, XXL, FoleyConfig
from hunyuan_av.hunyuan.foley.sync_encoder import SyncEncoder, SyncEncoderConfig
from hunyuan_av.hunyuan.foley.timing import FoleyTiming
from hunyuan_av.hunyuan.foley.transformer import FoleyTransformer
from hunyuan_av.hunyuan.foley.velocity import FoleyPrompt, GuidedVelocity
from hunyuan_av.hunyuan.sampling.guidance import GuidanceScales
from hunyuan_av.model_loaders.foley_folder import POCKET, find_foley

TEXT_TOKENS = 16
CEILING_SIZE = {"cpu": 2048, "cuda": 8192}
SEGMENTS = 4  # sync segments, or images, encoded at once


@dataclass(frozen=True, kw_only=True)
class Setting:
    placement: Placement
    size: str
    seconds: float
    batch: int

    @property
    def timing(self) -> FoleyTiming:
        return FoleyTiming(self.seconds)

    def random(self, network: nn.Module) -> nn.Module:
        """A network built on the meta device, on this one with small random weights."""
        network = network.to(self.placement.dtype).to_empty(device=self.placement.device)
        for tensor in network.state_dict().values():
            tensor.normal_(std=0.02)
        return network.eval()

    def noise(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, device=self.placement.device)


def step(setting: Setting) -> Callable[[], object]:
    """Two passes of the transformer, as guidance needs them, on `batch` samples."""
    config = {"xl": XL, "xxl": XXL}.get(setting.size) or pocket_config()
    transformer = FoleyTransformer(config, device="meta")
    setting.random(transformer)
    timing = setting.timing
    text = setting.noise(1, TEXT_TOKENS, config.text_size)
    prompt = FoleyPrompt(
        positive=text, negative=-text,
        visual=setting.noise(1, timing.visual_frames, config.visual_size),
        sync=setting.noise(1, timing.sync_tokens, config.sync_size),
    )  # fmt: skip
    velocity = GuidedVelocity(transformer, prompt, GuidanceScales.all(4.5), dtype=setting.placement.dtype)
    latents = setting.noise(setting.batch, config.latent_channels, timing.latent_frames)
    return lambda: velocity(latents, 0.5)


def pocket_config() -> FoleyConfig:
    from hunyuan_av.model_loaders.checkpoint import open_checkpoint

    return FoleyConfig.from_shapes(open_checkpoint(find_foley(POCKET).transformer).shapes)


def decode(setting: Setting) -> Callable[[], object]:
    config = AudioVAEConfig() if setting.size != "pocket" else AudioVAEConfig(encoder_dim=4, decoder_dim=128)
    vae = AudioVAE(config, device="meta")
    setting.random(vae)
    latents = setting.noise(setting.batch, config.latent_dim, setting.timing.latent_frames)
    return lambda: vae.decode(latents)


def sync(setting: Setting) -> Callable[[], object]:
    """Segments of 0.64 s, four at once."""
    pocket = SyncEncoderConfig(hidden_size=64, depth=2, num_heads=4, image_size=112, mlp_ratio=2.0)
    config = pocket if setting.size == "pocket" else SyncEncoderConfig()
    encoder = SyncEncoder(config, device="meta")
    setting.random(encoder)
    pixels = setting.noise(1, SEGMENTS, 16, 3, config.image_size, config.image_size)
    return lambda: encoder(pixels.to(setting.placement.dtype))


def visual(setting: Setting) -> Callable[[], object]:
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
    return lambda: encoder(pixels)


BENCHES = {"step": step, "decode": decode, "visual": visual, "sync": sync}


def measure(run: Callable[[], object], device: torch.device, repeats: int) -> list[float]:
    """Seconds of every repeat, after one run that does not count."""
    run()
    seconds = []
    for _ in range(repeats):
        synchronise(device)
        start = time.perf_counter()
        run()
        synchronise(device)
        seconds.append(time.perf_counter() - start)
    return seconds


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ceiling(placement: Placement, repeats: int) -> float:
    """FLOP per second of a large square matrix product here and now."""
    size = CEILING_SIZE.get(placement.device.type, 2048)
    a, b = torch.randn(2, size, size, device=placement.device, dtype=placement.dtype)
    return 2 * size**3 / statistics.median(measure(lambda: a @ b, placement.device, repeats))


def peak_bytes(device: torch.device) -> int:
    """On an accelerator, the most its tensors took; on a CPU, the process's peak."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def report(arguments: argparse.Namespace) -> dict[str, object]:
    placement = Placement.choose(arguments.device, arguments.dtype)
    setting = Setting(
        placement=placement, size=arguments.size, seconds=arguments.seconds, batch=arguments.batch
    )
    with torch.inference_mode():
        run = BENCHES[arguments.name](setting)
        with FlopCounterMode(display=False) as counter:
            run()
        seconds = measure(run, placement.device, arguments.repeats)
        rate, peak = counter.get_total_flops() / statistics.median(seconds), peak_bytes(placement.device)
        limit = ceiling(placement, arguments.repeats)
    name = torch.cuda.get_device_name(placement.device) if placement.device.type == "cuda" else "cpu"
    return {
        "name": arguments.name, "size": arguments.size, "device": name, "torch": torch.__version__,
        "dtype": str(placement.dtype).removeprefix("torch."),
        "clip seconds": arguments.seconds, "batch": arguments.batch,
        "median s": statistics.median(seconds), "min s": min(seconds), "max s": max(seconds),
        "peak GB": peak / 1e9,
        "TFLOP": counter.get_total_flops() / 1e12,
        "TFLOP/s": rate / 1e12, "matmul TFLOP/s": limit / 1e12, "share": rate / limit,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description="Time one part of the system.")
    parser.add_argument("name", choices=BENCHES, metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--device", help="default: the best there is")
    parser.add_argument("--size", choices=("pocket", "xl", "xxl"), default="pocket")
    parser.add_argument("--dtype", choices=DTYPES)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the clip")
    parser.add_argument("--batch", type=int, default=1, help="samples at once")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    figures = report(arguments)
    if arguments.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:>16}  {value:.4g}" if isinstance(value, float) else f"{name:>16}  {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
