"""A generated sound together with the video's own: levels, ducking, loudness.

Waveforms are (channels, samples) float32, 1 is full scale. Loudness is EBU R 128 (ITU-R BS.1770), in LUFS;
true peaks are those of the analogue signal, in dBTP.
"""

import numpy as np

from .audio import check_waveform, fit_length, resample
from .measure import integrated_loudness

HOP = 0.01  # seconds: how often the level is looked at
ATTACK = 0.05  # seconds until ducking has gone 63 % of the way down
RELEASE = 0.4  # seconds until it has gone 63 % of the way up
QUIET, LOUD = -50.0, -30.0  # dBFS of the original: below the one nothing is ducked, above the other all is

OVERSAMPLING = 4  # as BS.1770 asks for at 48 kHz
LOOKAHEAD = 0.005  # seconds by which the limiter turns down before a peak, and up after it
ROUNDS = 10  # how often the loudness is corrected
CLOSE = 0.05  # LU: what nobody hears


def mix_tracks(
    generated: np.ndarray,
    original: np.ndarray,
    *,
    gain_db: float = 0.0,
    duck_db: float = 0.0,
    sample_rate: int = 48_000,
) -> np.ndarray:
    """Both sounds at once, as long as the longer one. Mono goes to both sides. The sum may exceed 1.

    gain_db: level of the generated sound.
    duck_db: how far (dB, 0 or more) the generated sound steps back where the original is loud.
    Raises:  ValueError if one is no waveform, or the channels do not fit together.
    """
    generated, original = check_waveform(generated), check_waveform(original)
    if duck_db < 0:
        raise ValueError(f"Ducking by {duck_db:g} dB would be louder, not softer. Choose 0 or more.")
    if len(generated) != len(original) and 1 not in (len(generated), len(original)):
        raise ValueError(f"A sound of {len(generated)} channels does not mix with one of {len(original)}.")

    samples = max(generated.shape[1], original.shape[1])
    generated, original = fit_length(generated, samples), fit_length(original, samples)
    gain = 10 ** ((gain_db - duck_db * loud_parts(original, sample_rate)) / 20)
    return (gain * generated + original).astype(np.float32)


def loud_parts(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """(samples,) between 0 and 1: where the waveform is loud, with smooth borders."""
    hop = round(HOP * sample_rate)
    samples = waveform.shape[1]
    hops = -(-samples // hop)
    power = fit_length(np.square(waveform).mean(axis=0, keepdims=True), hops * hop)
    level = 10 * np.log10(power.reshape(hops, hop).mean(axis=1) + 1e-20)
    loud = np.clip((level - QUIET) / (LOUD - QUIET), 0, 1)

    rise, fall = 1 - np.exp(-HOP / ATTACK), 1 - np.exp(-HOP / RELEASE)
    state, envelope = 0.0, np.empty(hops)
    for i, target in enumerate(loud):
        state += (rise if target > state else fall) * (target - state)
        envelope[i] = state
    return np.interp(np.arange(samples), (np.arange(hops) + 0.5) * hop, envelope)


def normalise_loudness(
    waveform: np.ndarray, target_lufs: float, true_peak_dbtp: float = -1.0, sample_rate: int = 48_000
) -> np.ndarray:
    """The sound at an integrated loudness, its true peaks limited.

    What the limiter takes away is made up for as far as a few rounds get: sparse, hard sounds stay softer.
    Raises: ValueError for no waveform, and for what has no loudness: silence, and less than 0.4 s.
    """
    waveform = limited = check_waveform(waveform)
    gain_db = 0.0
    for _ in range(ROUNDS):
        missing = target_lufs - loudness(limited, sample_rate)
        if abs(missing) < CLOSE:
            break
        gain_db += missing
        limited = limit_peaks(
            (10 ** (gain_db / 20) * waveform).astype(np.float32), true_peak_dbtp, sample_rate
        )
    return limit_peaks(limited, true_peak_dbtp, sample_rate)


def loudness(waveform: np.ndarray, sample_rate: int = 48_000) -> float:
    """Integrated loudness in LUFS. Raises ValueError for silence and for less than 0.4 s."""
    measured = integrated_loudness(waveform, sample_rate)
    if not np.isfinite(measured):
        raise ValueError("The sound is silent (below -70 LUFS), so there is no loudness to change.")
    return measured


def limit_peaks(waveform: np.ndarray, true_peak_dbtp: float, sample_rate: int = 48_000) -> np.ndarray:
    """The sound turned down around each true peak above the limit, and nowhere else."""
    from scipy.ndimage import minimum_filter1d, uniform_filter1d

    limit = 10 ** (true_peak_dbtp / 20)
    peaks = true_peaks(waveform, sample_rate)
    if peaks.max() <= limit:
        return waveform
    # The lowest gain needed nearby, averaged over as far: at a peak, all that is averaged is low enough.
    size = 2 * round(LOOKAHEAD * sample_rate) + 1
    gain = uniform_filter1d(minimum_filter1d(limit / np.maximum(peaks, limit), size), size)
    limited = gain * waveform
    excess = true_peaks(limited, sample_rate).max() / limit
    return (limited / max(1.0, excess)).astype(np.float32)


def true_peaks(waveform: np.ndarray, sample_rate: int = 48_000) -> np.ndarray:
    """(samples,): the highest value of any channel from each sample up to the next, after oversampling."""
    finer = resample(waveform, sample_rate, OVERSAMPLING * sample_rate)
    highest = np.abs(fit_length(finer, OVERSAMPLING * waveform.shape[1])).max(axis=0)
    return np.maximum(highest.reshape(-1, OVERSAMPLING).max(axis=1), np.abs(waveform).max(axis=0))
