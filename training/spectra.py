"""Spectra of 48 kHz sound: what the audio networks are compared by, and learn to foretell.

Axes: b batch, f bands or bins, t frames.
"""

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..hunyuan.foley.timing import SAMPLE_RATE, SAMPLES_PER_LATENT

FLOOR = 1e-4  # of magnitudes, before their logarithm
RESOLUTIONS = (128, 512, 2048)  # samples in a window; a quarter of it from one to the next

MEL_WINDOW = 2 * SAMPLES_PER_LATENT
MEL_BANDS = 64
MEL_MEAN, MEL_STD = -8.5, 1.4  # of the scenes' log-mels
AUDIBLE_DB = 45.0  # below a sound's loudest band; what is fainter is not heard beside it
AUDIBLE = AUDIBLE_DB * math.log(10) / 20 / MEL_STD  # the same in normalised log-mels
FEWEST_HEARD = 64  # bands of frames that a distance is a mean over, where fewer are heard

# How a sound goes within a latent: 2.7 ms from one look to the next, each 11 ms long.
COURSE_WINDOW, COURSE_HOP, COURSE_BANDS = 512, 128, 32


def magnitudes(waveform: Tensor, window: int, hop: int) -> Tensor:
    """waveform: (b, samples). Returns (b, window / 2 + 1, t), scaled so that a full sine is about 1."""
    shape = torch.hann_window(window, device=waveform.device)
    spectrum = torch.stft(
        waveform, window, hop, window=shape, center=True, pad_mode="constant", return_complex=True
    )
    return spectrum.abs() * (2 / shape.sum())


def spectral_distance(made: Tensor, true: Tensor) -> Tensor:
    """How far two sounds are apart over several resolutions: magnitudes, and their logarithms.

    made, true: (b, samples), float32. Returns a scalar.
    """
    total = torch.zeros((), device=true.device)
    for window in RESOLUTIONS:
        a, b = magnitudes(made, window, window // 4), magnitudes(true, window, window // 4)
        linear = (a - b).norm(dim=(1, 2)) / (b.norm(dim=(1, 2)) + 1e-2)
        total = total + linear.mean() + F.l1_loss((a + FLOOR).log(), (b + FLOOR).log())
    return total / len(RESOLUTIONS)


def log_mel(waveform: Tensor) -> Tensor:
    """Normalised log-mel energies, one frame per latent.

    waveform: (b, samples), whole latents long. Returns (b, 64, latents), about -1..5, silence near -1.
    """
    reach = (MEL_WINDOW - SAMPLES_PER_LATENT) // 2
    padded = F.pad(waveform.float(), (reach, reach))
    shape = torch.hann_window(MEL_WINDOW, device=waveform.device)
    spectrum = torch.stft(
        padded, MEL_WINDOW, SAMPLES_PER_LATENT, window=shape, center=False, return_complex=True
    )
    return normalised(
        mel_filters(MEL_WINDOW).to(waveform.device) @ (spectrum.abs() * (2 / shape.sum())).square()
    )


def band_distance(made: Tensor, true: Tensor) -> Tensor:
    """How far levels are apart in the bands and frames where either sound is heard, in normalised log-mels.

    Neither phase nor exact pitch counts: what a decoder must make up it is to make up as loud as it was.
    Heard is what is at most `AUDIBLE_DB` below the loudest of `true`; where that is silent, everything is.
    made, true: (b, samples), whole latents long. Returns a scalar.
    """
    return levels_apart(log_mel(made), log_mel(true))


def course_distance(made: Tensor, true: Tensor) -> Tensor:
    """As `band_distance`, in steps so short that a slow attack shows."""
    return levels_apart(course(made), course(true))


def course(waveform: Tensor) -> Tensor:
    """Levels in bands, (b, samples) -> (b, 32, t), normalised as those of `log_mel`."""
    seen = magnitudes(waveform.float(), COURSE_WINDOW, COURSE_HOP).square()
    return normalised(mel_filters(COURSE_WINDOW, COURSE_BANDS).to(waveform.device) @ seen)


def normalised(energies: Tensor) -> Tensor:
    """Their levels, about -1..5, silence near -1."""
    return ((energies + FLOOR**2).log() / 2 - MEL_MEAN) / MEL_STD


def levels_apart(a: Tensor, b: Tensor) -> Tensor:
    """How far normalised levels (b, f, t) are apart where either is heard: a mean over that, then over all.

    Returns a scalar.
    """
    faintest = b.amax((1, 2), keepdim=True) - AUDIBLE
    heard = ((a > faintest) | (b > faintest)).sum((1, 2))
    apart = (torch.maximum(a, faintest) - torch.maximum(b, faintest)).abs().sum((1, 2))
    return (apart / heard.clamp(min=FEWEST_HEARD)).mean()


@cache
def mel_filters(window: int, bands: int = MEL_BANDS, lowest: float = 40.0) -> Tensor:
    """Triangles of equal width in mel up to half the sample rate, peak 1. Returns (bands, window / 2 + 1)."""
    bins = torch.linspace(0, SAMPLE_RATE / 2, window // 2 + 1)[None]
    low, high = (2595 * math.log10(1 + f / 700) for f in (lowest, SAMPLE_RATE / 2))
    edges = (700 * (10 ** (torch.linspace(low, high, bands + 2) / 2595) - 1))[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0)


def to_16k(waveform: Tensor) -> Tensor:
    """A third of the sample rate, behind a windowed-sinc low pass. (b, samples) -> (b, samples / 3)."""
    taps = torch.arange(-48, 49, dtype=torch.float32)
    kernel = torch.sinc(taps * 0.3125) * 0.3125 * torch.hann_window(99)[1:-1]
    return F.conv1d(waveform[:, None], kernel[None, None].to(waveform), stride=3, padding=48)[:, 0]
