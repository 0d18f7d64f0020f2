"""The denoising loop, the noise it starts from, and the part of a clip that a mask keeps."""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from .solvers import Solver, Velocity, euler

SMALLEST_SIGMA = 1e-3  # a stage at sigma 0 is evaluated here: the model was never shown time 0


def draw_noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """Standard normal numbers, float32 on the CPU: a seed means the same on every device.

    The whole batch is one draw and take k is row k; fewer takes are a prefix of more, where a row has a
    multiple of 16 numbers, as all of Foley's have.
    """
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def noised(latents: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """The straight line from data to noise, at sigma."""
    return (1 - sigma) * latents + sigma * noise


def denoise(velocity: Velocity, latents: Tensor, sigmas: Tensor, solver: Solver = euler) -> Iterator[Tensor]:
    """Follow the flow down the noise levels; yields the latents after every step.

    velocity: (latents, sigma) -> d latents / d sigma, float32.
    latents:  (b, c, n), the state at `sigmas[0]`, float32.
    sigmas:   (steps + 1,), decreasing.
    """
    for sigma, target in pairwise(sigmas.tolist()):
        latents = solver(velocity, latents, sigma, target)
        yield latents


def denoise_from(
    velocity: Velocity,
    kept: Tensor,
    noise: Tensor,
    sigmas: Tensor,
    solver: Solver = euler,
    mask: Tensor | None = None,
) -> Iterator[Tensor]:
    """`denoise` from a given sound: it is taken to the first noise level, and kept where the mask is 0.

    kept, noise: (b, c, n), float32. mask: (1 or b, 1, n), 1 where sound is made anew; None is everywhere.
    At a first sigma of 1 nothing of `kept` is left but what the mask keeps: every yielded state has that part
    of it, bit for bit.
    """
    start = noised(kept, noise, float(sigmas[0]))
    if mask is None:
        yield from denoise(velocity, start, sigmas, solver)
        return
    masked = MaskedVelocity(velocity, kept, noise, mask.to(kept))
    for latents in denoise(masked, start, sigmas, solver):
        yield masked.paste(latents)


class MaskedVelocity:
    """Regenerate only where the mask says: elsewhere the state follows the kept sound's own path to noise.

    The model sees the kept sound at the step's noise level; between 0 and 1 the mask blends both predictions.
    """

    def __init__(self, velocity: Velocity, kept: Tensor, noise: Tensor, mask: Tensor) -> None:
        """kept, noise: (b, c, n). mask: (1 or b, 1, n), 1 where sound is made anew."""
        self.velocity, self.kept, self.noise, self.mask = velocity, kept, noise, mask

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        sigma = max(sigma, SMALLEST_SIGMA)
        seen = torch.lerp(noised(self.kept, self.noise, sigma), x, self.mask)
        data = torch.lerp(self.kept, seen - sigma * self.velocity(seen, sigma), self.mask)
        return (x - data) / sigma

    def paste(self, latents: Tensor) -> Tensor:
        """A state of the loop with the kept latents put back, bit for bit."""
        return torch.where(self.mask == 0, self.kept, latents)
