"""Whether a sound follows its picture: onsets of the sound, matched with events of the picture.

An onset is where many bands of the spectrum grow louder at once (spectral flux over log energies). Times are
seconds; an offset is positive where the sound is late.
"""

from dataclasses import dataclass

import numpy as np

TOLERANCE = 0.08  # seconds: what people take for one event

HOP = 0.004  # seconds between two looks at the spectrum
WINDOW = 0.02  # seconds looked at
BANDS = 12
LOWEST, HIGHEST = 80.0, 16_000.0  # Hz
QUIETEST = 1e-7  # power, -70 dBFS, below which nothing is an onset
RANGE = 1e-4  # power of what is heard beside the loudest moment, -40 dB,
BESIDE = 8.0  # seconds before and after: a bang minutes away hides nothing
RISE = 3  # hops in which the energy must rise
LEAST_FLUX = 4.0  # dB, averaged over the bands
SPREADS = 3.0  # median absolute deviations above the median: steady noise has no onsets
NEARBY = 0.25  # seconds before and after, which the median is taken over
APART = 0.05  # seconds between two onsets
MASKING, MASKED = 0.6, 0.12  # what follows a loud onset within some 0.12 s must be 0.6 times as strong
CHUNK = 4096  # looks at the spectrum at once
NEAREST = 0.015  # seconds around a candidate in which the sound's sharpest rise is looked for
FINE = 0.001  # seconds: how exactly it is found

SHIFT_STEP = 0.005  # seconds between the shifts that are tried
SHARP = 0.04  # seconds by which matches may differ from a consistent shift
LEAST_SHIFT = 0.03  # seconds: about a frame, to which a picture tells the time
LEAST_MATCHES = 3
LEAST_SHARE = 0.6  # of the events, or of the onsets if they are fewer, that must agree on a shift
BETTER = 0.15  # of the events: a shift that does not help more is left alone


@dataclass(frozen=True)
class Synchrony:
    """How `events` seen and `onsets` heard go together.

    matches: (index of the event, index of the onset, offset), in order of the events.
    """

    num_events: int
    num_onsets: int
    matches: tuple[tuple[int, int, float], ...]

    @property
    def matched(self) -> float:
        """Fraction of the events that are heard; NaN if there are none."""
        return len(self.matches) / self.num_events if self.num_events else float("nan")

    @property
    def false(self) -> float:
        """Fraction of the onsets that nothing is seen of; NaN if there are none."""
        return 1 - len(self.matches) / self.num_onsets if self.num_onsets else float("nan")

    @property
    def offset(self) -> float:
        """Median offset; NaN without matches."""
        return median([offset for _, _, offset in self.matches])

    @property
    def absolute_offset(self) -> float:
        """Median of the offsets' sizes; NaN without matches."""
        return median([abs(offset) for _, _, offset in self.matches])


def median(values: list[float]) -> float:
    return float(np.median(values)) if values else float("nan")


# --- onsets -------------------------------------------------------------------------------------------------


