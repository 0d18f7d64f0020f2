"""Heads that ask the transformer's hidden states for something in training; thrown away."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

Place = tuple[str, int]  # kind of a block, and its number within the kind


class Heads(nn.Module):
    """One for the states after each of some blocks, all asked for the same."""

    def __init__(self, hidden_size: int, outputs: int, places: Sequence[Place]) -> None:
        super().__init__()
        self.places = list(places)
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(hidden_size, elementwise_affine=False),
                nn.Linear(hidden_size, hidden_size),
                nn.SiLU(),
                nn.Linear(hidden_size, outputs),
            )
            for _ in self.places
        )

    def mean_error(self, states: Mapping[Place, Tensor], asked: Tensor) -> Tensor:
        """Mean square, over all heads. states: (b, n, d) each. asked: (n, outputs), or that for each row."""
        errors = [
            (head(states[place]).float() - asked).square().mean()
            for place, head in zip(self.places, self.heads, strict=True)
        ]
        return torch.stack(errors).mean()
