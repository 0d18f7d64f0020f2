"""Waveforms as arrays: (channels, samples), float32, 1 is full scale."""

import numpy as np

BLOCK = 1 << 20  # samples looked at at once: an hour of sound may lie in a file


def check_waveform(waveform: np.ndarray, most_channels: int | None = None) -> np.ndarray:
    """The waveform as float32. Raises ValueError if it is none, or has too many channels."""
    if waveform.ndim != 2 or waveform.size == 0:
        raise ValueError(f"A waveform is (channels, samples) and not empty; this one is {waveform.shape}.")
    if most_channels is not None and waveform.shape[0] > most_channels:
        raise ValueError(f"The sound has {waveform.shape[0]} channels; there is room for {most_channels}.")
    if not all(
        np.isfinite(waveform[:, first : first + BLOCK]).all() for first in range(0, waveform.shape[1], BLOCK)
    ):
        raise ValueError("The sound holds values that are no numbers (NaN or infinity). Make it anew.")
    return np.ascontiguousarray(waveform, np.float32)


def resample(waveform: np.ndarray, source_rate: int, target_rate: int) -> np.ndarray:
    """The same sound at another sample rate (Hz), through soxr's high quality filter."""
    import soxr

    if source_rate == target_rate:
        return waveform
    return np.ascontiguousarray(soxr.resample(waveform.T, source_rate, target_rate, quality="HQ").T)


def to_mono(waveform: np.ndarray) -> np.ndarray:
    """(1, samples): the mean of all channels."""
    return waveform.mean(axis=0, keepdims=True)


def fit_length(waveform: np.ndarray, samples: int) -> np.ndarray:
    """Exactly so many samples: the end is cut off, or silence is added."""
    missing = samples - waveform.shape[1]
    return np.pad(waveform, ((0, 0), (0, missing))) if missing > 0 else waveform[:, :samples]
