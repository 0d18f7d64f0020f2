"""Which part of a sound is made anew, as a mask over its latents."""

import torch
from torch import Tensor

from .timing import LATENT_RATE


def time_mask(latent_frames: int, start: float, end: float, fade: float = 0.0) -> Tensor:
    """1 from `start` to `end`, 0 elsewhere, and slopes of `fade` outside both ends. All in seconds.

    A latent frame belongs to the part in which its middle lies.
    Returns: (1, 1, latent frames), float32.
    Raises:  ValueError if no frame lies in the part, which would change nothing.
    """
    times = (torch.arange(latent_frames, dtype=torch.float64) + 0.5) / LATENT_RATE
    if not ((times >= start) & (times < end)).any():
        raise ValueError(
            f"Nothing lies from {start:g} to {end:g} s in a sound of {latent_frames / LATENT_RATE:g} s."
            " Choose an end after the start, within the sound."
        )
    return mask_at(times, start, end, fade)[None, None]


def mask_at(times: Tensor, start: float, end: float, fade: float = 0.0) -> Tensor:
    """`time_mask` at any times in seconds, (n,) float64: (n,) float32, which may be 0 everywhere."""
    inside = (times >= start) & (times < end)
    distance = torch.maximum(start - times, times - end).clamp(min=0)
    slope = (1 - distance / fade).clamp(min=0) if fade > 0 else torch.zeros_like(times)
    return torch.where(inside, 1.0, slope).to(torch.float32)