def find_onsets(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """Times at which something begins to sound, in order.

    waveform: (samples,) or (channels, samples), 1 is full scale.
    """
    from scipy.ndimage import maximum_filter1d, median_filter

    mono = np.asarray(waveform, np.float32)
    mono = mono.mean(axis=0) if mono.ndim == 2 else mono
    flux, step = spectral_flux(mono, sample_rate)
    around = 2 * round(NEARBY / step) + 1
    usual = median_filter(flux, around, mode="nearest")
    spread = median_filter(np.abs(flux - usual), around, mode="nearest")
    peaks = (flux == maximum_filter1d(flux, 2 * round(APART / step) + 1)) & (
        flux > LEAST_FLUX + usual + SPREADS * spread
    )
    times = [sharpest_rise(mono, sample_rate, i * step) for i in unmasked(np.flatnonzero(peaks), flux, step)]
    return np.unique(times)


def spectral_flux(mono: np.ndarray, sample_rate: int) -> tuple[np.ndarray, float]:
    """By how many dB the bands rise on average, (looks,), and the seconds from one look to the next."""
    from scipy.ndimage import maximum_filter1d

    hop = max(1, round(HOP * sample_rate))
    step = hop / sample_rate
    levels = band_levels(mono, sample_rate, hop)
    loudest = maximum_filter1d(levels.max(axis=1), 2 * round(BESIDE / step) + 1)
    floor = np.maximum(QUIETEST, RANGE * loudest)[:, None]
    before = np.pad(levels, ((RISE + 1, 0), (0, 0)))
    before = np.maximum(before[: len(levels)], before[1 : len(levels) + 1])
    rise = 10 * np.log10((levels + floor) / (before + floor))
    return np.maximum(rise, 0).mean(axis=1), step


def band_levels(mono: np.ndarray, sample_rate: int, hop: int) -> np.ndarray:
    """(looks, bands): power of each band, in windows around every `hop`th sample."""
    size = 2 * max(8, round(WINDOW * sample_rate / 2))
    window = np.hanning(size).astype(np.float32)
    padded = np.pad(mono, (size // 2, size // 2))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    edges = np.geomspace(LOWEST, min(HIGHEST, sample_rate / 2), BANDS + 1) * size / sample_rate
    first = np.maximum.accumulate(np.arange(BANDS) + 1).clip(np.ceil(edges[:-1]).astype(int))
    bands = []
    for start in range(0, len(frames), CHUNK):
        power = np.abs(np.fft.rfft(frames[start : start + CHUNK] * window)) ** 2
        bands.append(np.add.reduceat(power[:, : int(edges[-1]) + 1], first, axis=1))
    return np.concatenate(bands) * 16 / size**2


def unmasked(peaks: np.ndarray, flux: np.ndarray, step: float) -> list[int]:
    """Peaks that are not lost in the one before."""
    kept: list[int] = []
    for peak in peaks.tolist():
        if kept:
            age = (peak - kept[-1]) * step
            if flux[peak] < MASKING * flux[kept[-1]] * np.exp(1 - max(1.0, age / MASKED)):
                continue
        kept.append(peak)
    return kept


def sharpest_rise(mono: np.ndarray, sample_rate: int, time: float) -> float:
    """Where, near a time, the sound rises most from one few milliseconds to the next."""
    fine, reach = max(1, round(FINE * sample_rate)), round(NEAREST / FINE)
    middle = round(time * sample_rate)
    span = 4  # steps on either side that are compared
    first = middle - (reach + span) * fine
    places = np.arange(first, first + (2 * (reach + span) + 1) * fine)
    inside = (places >= 0) & (places < len(mono))
    power = np.where(inside, mono[np.clip(places, 0, len(mono) - 1)], 0.0) ** 2
    total = np.concatenate([[0.0], power.reshape(-1, fine).sum(axis=1).cumsum()])
    before = total[span:-span] - total[: -2 * span]
    after = total[2 * span :] - total[span:-span]
    rise = (after + fine * 1e-9) / (before + fine * 1e-9) * np.sqrt(after)
    return max(0.0, float(first + (span + int(rise.argmax())) * fine) / sample_rate)


# --- matching -----------------------------------------------------------------------------------------------


def match(events: np.ndarray, onsets: np.ndarray, tolerance: float = TOLERANCE) -> Synchrony:
    """Events and onsets that belong together: the closest first, each once, within `tolerance` seconds.

    events, onsets: times in order.
    """
    first = np.searchsorted(onsets, events - tolerance, side="left")
    end = np.searchsorted(onsets, events + tolerance, side="right")
    near = [(i, j) for i in range(len(events)) for j in range(first[i], end[i])]
    pairs = [(abs(onsets[j] - events[i]), i, j) for i, j in near]
    seen: set[int] = set()
    heard: set[int] = set()
    matches = []
    for _, i, j in sorted(pairs):
        if i not in seen and j not in heard:
            seen.add(i)
            heard.add(j)
            matches.append((i, j, float(onsets[j] - events[i])))
    return Synchrony(len(events), len(onsets), tuple(sorted(matches)))


def consistent_shift(events: np.ndarray, onsets: np.ndarray, max_shift_ms: float) -> float:
    """Seconds by which to move the sound (negative: earlier), 0 if no one shift serves most events.

    The best of all shifts up to `max_shift_ms` is taken if most events then have an onset at their side, and
    clearly closer than before. What is in time to within a frame stays.
    """
    if len(events) < LEAST_MATCHES or len(onsets) < LEAST_MATCHES or max_shift_ms <= 0:
        return 0.0
    limit = max_shift_ms / 1000
    steps = int(limit / SHIFT_STEP + 1e-9)
    shifts = np.arange(-steps, steps + 1) * SHIFT_STEP
    agreement = np.array([closeness(events, onsets + shift) for shift in shifts])
    equal = shifts[agreement > agreement.max() - 1e-9]
    best = equal[np.abs(equal).argmin()]
    moved = match(events, onsets + best, SHARP)
    shift = float(np.clip(best - moved.offset, -limit, limit))
    agreed = len(moved.matches) >= max(LEAST_MATCHES, LEAST_SHARE * min(len(events), len(onsets)))
    helps = agreement.max() - closeness(events, onsets) >= BETTER
    return shift if agreed and helps and abs(shift) >= LEAST_SHIFT else 0.0


def closeness(events: np.ndarray, onsets: np.ndarray) -> float:
    """How near an onset is to each event: 1 at the same time, 0 beyond `SHARP`; averaged over the events."""
    right = np.searchsorted(onsets, events).clip(1, len(onsets) - 1)
    nearest = np.minimum(np.abs(events - onsets[right - 1]), np.abs(events - onsets[right]))
    return float(np.maximum(0, 1 - nearest / SHARP).mean())


def shifted(waveform: np.ndarray, samples: int) -> np.ndarray:
    """The sound (..., n) later by so many samples, or earlier if negative, as long as before."""
    moved = np.zeros_like(waveform)
    kept = max(0, waveform.shape[-1] - abs(samples))
    if samples >= 0:
        moved[..., samples:] = waveform[..., :kept]
    else:
        moved[..., :kept] = waveform[..., -samples:]
    return moved
