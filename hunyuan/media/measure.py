"""What can be said about a sound by measuring it: loudness, silence, bandwidth, and what would be a fault.

Waveforms are (channels, samples) float32, 1 is full scale.
"""

from dataclasses import dataclass

import numpy as np

from .audio import check_waveform

SHORTEST = 0.4  # seconds: one block of the loudness measurement
SILENT = -60.0  # dBFS, RMS, below which a moment is silent
MOMENT = 0.02  # seconds
BAND = 25.0  # Hz: the spectrum's resolution for the bandwidth
AUDIBLE = -80.0  # dB below the loudest band, up to which a band counts
FAINTEST = -120.0  # dBFS, below which no band counts
EDGE = 0.001  # seconds at each end that are looked at for a click
BESIDE = 0.05  # seconds after it that it is compared with
NOTHING = 1e-12  # power, -120 dBFS: what a click is compared with in perfect silence


@dataclass(frozen=True, kw_only=True)
class SoundMeasures:
    """loudness:  LUFS, integrated (EBU R 128); -inf where all is silent.
    peak:      dBFS, of the samples; -inf for zeros.
    silence:   fraction of the time below -60 dBFS.
    bandwidth: Hz, up to which there is sound within 80 dB of the loudest band; 0 for zeros.
    offset:    mean of the samples, which should be 0 (DC).
    clicks:    dB by which the first and the last millisecond jump more than what is beside them; of 10 or
               less nothing is heard.
    """

    loudness: float
    peak: float
    silence: float
    bandwidth: float
    offset: float
    clicks: tuple[float, float]


def measure_sound(waveform: np.ndarray, sample_rate: int = 48_000) -> SoundMeasures:
    """Raises ValueError for no waveform, and for less than 0.4 s."""
    waveform = check_waveform(waveform)
    return SoundMeasures(
        loudness=integrated_loudness(waveform, sample_rate),
        peak=decibels(float(np.abs(waveform).max()) ** 2),
        silence=silence(waveform, sample_rate),
        bandwidth=bandwidth(waveform, sample_rate),
        offset=float(waveform.mean(dtype=np.float64)),
        clicks=(click(waveform, sample_rate), click(waveform[:, ::-1], sample_rate)),
    )


def integrated_loudness(waveform: np.ndarray, sample_rate: int = 48_000) -> float:
    """LUFS; -inf where all is silent (below -70 LUFS). Raises ValueError for less than 0.4 s."""
    from pyloudnorm import Meter

    seconds = waveform.shape[1] / sample_rate
    if seconds < SHORTEST:
        raise ValueError(f"{seconds:.2f} s of sound have no measurable loudness: that takes {SHORTEST} s.")
    if not waveform.any():
        return float("-inf")
    return float(Meter(sample_rate).integrated_loudness(waveform.T.astype(np.float64)))


def silence(waveform: np.ndarray, sample_rate: int = 48_000) -> float:
    """Fraction of the time in which the sound is below -60 dBFS."""
    size = max(1, round(MOMENT * sample_rate))
    moments = max(1, waveform.shape[1] // size)
    power = np.square(waveform[:, : moments * size], dtype=np.float64).mean(axis=0)
    levels = [decibels(moment.mean()) for moment in np.array_split(power, moments)]
    return float(np.mean(np.array(levels) < SILENT))


def bandwidth(waveform: np.ndarray, sample_rate: int = 48_000) -> float:
    """Hz: upper end of the highest band that is not more than 80 dB below the loudest."""
    size = max(2, round(sample_rate / BAND))
    looks = max(1, waveform.shape[1] // size)
    padded = np.pad(waveform.astype(np.float64), ((0, 0), (0, max(0, size - waveform.shape[1]))))
    frames = padded[:, : looks * size].reshape(len(waveform), looks, size) * np.blackman(size)
    power = (np.abs(np.fft.rfft(frames)) ** 2).mean(axis=(0, 1)) * 4 / size**2
    levels = 10 * np.log10(power + 1e-30)
    heard = np.flatnonzero(levels > max(levels.max() + AUDIBLE, FAINTEST))
    return min(float(heard[-1] + 0.5) * BAND, sample_rate / 2) if len(heard) else 0.0


def click(waveform: np.ndarray, sample_rate: int = 48_000) -> float:
    """dB by which the first millisecond, begun from nothing, jumps more than what follows."""
    jumps = np.diff(waveform[:, : round(BESIDE * sample_rate)], axis=1, prepend=0.0)
    size = max(1, round(EDGE * sample_rate))
    power = np.square(jumps, dtype=np.float64).max(axis=0)
    pieces = np.array_split(power, max(1, len(power) // size))
    edge, *beside = (float(piece.max()) for piece in pieces)
    return decibels(edge + NOTHING) - decibels(float(np.median(beside or [edge])) + NOTHING)


def decibels(power: float) -> float:
    return float(10 * np.log10(power)) if power > 0 else float("-inf")
