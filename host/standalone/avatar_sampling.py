"""Avatar's loop over the ring of latents, under a guider of our own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...hunyuan.avatar.settings import FLOW_SHIFT, AvatarSettings
from ...hunyuan.avatar.timing import WINDOW_LATENTS
from ...hunyuan.sampling.denoise import draw_noise, noised
from ...hunyuan.sampling.schedule import flow_sigmas
from ..avatar_conditioning import LATENT_SCALE, Conditioning, avatar_clip, check_ring, on_device
from ..planned_memory import avatar_bytes
from .avatar_objects import AvatarModel
from .memory import resident
from .progress import progress

if TYPE_CHECKING:  # importing the pack stays quick
    from ...hunyuan.avatar.velocity import RingVelocity


@dataclass(frozen=True, eq=False)
class AvatarGuider:
    """GUIDER: a model, what it follows, and how."""

    model: AvatarModel
    positive: Conditioning
    negative: Conditioning
    settings: AvatarSettings

    def velocity(self, steps: int, ring_latents: int, device: torch.device) -> "RingVelocity":
        """The guided velocity of a ring; the model is on `device`.

        Features that are kept of one window stay there, those of more wait on the CPU.
        """
        from ...hunyuan.avatar.velocity import RingVelocity

        clip = on_device(avatar_clip(self.positive, self.negative), device)
        keep_on = None if ring_latents == WINDOW_LATENTS else "cpu"
        model = self.model
        return RingVelocity.of(
            model.diffusion_model, clip, self.settings, steps, ring_latents,
            keep_on=keep_on, dtype=model.dtype,
        )  # fmt: skip


def avatar_sample(guider: AvatarGuider, latent: Mapping[str, Any], steps: int, seed: int) -> Tensor:
    """The video at the end of the steps, from the noise that `seed` gives.

    latent: LATENT, empty.
    Returns (b, c, ring latents, h, w) at the VAE's scale, float32, on the CPU, where the ring lies meanwhile.
    """
    from ...hunyuan.avatar.velocity import HALVES, denoise_ring

    check_ring(latent, guider.model.diffusion_model.config.latent_channels)
    shape = tuple(latent["samples"].shape)
    sigmas = flow_sigmas(steps, shift=FLOW_SHIFT)
    ring = noised(latent["samples"].float() * LATENT_SCALE, draw_noise(shape, seed), float(sigmas[0]))
    config, dtype = guider.model.diffusion_model.config, guider.model.dtype
    rows = len(HALVES) * shape[0]
    memory = avatar_bytes(config, shape[3] * shape[4], rows, dtype.itemsize)
    with resident(guider.model, memory=memory) as device, torch.no_grad():
        velocity = guider.velocity(steps, shape[2], device)
        for ring in progress(denoise_ring(velocity, ring, sigmas), steps, "Making the video"):  # noqa: B007, B020
            pass
    return ring / LATENT_SCALE
