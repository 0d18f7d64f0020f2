"""How far Avatar's layers are off in float8: weights alone, and weights and what enters them.

    python tools/float8_errors.py [--tokens N]

Random weights and inputs of published sizes: normal numbers, and what the activations before a layer make of
them. Relative L2 of each kind of layer's output, against float32. Outliers, which real activations have, are
tried with `--outliers`: one channel in a thousand is 30 times as large.
"""

import argparse
import sys
from collections.abc import Callable

import torch
from torch import Tensor

import _pack  # noqa: F401 - makes hunyuan_av importable
from hunyuan_av.hunyuan.avatar.config import PUBLISHED
from hunyuan_av.hunyuan.layers.float8 import dequantise, multiply_float8, quantise
from hunyuan_av.hunyuan.layers.mlp import gelu_tanh

SIZE, MLP = PUBLISHED.hidden_size, PUBLISHED.mlp_size
# (in, out) of each kind of layer, and what its input is of normal numbers.
LAYERS: dict[str, tuple[int, int, Callable[[Tensor], Tensor]]] = {
    "attn_qkv": (SIZE, 3 * SIZE, torch.clone),
    "attn_proj": (SIZE, SIZE, torch.clone),
    "mlp.fc1": (SIZE, MLP, torch.clone),
    "mlp.fc2": (MLP, SIZE, gelu_tanh),
    "linear1": (SIZE, 3 * SIZE + MLP, torch.clone),
    "linear2": (SIZE + MLP, SIZE, lambda x: torch.cat([x[..., :SIZE], gelu_tanh(x[..., SIZE:])], dim=-1)),
}
OUTLIER, OUTLIERS_EVERY = 30.0, 1000


def errors(name: str, tokens: int, outliers: bool) -> tuple[float, float]:
    """Of weights in float8, and of both factors in float8."""
    inputs, outputs, before = LAYERS[name]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(tokens, inputs, generator=generator)
    if outliers:
        x[:, ::OUTLIERS_EVERY] *= OUTLIER
    x = before(x).bfloat16()
    weight = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
    exact = x.float() @ weight.T
    values, scale = quantise(weight)
    cast = x.float() @ dequantise(values, scale, torch.float32).T
    return relative(cast, exact), relative(multiply_float8(x, values, scale).float(), exact)


def relative(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure float8's error in each kind of Avatar's layers.")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--outliers", action="store_true", help="make some input channels 30 times as large")
    arguments = parser.parse_args()
    print(f"{'layer':10}  weights  weights and inputs")
    for name in LAYERS:
        weights, both = errors(name, arguments.tokens, arguments.outliers)
        print(f"{name:10}  {weights:7.2%}  {both:7.2%}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
