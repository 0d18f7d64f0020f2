"""Diffusion time and text at a transformer's width, and the nearest-exact resampling of tokens."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FREQUENCIES = 256  # channels of the sinusoidal embedding
MAX_PERIOD = 10_000.0


def sinusoids(timesteps: Tensor) -> Tensor:
    """Cosines, then sines, of t at geometric frequencies.

    timesteps: (b,) in 0..1000. Returns (b, 256), float32.
    """
    half = FREQUENCIES // 2
    steps = torch.arange(half, dtype=torch.float32, device=timesteps.device)
    angles = torch.outer(timesteps.float(), torch.exp(-math.log(MAX_PERIOD) * steps / half))
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class TimestepEmbedder(nn.Module):
    """Timesteps in 0..1000 to condition vectors."""

    def __init__(self, hidden_size: int, *, dtype=None, device=None, operations=nn) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            operations.Linear(FREQUENCIES, hidden_size, dtype=dtype, device=device),
            nn.SiLU(),
            operations.Linear(hidden_size, hidden_size, dtype=dtype, device=device),
        )

    def forward(self, timesteps: Tensor, dtype: torch.dtype) -> Tensor:
        """timesteps: (b,). Returns (b, d) in `dtype`."""
        return self.mlp(sinusoids(timesteps).to(dtype))


class TextProjection(nn.Module):
    """Text states to a transformer's width."""

    def __init__(self, size: int, hidden_size: int, *, dtype=None, device=None, operations=nn) -> None:
        super().__init__()
        self.linear_1 = operations.Linear(size, hidden_size, dtype=dtype, device=device)
        self.linear_2 = operations.Linear(hidden_size, hidden_size, dtype=dtype, device=device)

    def forward(self, states: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(states)))


def nearest_exact(source: int, target: int, device: torch.device | str | None = None) -> Tensor:
    """For each of `target` places, the index of its source token: torch's `nearest-exact` rule.

    The product is float32, as in torch: exact integers disagree for some pairs of lengths (24 to 148, say).
    """
    centres = torch.arange(target, dtype=torch.float32, device=device) + 0.5
    return (centres * (source / target)).floor().long().clamp(max=source - 1)
