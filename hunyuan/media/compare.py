"""How near one sound comes to another: what a codec is judged by.

Waveforms are (samples,) float, 1 is full scale, both of the same length and sample rate.
"""

import numpy as np

MEL_BANDS = 80
WINDOW, HOP = 0.04, 0.01  # seconds
LOWEST = 20.0  # Hz
FLOOR = 1e-8  # power, -80 dBFS


def mel_distance(sound: np.ndarray, other: np.ndarray, sample_rate: int = 48_000) -> float:
    """Mean difference of the log mel spectrograms, in dB. Raises ValueError if the lengths differ."""
    check_alike(sound, other)
    return float(np.abs(log_mel(sound, sample_rate) - log_mel(other, sample_rate)).mean())


def si_sdr(sound: np.ndarray, other: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio of `other` to `sound`, in dB (arXiv:1811.02508).

    Raises: ValueError if the lengths differ, or one is all zeros.
    """
    check_alike(sound, other)
    sound, other = sound.astype(np.float64), other.astype(np.float64)
    sound, other = sound - sound.mean(), other - other.mean()
    if not sound.any() or not other.any():
        raise ValueError("One of the sounds is silent, so there is no ratio between them. Compare others.")
    target = sound * (other @ sound) / (sound @ sound)
    distortion = other - target
    return float(10 * np.log10((target @ target) / max(distortion @ distortion, 1e-30)))


def check_alike(sound: np.ndarray, other: np.ndarray) -> None:
    if sound.shape != other.shape or sound.ndim != 1:
        raise ValueError(
            f"Sounds of shapes {sound.shape} and {other.shape} cannot be compared. Cut one to fit."
        )


def log_mel(sound: np.ndarray, sample_rate: int) -> np.ndarray:
    """(looks, 80) in dB."""
    size, hop = round(WINDOW * sample_rate), max(1, round(HOP * sample_rate))
    padded = np.pad(sound.astype(np.float32), size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop] * np.hanning(size).astype(
        np.float32
    )
    power = np.abs(np.fft.rfft(frames)) ** 2 * 16 / size**2
    return 10 * np.log10(power @ mel_filters(size, sample_rate).T + FLOOR)


def mel_filters(size: int, sample_rate: int) -> np.ndarray:
    """(80, frequencies): triangles on the mel scale, over a Fourier transform of `size` samples."""
    low, high = (2595 * np.log10(1 + hertz / 700) for hertz in (LOWEST, sample_rate / 2))
    edges = 700 * (10 ** (np.linspace(low, high, MEL_BANDS + 2) / 2595) - 1)
    frequencies = np.fft.rfftfreq(size, 1 / sample_rate)[None]
    low, middle, high = (edges[i : i + MEL_BANDS, None] for i in range(3))
    return np.maximum(
        0, np.minimum((frequencies - low) / (middle - low), (high - frequencies) / (high - middle))
    )
