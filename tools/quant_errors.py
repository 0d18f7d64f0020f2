"""How far packed weights are from the full ones: of the weights, of each block's output and of the velocity.

    python tools/quant_errors.py [--size pocket|xl|xxl] [--weights FILE] [--seconds S]
        [--depth JOINT AUDIO] [--blocks] [--json]

The reference computes in float32. Relative L2 errors: of all packed weights together; of what a block adds to
its streams, given the reference's own inputs, mean and largest over the blocks; and of the velocity of the
whole network at a middle noise level. Without --weights, xl and xxl get normally distributed random weights,
a block at a time, so that no more than one is in memory: trained weights have outliers that those lack.
"""

import argparse
import json
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor, nn

import _pack  # noqa: F401 - makes hunyuan_av importable
from hunyuan_av.hunyuan.foley.config import XL, XXL, FoleyConfig
from hunyuan_av.hunyuan.foley.timing import FoleyTiming
from hunyuan_av.hunyuan.foley.transformer import FoleyTransformer
from hunyuan_av.hunyuan.layers.packing import PACKINGS, Packing
from hunyuan_av.model_loaders.checkpoint import open_checkpoint
from hunyuan_av.model_loaders.foley_folder import POCKET, find_foley
from hunyuan_av.model_loaders.foley_packed import MODULATIONS, packable_layers

SIZES = {"xl": XL, "xxl": XXL}
TEXT_TOKENS, TIME = 16, 500.0
GAIN = 0.5  # of random layers: their outputs are smaller than their inputs by this
LISTS = {"joint": "triple_blocks", "audio": "single_blocks"}

Weights = Callable[[str], Tensor]  # a tensor by its name, float32


@dataclass(frozen=True)
class Variant:
    """A way to hold the weights. packing: of the narrow ones. dtype: of the computation."""

    name: str
    packing: Packing | None = None
    dtype: torch.dtype = torch.float32
    cast: torch.dtype | None = None  # in the packing's place: no scale at all
    with_modulations: bool = False

    def holds(self, weight: Tensor) -> Tensor:
        """What is left of a narrow weight."""
        if self.cast is not None:
            return weight.to(self.cast).float()
        if self.packing is None or not self.packing.fits(tuple(weight.shape)):
            return weight
        return self.packing.unpack(*self.packing.pack(weight), tuple(weight.shape), torch.float32)


VARIANTS = [
    Variant("bfloat16", dtype=torch.bfloat16),
    *(Variant(name, packing) for name, packing in PACKINGS.items()),
    Variant("fp8, no scales", cast=torch.float8_e4m3fn),
    Variant("int8, modulations too", PACKINGS["int8"], with_modulations=True),
    Variant("Q4_K, modulations too", PACKINGS["Q4_K"], with_modulations=True),
]
REFERENCE = Variant("float32")


@dataclass
class Errors:
    """Of one variant; blocks by kind and number."""

    weights: float = 0.0
    blocks: dict[str, float] = field(default_factory=dict)
    velocity: float = 0.0

    def row(self) -> dict[str, float]:
        kinds = {kind: [e for name, e in self.blocks.items() if name.startswith(kind)] for kind in LISTS}
        means = {f"{kind} block, mean": mean(errors) for kind, errors in kinds.items()}
        most = {f"{kind} block, largest": max(errors) for kind, errors in kinds.items()}
        return {"weights": self.weights, **means, **most, "velocity": self.velocity}


class Network:
    """The transformer in one variant, whose blocks are made when they run and let go of afterwards."""

    def __init__(self, config: FoleyConfig, weights: Weights, variant: Variant, timing: FoleyTiming) -> None:
        self.config, self.weights, self.variant, self.timing = config, weights, variant, timing
        self.skeleton = FoleyTransformer(config, dtype=variant.dtype, device="meta")
        self.narrow = {f"{name}.weight" for name in packable_layers(self.skeleton)}
        if variant.with_modulations:
            self.narrow |= {
                name for name in self.skeleton.state_dict()
                if name.removesuffix(".weight").endswith(MODULATIONS) and name.endswith(".weight")
            }  # fmt: skip
        self.lost = self.total = 0.0  # squares, of narrow weights
        self.inputs: dict[str, tuple] = {}
        self.outputs: dict[str, Tensor] = {}
        self.errors = Errors()
        self.skeleton.eval().requires_grad_(False)
        self._fill(self.skeleton, "", lambda name: "blocks." not in name or ".text_cross_k" in name)

    def velocity(self, reference: "Network | None") -> Tensor:
        """The velocity for fixed random inputs; notes the error of each block against a reference's."""
        config, timing, dtype = self.config, self.timing, self.variant.dtype

        def random(seed: int, *shape: int) -> Tensor:
            return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)

        conditions = self.skeleton.prepare(
            random(1, 1, TEXT_TOKENS, config.text_size),
            random(2, 1, timing.visual_frames, config.visual_size),
            random(3, 1, timing.sync_tokens, config.sync_size),
        )
        x = random(4, 1, config.latent_channels, timing.latent_frames)

        def run(kind: str, number: int, block: nn.Module, *inputs, **options):
            key = f"{kind} {number}"
            prefix = f"{LISTS[kind]}.{number}."
            self._fill(block, prefix, lambda name: ".text_cross_k" not in name)
            out = block(*inputs, **options)
            if reference is None:
                self.inputs[key] = inputs
                self.outputs[key] = added(inputs, out)
            else:
                given = [like(value, own) for value, own in zip(reference.inputs[key], inputs, strict=True)]
                ours = added(given, block(*given, **options))
                self.errors.blocks[key] = relative(ours, reference.outputs[key])
            self._empty(block)
            return out

        return self.skeleton(x, torch.tensor([TIME]), conditions, run=run).float()

    def _fill(self, module: nn.Module, prefix: str, wanted: Callable[[str], bool]) -> None:
        """Give a module the weights that are wanted, as the variant holds them."""
        values = {}
        for name in module.state_dict():
            full = prefix + name
            if not wanted(full):
                continue
            weight = self.weights(full)
            if full in self.narrow:
                held = self.variant.holds(weight)
                self.lost += float((held - weight).square().sum())
                self.total += float(weight.square().sum())
                weight = held
            values[name] = weight.to(self.variant.dtype)
        module.load_state_dict(values, strict=False, assign=True)
        module.requires_grad_(False)

    def _empty(self, block: nn.Module) -> None:
        absent = {
            name: torch.empty_like(value, device="meta")
            for name, value in block.state_dict().items()
            if "text_cross_k" not in name
        }
        block.load_state_dict(absent, strict=False, assign=True)


