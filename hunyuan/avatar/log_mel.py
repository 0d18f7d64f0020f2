"""Whisper's log-mel spectrogram (arXiv:2212.04356), block by block of 30 s.

Mel scale and filters are Slaney's (Auditory Toolbox, 1998): linear below 1 kHz, logarithmic above, and every
filter of the same area.
"""

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .timing import SAMPLE_RATE

BLOCK_SECONDS = 30
BLOCK_SAMPLES = BLOCK_SECONDS * SAMPLE_RATE
WINDOW = 400  # samples of one spectrum, 25 ms
HOP = 160  # samples from one column to the next, 10 ms
BLOCK_COLUMNS = BLOCK_SAMPLES // HOP
BANDS = 80

LINEAR_HZ = 200 / 3  # Hz of one mel below the break
BREAK_HZ = 1000.0
BREAK_MEL = BREAK_HZ / LINEAR_HZ
MELS_PER_LOG = 27 / math.log(6.4)  # above the break, for each factor e

FLOOR = 1e-10  # power
RANGE = 8.0  # powers of ten below the loudest cell of a block that are told apart


def log_mel(waveform: Tensor) -> Tensor:
    """Mono speech at 16 kHz to columns of 10 ms: (samples,) -> (80, 3000 for each started block of 30 s).

    As trained: blocks know nothing of each other, the loudest cell of each sets its own floor.
    Raises: ValueError if it is not mono, or empty.
    """
    if waveform.ndim != 1 or not len(waveform):
        raise ValueError(
            f"Speech must be mono and not empty, (samples,), not {tuple(waveform.shape)}. "
            "Mix the channels into one first."
        )
    padded = F.pad(waveform.float(), (0, -len(waveform) % BLOCK_SAMPLES))
    blocks = _log_mel_blocks(padded.unflatten(0, (-1, BLOCK_SAMPLES)))
    return blocks.transpose(0, 1).flatten(1)


def _log_mel_blocks(blocks: Tensor) -> Tensor:
    """(b, samples) -> (b, 80, columns)."""
    window = torch.hann_window(WINDOW, periodic=True, device=blocks.device)
    spectrum = torch.stft(
        blocks, WINDOW, HOP, window=window, center=True, pad_mode="reflect", return_complex=True
    )
    power = spectrum[..., :-1].abs().square()
    filters = torch.from_numpy(mel_filters()).to(power)
    logarithm = (filters @ power).clamp(min=FLOOR).log10()
    floor = logarithm.amax(dim=(1, 2), keepdim=True) - RANGE
    return (torch.maximum(logarithm, floor) + 4) / 4


@lru_cache(maxsize=1)
def mel_filters() -> np.ndarray:
    """The share of each frequency in each band: (80, 201), float32."""
    frequencies = np.linspace(0, SAMPLE_RATE / 2, WINDOW // 2 + 1)
    corners = _mel_to_hz(np.linspace(0, _hz_to_mel(SAMPLE_RATE / 2), BANDS + 2))
    low, centre, high = (corners[i : i + BANDS, None] for i in range(3))
    rising = (frequencies - low) / (centre - low)
    falling = (high - frequencies) / (high - centre)
    triangles = np.minimum(rising, falling).clip(min=0)
    return (triangles * 2 / (high - low)).astype(np.float32)


def _hz_to_mel(hz: float) -> float:
    return hz / LINEAR_HZ if hz < BREAK_HZ else BREAK_MEL + MELS_PER_LOG * math.log(hz / BREAK_HZ)


def _mel_to_hz(mels: np.ndarray) -> np.ndarray:
    logarithmic = BREAK_HZ * np.exp((mels - BREAK_MEL) / MELS_PER_LOG)
    return np.where(mels < BREAK_MEL, mels * LINEAR_HZ, logarithmic)
