"""Low-rank adaptation (LoRA, arXiv:2106.09685): a network's own weights rest, small additions to them learn.

Axes: r rank.
"""

import math
import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..hunyuan.layers.places import put
from ..model_loaders.lora import LowRank

# Attention, feed-forwards and convolutions of the blocks; embeddings, norms and modulation stay as they are.
LAYERS = r"(triple|single)_blocks\.\d+\.(?!.*(mod\.|modulation\.)).*"


class Adapted(nn.Module):
    """A linear layer or a 1-d convolution, and its low-rank addition; at first the addition is nothing."""

    def __init__(
        self, layer: nn.Linear | nn.Conv1d, rank: int, scale: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.layer, self.scale = layer, scale
        outputs, *inputs = layer.weight.shape
        device = layer.weight.device
        bound = 1 / math.sqrt(layer.weight[0].numel())
        drawn = torch.empty(rank, *inputs).uniform_(-bound, bound, generator=generator)
        self.down = nn.Parameter(drawn.to(device))
        self.up = nn.Parameter(torch.zeros(outputs, rank, *(1 for _ in inputs[1:]), device=device))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.scale * self.addition(x.to(self.down.dtype)).to(x.dtype)

    def addition(self, x: Tensor) -> Tensor:
        if isinstance(self.layer, nn.Conv1d):
            return F.conv1d(F.conv1d(x, self.down, padding=self.layer.padding), self.up)
        return x @ self.down.T @ self.up.T

    def learned(self) -> LowRank:
        down, up = self.down.detach(), self.up.detach()
        return LowRank(down=down.cpu(), up=up.cpu(), scale=self.scale)


class Adapters(nn.Module):
    """The additions of a network, and nothing else of it: what learns, and what a run saves."""

    def __init__(self, adapted: dict[str, Adapted]) -> None:
        super().__init__()
        self.adapted = adapted  # a plain dict: the layers themselves stay the network's
        for name, layer in adapted.items():
            self.register_parameter(f"{name}.down".replace(".", "/"), layer.down)
            self.register_parameter(f"{name}.up".replace(".", "/"), layer.up)

    def learned(self) -> dict[str, LowRank]:
        """The additions by the name of the weight they are for."""
        return {f"{name}.weight": layer.learned() for name, layer in self.adapted.items()}


def adapt(
    network: nn.Module, rank: int, *, alpha: float | None = None, layers: str = LAYERS, seed: int = 0
) -> Adapters:
    """Give the layers of `network` whose whole name fits `layers` additions of this rank; the rest is frozen.

    alpha:  the additions are scaled by alpha / rank; by default they are not scaled.
    layers: a regular expression.
    Raises: ValueError if rank or alpha is not positive, `layers` is no pattern, or no layer has such a name.
    """
    if rank < 1:
        raise ValueError(f"A LoRA's rank must be at least 1, not {rank}.")
    if alpha is not None and not alpha > 0:
        raise ValueError(f"A LoRA's alpha must be above 0, not {alpha:g}: it would learn nothing.")
    try:
        fits = re.compile(layers).fullmatch
    except re.error as error:
        raise ValueError(f"The pattern {layers!r} for layers' names is wrong: {error}.") from error
    network.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    chosen = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv1d) and fits(name)
    ]
    if not chosen:
        raise ValueError(f"No linear layer's name fits {layers!r}. One is called single_blocks.0.linear_qkv.")
    scale = 1.0 if alpha is None else alpha / rank
    adapted = {name: Adapted(module, rank, scale, generator) for name, module in chosen}
    for name, module in adapted.items():
        put(network, name, module)
    return Adapters(adapted)
