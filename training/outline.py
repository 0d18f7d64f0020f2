"""The course of a sound in a few numbers: what the encoders foretell, and what the last latents hold.

Axes: b batch, c channels, t frames (50 a second, one per latent).
"""

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor

from .spectra import MEL_BANDS, log_mel

BANDS = 8
RISE_WEIGHT = 7.0  # a rise is what tells an impact, and it is rare
CHANNELS = BANDS + 1

# Of the scenes' outlines, channel by channel; the highest band hardly moves, and is not stretched as far.
MEANS = (-0.1241, 0.3669, 0.3647, 0.3417, 0.2098, -0.0192, -0.2451, -0.4401, 0.5560)
DEVIATIONS = (0.7069, 1.1077, 1.1212, 1.1403, 1.0961, 0.9555, 0.6581, 0.5, 1.4479)
LEVEL = 0.4  # root mean square of each as a latent: they are decided before the details that follow them


def outline(sound: Tensor) -> Tensor:
    """The energy of a sound in a few bands, 50 times a second, and how fast they rise together.

    sound: (b, samples) at 48 kHz. Returns (b, t, 9), the bands about as wide as 1 and the rise, last, twice
    that.
    """
    bands = reduce(log_mel(sound), "b (bands wide) t -> b bands t", "mean", wide=MEL_BANDS // BANDS)
    rise = (bands - F.pad(bands, (1, 0), mode="replicate")[..., :-1]).clamp(min=0).mean(1, keepdim=True)
    return rearrange(torch.cat([bands, RISE_WEIGHT * rise.sqrt()], 1), "b c t -> b t c")


def outline_latents(sound: Tensor) -> Tensor:
    """The outline as latents: (b, samples) -> (b, 9, t)."""
    centred = (outline(sound) - torch.tensor(MEANS).to(sound)) / torch.tensor(DEVIATIONS).to(sound)
    return LEVEL * centred.mT
