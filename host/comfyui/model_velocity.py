"""What a solver asks a GUIDER of core's, one velocity at a time: for loops that are not a sampler's."""

from collections.abc import Callable
from typing import Any

import torch
from comfy.samplers import CFGGuider, Sampler
from torch import Tensor

from ...hunyuan.sampling.denoise import SMALLEST_SIGMA
from .sampling import FLOAT64


class VelocitySampler(Sampler):
    """In the place of a SAMPLER: it evaluates the model once, and its result is the velocity."""

    def sample(
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: Any,
        callback: Any,
        noise: Tensor,
        latent_image: Tensor | None = None,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        """noise: the state (b, c, n) at `sigmas[0]`. In float64, as `follow_flow` says."""
        state = noise.to(torch.float64) if noise.device.type in FLOAT64 else noise
        data = model_wrap(state, sigmas[:1].to(state.device).expand(state.shape[0]), **extra_args)
        return (state - data) / float(sigmas[0])


def velocity(guider: CFGGuider) -> Callable[[Tensor, float], Tensor]:
    """(latents (b, c, n), sigma) -> d latents / d sigma, float32, on the CPU.

    Core does for each what it does for a whole run: it makes room for the model, patches and places it.
    """

    def of(latents: Tensor, sigma: float) -> Tensor:
        levels = torch.tensor([max(sigma, SMALLEST_SIGMA), 0.0])
        sampled = guider.sample(
            latents, torch.zeros_like(latents), VelocitySampler(), levels, disable_pbar=True, seed=0
        )
        return sampled.to("cpu", torch.float32)

    return of


def noise_levels(model: Any, sigmas: Tensor) -> Tensor:
    """Evenly spaced levels with the shift that the MODEL was given (ModelSamplingSD3)."""
    flow = model.get_model_object("model_sampling")
    return flow.sigma(flow.timestep(sigmas))
