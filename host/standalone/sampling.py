"""The denoising loop under a guider of our own."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...hunyuan.foley.velocity import GuidedVelocity
from ...hunyuan.sampling.denoise import denoise_from, draw_noise
from ...hunyuan.sampling.guidance import GuidanceScales, guidance_interval
from ...hunyuan.sampling.solvers import SOLVERS, Velocity
from ..foley_conditioning import Conditioning, check_latents, check_mask, foley_prompt
from .memory import resident
from .objects import Model
from .progress import progress
from .windows import windowed


@dataclass(frozen=True, eq=False)
class FoleyGuider:
    """GUIDER: a model, what it follows, and how strongly."""

    model: Model
    positive: Conditioning
    negative: Conditioning
    scales: GuidanceScales
    span: tuple[float, float] = (0.0, 1.0)  # share of the sampling in which guidance acts

    def __post_init__(self) -> None:
        guidance_interval(*self.span)

    def velocity(self, latent_frames: int, device: torch.device) -> Velocity:
        """The guided velocity for latents of this length; the model is on `device`."""
        transformer = self.model.diffusion_model
        prompt = foley_prompt(self.positive, self.negative, latent_frames, transformer.config)
        tensors = {
            name: getattr(prompt, name).to(device) for name in ("positive", "negative", "visual", "sync")
        }
        velocity = partial(
            GuidedVelocity, transformer, scales=self.scales, interval=guidance_interval(*self.span),
            dtype=self.model.dtype,
        )  # fmt: skip
        return windowed(replace(prompt, **tensors), latent_frames, self.model.windows, velocity)


def sample(guider: FoleyGuider, latent: Mapping[str, Any], sigmas: Tensor, solver: str, seed: int) -> Tensor:
    """The sound at the end of the noise levels, from the noise that `seed` gives.

    latent: LATENT. `samples` is where it starts from below sigma 1, and what stays where `noise_mask` is 0.
    Returns (b, c, n), float32, on the CPU.
    """
    kept, mask = latent["samples"].float(), latent.get("noise_mask")
    check_latents(tuple(kept.shape), guider.model.diffusion_model.config.latent_channels)
    check_mask(mask, kept.shape[-1])
    noise = draw_noise(tuple(kept.shape), seed)
    with resident(guider.model) as device, torch.no_grad():
        kept, noise = kept.to(device), noise.to(device)
        velocity = guider.velocity(kept.shape[-1], device)
        steps = denoise_from(velocity, kept, noise, sigmas, SOLVERS[solver], mask)
        samples = kept  # what no step at all leaves
        for samples in progress(steps, len(sigmas) - 1, "Making the sound"):  # noqa: B007 - the last is the result
            pass
        return samples.cpu()
