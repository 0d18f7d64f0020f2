"""Write the pocket weights of Foley from the runs of their training, as they are shipped.

    python tools/make_pocket.py RUN [DIR]

RUN is the folder that `python -m hunyuan_av.training.all --out RUN` fills. A run that is still going on
gives its last saved state. What is shipped, and how it was made, is told in docs/pocket.md.
"""

import argparse
import json
import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import _pack
from hunyuan_av.training.export import export

GAINS = {"decoder.model.7.weight": 0.05, ".block.3.weight": 0.2}  # so that the decoder does not saturate


def random_weights(network: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """Numbers that keep signals at a comfortable level, bfloat16, the same on every machine."""
    return {
        name: initial(name, tensor, generator).bfloat16().contiguous()
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point()
    }


def initial(name: str, tensor: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(tensor.shape, generator=generator)
    if name.endswith("alpha"):
        return torch.ones(tensor.shape)
    if name.endswith(".bias"):
        return 0.02 * noise
    if tensor.ndim == 1:  # the scale of a norm
        return 1 + 0.02 * noise
    gain = next((gain for part, gain in GAINS.items() if part in name), 1.0)
    return gain * noise / math.sqrt(tensor[0].numel())


def save(tensors: dict[str, Tensor], path: Path, config: dict | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"format": "pt", "trained": "false"}
    if config is not None:
        metadata["config"] = json.dumps(config)
    save_file(tensors, path, metadata)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the trained pocket weights of Foley.")
    default = _pack.ROOT / "pocket" / "foley"
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("folder", nargs="?", type=Path, default=default, metavar="DIR")
    args = parser.parse_args()

    export(args.run / "runs", args.run / "clips", args.folder)
    size = sum(path.stat().st_size for path in args.folder.rglob("*") if path.is_file())
    print(f"{args.folder}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
