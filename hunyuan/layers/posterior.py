"""The diagonal Gaussian over latents that a variational autoencoder gives (arXiv:1312.6114)."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Posterior:
    """moments: (b, 2 c, ...), the mean, then the logarithm of the variance before clamping."""

    moments: Tensor

    @property
    def mean(self) -> Tensor:
        return self.moments.chunk(2, dim=1)[0]

    @property
    def logvar(self) -> Tensor:
        return self.moments.chunk(2, dim=1)[1].clamp(-30.0, 20.0)

    @property
    def std(self) -> Tensor:
        return torch.exp(self.logvar / 2)

    @property
    def mode(self) -> Tensor:
        """The most likely latents."""
        return self.mean

    def sample(self, noise: Tensor) -> Tensor:
        """Latents drawn with standard normal `noise`, (b, c, ...)."""
        return self.mean + self.std * noise.to(self.moments)