def added(inputs, out) -> Tensor:
    """What a block adds to its streams."""
    if not isinstance(out, tuple):
        return (out - inputs[0]).float().flatten()
    streams = [(o - i).float().flatten() for i, o in zip(inputs, out, strict=False) if o is not None]
    return torch.cat(streams)


def like(value, own):
    """An input of the reference's in the dtype of a variant's own."""
    return value.to(own.dtype) if isinstance(value, Tensor) else value


def relative(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm())


def random_weights(config: FoleyConfig) -> Weights:
    """Normally distributed, the same for a name whenever it is asked for."""
    shapes = {n: tuple(t.shape) for n, t in FoleyTransformer(config, device="meta").state_dict().items()}

    def weights(name: str) -> Tensor:
        shape = shapes[name]
        tensor = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
        if "_norm.weight" in name:
            return 1 + 0.1 * tensor
        fan_in = torch.Size(shape[1:]).numel() if len(shape) > 1 else shape[0]
        return (GAIN * fan_in**-0.5 * tensor).bfloat16().float()  # as published weights are

    return weights


def source(size: str, path: Path | None, depth: Sequence[int] | None) -> tuple[FoleyConfig, Weights]:
    """The network's sizes and its weights. depth: joint and audio blocks, where fewer shall stand for all."""
    if path is None and size != "pocket":
        joint, audio = depth or (SIZES[size].joint_depth, SIZES[size].audio_depth)
        config = replace(SIZES[size], joint_depth=joint, audio_depth=audio)
        return config, random_weights(config)
    if depth is not None:
        raise ValueError("--depth is of random weights: leave it out, or choose --size xl or xxl alone.")
    checkpoint = open_checkpoint(path or find_foley(POCKET).transformer)
    return FoleyConfig.from_shapes(checkpoint.shapes), lambda name: checkpoint[name].float()


def measure(config: FoleyConfig, weights: Weights, seconds: float, variants=VARIANTS) -> Mapping[str, Errors]:
    """The errors of every variant, for a clip of a length in seconds."""
    timing = FoleyTiming(seconds)
    reference = Network(config, weights, REFERENCE, timing)
    exact, results = reference.velocity(None), {}
    for variant in variants:
        network = Network(config, weights, variant, timing)
        network.errors.velocity = relative(network.velocity(reference), exact)
        network.errors.weights = (network.lost / network.total) ** 0.5 if network.total else 0.0
        results[variant.name] = network.errors
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description="Errors of packed weights.")
    parser.add_argument("--size", choices=("pocket", *SIZES), default="pocket")
    parser.add_argument("--weights", type=Path, help="a transformer's file, in the pocket weights' place")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of the clip")
    parser.add_argument(
        "--depth", type=int, nargs=2, metavar=("JOINT", "AUDIO"), help="fewer blocks, of random weights"
    )
    parser.add_argument("--blocks", action="store_true", help="list every block too")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        config, weights = source(arguments.size, arguments.weights, arguments.depth)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    with torch.inference_mode():
        results = measure(config, weights, arguments.seconds)
    if arguments.json:
        print(
            json.dumps({name: {**errors.row(), "blocks": errors.blocks} for name, errors in results.items()})
        )
        return 0
    columns = list(next(iter(results.values())).row())
    print(f"| format | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, errors in results.items():
        print(f"| {name} | {' | '.join(f'{value:.2%}' for value in errors.row().values())} |", flush=True)
    if arguments.blocks:
        for name, errors in results.items():
            for block, error in errors.blocks.items():
                print(f"{name}: {block}: {error:.3%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
