"""What a solver asks a GUIDER, one velocity at a time."""

from typing import Any

import torch
from torch import Tensor

from ...hunyuan.sampling.solvers import Velocity
from .memory import resident
from .sampling import FoleyGuider


def velocity(guider: FoleyGuider) -> Velocity:
    """(latents (b, c, n), sigma) -> d latents / d sigma, float32, on the CPU."""

    def of(latents: Tensor, sigma: float) -> Tensor:
        with resident(guider.model) as device, torch.no_grad():
            return guider.velocity(latents.shape[-1], device)(latents.to(device), sigma).cpu()

    return of


def noise_levels(model: Any, sigmas: Tensor) -> Tensor:
    """The levels themselves: nothing here gives a MODEL a shift of its own."""
    return sigmas
