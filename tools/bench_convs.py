"""Ways to compute the convolutions over three tokens in Foley's audio blocks, side by side.

    python tools/bench_convs.py [--size pocket xl xxl] [--seconds 2 8] [--dtype float32 bfloat16] [--device D]

A row is one whole feed-forward, w2(SiLU(w1 x) * w3 x), on the two rows of guidance. Every form is exact:
they add the same products in another order. Times are the least of the repeats; on a CPU the time that this
process was given, not what passed, so that other programs on the machine matter less. Forms marked * want the
weights in an order of their own: they are laid out before the clock starts, which favours them.

Axes: b batch, n tokens, d channels in, o channels out.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

import _pack  # noqa: F401 - makes hunyuan_av importable
from hunyuan_av.host.standalone.memory import DTYPES
from hunyuan_av.hunyuan.foley.config import XL, XXL, FoleyConfig
from hunyuan_av.hunyuan.foley.timing import FoleyTiming

ROWS = 2  # of guidance
POCKET = FoleyConfig(hidden_size=192, num_heads=3, joint_depth=1, audio_depth=1)  # about the shipped
SIZES = {"pocket": POCKET, "xl": XL, "xxl": XXL}

Layer = Callable[[Tensor], Tensor]  # one layer of a form: (b, n, d) -> (b, n, o)
FeedForward = Callable[[Tensor], Tensor]


def conv1d(weight: Tensor) -> Layer:
    """As the network does it."""
    return lambda x: F.conv1d(x.transpose(1, 2), weight, padding=1).transpose(1, 2)


def channels_last(weight: Tensor) -> Layer:
    """A 2-d convolution whose channels lie innermost, as tokens have them."""
    kernel = weight[:, :, None].contiguous(memory_format=torch.channels_last)
    return lambda x: F.conv2d(x.transpose(1, 2)[:, :, None], kernel, padding=(0, 1))[:, :, 0].transpose(1, 2)


def unfolded(weight: Tensor) -> Layer:
    """One matrix product over each token and its two neighbours; the weights stay as they lie in the file."""
    matrix = weight.flatten(1)
    return lambda x: F.linear(neighbours(x), matrix)


def summed(weight: Tensor) -> Layer:
    """Three matrix products, one for each neighbour, into the same sum."""
    before, here, after = weight.permute(2, 1, 0).contiguous()

    def run(x: Tensor) -> Tensor:
        out = x @ here
        out[:, 1:].baddbmm_(x[:, :-1], before.expand(len(x), -1, -1))
        out[:, :-1].baddbmm_(x[:, 1:], after.expand(len(x), -1, -1))
        return out

    return run


def neighbours(x: Tensor) -> Tensor:
    """(b, n, d) -> (b, n, 3 d): each channel of the token before, the token itself and the one after."""
    padded = F.pad(x, (0, 0, 1, 1))
    return torch.stack([padded[:, :-2], x, padded[:, 2:]], dim=-1).flatten(-2)


def layer_by_layer(layer: Callable[[Tensor], Layer]) -> Callable[[Sequence[Tensor]], FeedForward]:
    def build(weights: Sequence[Tensor]) -> FeedForward:
        w1, w2, w3 = map(layer, weights)
        return lambda x: w2(F.silu(w1(x)) * w3(x))

    return build


def joined(weights: Sequence[Tensor]) -> FeedForward:
    """Unfolded, with both halves of the gate in one product."""
    w1, w2, w3 = weights
    gate, out = unfolded(torch.cat([w1, w3])), unfolded(w2)

    def run(x: Tensor) -> Tensor:
        opened, kept = gate(x).chunk(2, dim=-1)
        return out(F.silu(opened) * kept)

    return run


FORMS: dict[str, Callable[[Sequence[Tensor]], FeedForward]] = {
    "conv1d": layer_by_layer(conv1d),
    "channels last *": layer_by_layer(channels_last),
    "unfolded": layer_by_layer(unfolded),
    "three sums *": layer_by_layer(summed),
    "joined gate *": joined,
}


@dataclass(frozen=True)
class Case:
    size: str
    seconds: float
    dtype: torch.dtype
    device: torch.device

    def inputs(self) -> tuple[Tensor, list[Tensor]]:
        """Tokens (2, n, d), and the weights w1, w2, w3."""
        config = SIZES[self.size]
        size, hidden = config.hidden_size, config.audio_mlp_size
        options = {"device": self.device, "dtype": self.dtype}
        random = torch.Generator(self.device).manual_seed(0)
        shapes = [(hidden, size, 3), (size, hidden, 3), (hidden, size, 3)]
        weights = [
            torch.randn(shape, generator=random, **options) * (3 * shape[1]) ** -0.5 for shape in shapes
        ]
        tokens = FoleyTiming(self.seconds).latent_frames
        return torch.randn(ROWS, tokens, size, generator=random, **options), weights


def least_seconds(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    if device.type == "cuda":
        return min(_seconds_on_device(run) for _ in range(repeats + 1))
    run()
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        spent.append(time.process_time() - start)
    return min(spent)


def _seconds_on_device(run: Callable[[], object]) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description="Compare ways to compute the audio blocks' feed-forwards.")
    parser.add_argument("--size", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--seconds", nargs="+", type=float, default=[2.0, 8.0])
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=["float32", "bfloat16"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()

    device = torch.device(given.device)
    names = "  ".join(f"{name:>15}" for name in FORMS)
    print(f"{'size':>7} {'seconds':>7} {'dtype':>9}  {names}  (ms)")
    for size in given.size:
        for seconds in given.seconds:
            for dtype in given.dtype:
                x, weights = Case(size, seconds, DTYPES[dtype], device).inputs()
                times = []
                for build in FORMS.values():
                    run = build(weights)
                    times.append(least_seconds(lambda run=run, x=x: run(x), device, given.repeats))
                cells = "  ".join(f"{1000 * t:>15.2f}" for t in times)
                print(f"{size:>7} {seconds:>7g} {dtype:>9}  {cells}", flush=True)


if __name__ == "__main__":
    main()
