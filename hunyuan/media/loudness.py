"""Integrated loudness and its target, pass after pass over the blocks of a sound, which may lie in a file.

What `measure.integrated_loudness` does at once, in memory that grows with the sound by 80 bytes a second.
Loudness is EBU R 128 (ITU-R BS.1770-4), in LUFS; true peaks are those of the analogue signal, in dBTP.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from .audio import check_waveform
from .measure import SHORTEST
from .sound_stream import BLOCK
from .soundtrack import limiting_gain, true_peak_blocks, true_peaks

CHANNEL_WEIGHTS = (1.0, 1.0, 1.0, 1.41, 1.41)  # left, right, centre, and both surrounds
STEP = 0.1  # seconds from one gating block to the next
STEPS = 4  # that a gating block lasts
OFFSET = -0.691  # LU: BS.1770's, so that 997 Hz at full scale is -3.01
ABSOLUTE_GATE = -70.0  # LUFS
RELATIVE_GATE = -10.0  # LU below what the absolute gate leaves

ROUNDS = 10  # how often the loudness is corrected
CLOSE = 0.05  # LU: what nobody hears

Watch = Callable[[Iterable[np.ndarray], str], Iterable[np.ndarray]]  # blocks and what is done with them


def unwatched(blocks: Iterable[np.ndarray], _label: str) -> Iterable[np.ndarray]:
    return blocks


class LoudnessMeter:
    """Hears a sound block by block, through pyloudnorm's filters, whose state goes on from block to block."""

    def __init__(self, channels: int, sample_rate: int = 48_000) -> None:
        from pyloudnorm import Meter

        self.sample_rate, self.step = sample_rate, round(STEP * sample_rate)
        self.filters = [(f.b, f.a, f.passband_gain) for f in Meter(sample_rate)._filters.values()]
        self.states = [np.zeros((channels, max(len(b), len(a)) - 1)) for b, a, _ in self.filters]
        self.weights = np.array(CHANNEL_WEIGHTS[:channels])
        self.samples = 0
        self.energies: list[np.ndarray] = []  # of whole steps
        self.rest = np.zeros(0)  # power of the samples of the step that is not over

    def hear(self, waveform: np.ndarray) -> None:
        """The next samples, (channels, n)."""
        from scipy.signal import lfilter

        heard = waveform.astype(np.float64)
        for i, (b, a, gain) in enumerate(self.filters):
            heard, self.states[i] = lfilter(b, a, heard, axis=1, zi=self.states[i])
            heard *= gain
        power = np.concatenate([self.rest, self.weights @ np.square(heard)])
        whole = len(power) // self.step * self.step
        self.energies.append(power[:whole].reshape(-1, self.step).sum(axis=1))
        self.rest = power[whole:]
        self.samples += waveform.shape[1]

    def integrated(self, gain: float = 1.0) -> float:
        """LUFS of what was heard, multiplied by `gain`; -inf below -70 LUFS.

        Raises: ValueError for less than 0.4 s.
        """
        seconds = self.samples / self.sample_rate
        if seconds < SHORTEST:
            raise ValueError(
                f"{seconds:.2f} s of sound have no measurable loudness: that takes {SHORTEST} s."
            )
        blocks = gain**2 * self._gating_blocks(seconds)
        heard = blocks[loudness_of(blocks) >= ABSOLUTE_GATE]
        if not len(heard):
            return float("-inf")
        gate = max(ABSOLUTE_GATE, float(loudness_of(heard.mean())) + RELATIVE_GATE)
        return float(loudness_of(heard[loudness_of(heard) > gate].mean()))

    def _gating_blocks(self, seconds: float) -> np.ndarray:
        """(blocks,): the mean power of each; the last may end with the sound."""
        steps = np.concatenate([*self.energies, [self.rest.sum()], np.zeros(STEPS)])
        count = round((seconds - SHORTEST) / STEP) + 1
        ends = np.concatenate([[0.0], np.cumsum(steps)])
        return (ends[STEPS : STEPS + count] - ends[:count]) / (STEPS * self.step)


def loudness_of(power: np.ndarray | float) -> np.ndarray:
    return OFFSET + 10 * np.log10(np.maximum(power, 1e-30))


def blocks_of(sound: np.ndarray) -> Iterator[np.ndarray]:
    """A sound (channels, samples), which may lie in a file, block by block."""
    for first in range(0, sound.shape[1], BLOCK):
        yield np.asarray(sound[:, first : first + BLOCK])


def measure_loudness(blocks: Iterable[np.ndarray], channels: int, sample_rate: int = 48_000) -> float:
    """Integrated loudness in LUFS; -inf for silence. Raises ValueError for less than 0.4 s."""
    meter = LoudnessMeter(channels, sample_rate)
    for block in blocks:
        meter.hear(block)
    return meter.integrated()


def normalise_loudness(
    waveform: np.ndarray, target_lufs: float, true_peak_dbtp: float = -1.0, sample_rate: int = 48_000
) -> np.ndarray:
    """The sound at an integrated loudness, its true peaks limited.

    What the limiter takes away is made up for as far as a few rounds get: sparse, hard sounds stay softer.
    Raises: ValueError for no waveform, and for what has no loudness: silence, and less than 0.4 s.
    """
    waveform = check_waveform(waveform)
    peaks, limit = true_peaks(waveform, sample_rate), 10 ** (true_peak_dbtp / 20)
    limited = LimitedSound(sound=waveform, peaks=peaks, limit=limit, sample_rate=sample_rate)
    return np.concatenate(list(limited.turned_up(*limited.normalised(target_lufs))), axis=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class LimitedSound:
    """A sound that is turned up as a whole and down around each of its true peaks above a limit.

    sound: (channels, samples). peaks: (samples,), its true peaks. Both may lie in files.
    limit: the highest true peak that is allowed, 1 being full scale.
    """

    sound: np.ndarray
    peaks: np.ndarray
    limit: float
    sample_rate: int = 48_000

    def turned_up(self, gain: float, factor: float = 1.0) -> Iterator[np.ndarray]:
        """Its blocks, limited but for what limiting itself adds to the peaks between samples.

        factor: what all of it is multiplied by in the end, see `measure`.
        """
        for first in range(0, self.sound.shape[1], BLOCK):
            block = (gain * np.asarray(self.sound[:, first : first + BLOCK])).astype(np.float32)
            last = first + block.shape[1]
            lower = limiting_gain(self.peaks, gain, self.limit, first, last, self.sample_rate)
            limited = block if lower is None else (lower * block).astype(np.float32)
            yield limited if factor == 1 else (factor * limited).astype(np.float32)

    def measure(self, gain: float, watch: Watch = unwatched) -> tuple[float, float]:
        """Turned up by a gain: its loudness in LUFS, and the factor that brings all peaks below the limit."""
        meter = LoudnessMeter(len(self.sound), self.sample_rate)

        def heard() -> Iterator[np.ndarray]:
            for block in watch(self.turned_up(gain), "Measuring the loudness"):
                meter.hear(block)
                yield block

        highest = max(float(peaks.max(initial=0)) for peaks in true_peak_blocks(heard(), self.sample_rate))
        factor = 1 / max(1.0, highest / self.limit)
        return meter.integrated(factor), factor

    def normalised(self, target_lufs: float, watch: Watch = unwatched) -> tuple[float, float]:
        """The gain and the factor with which its loudness is the target, as far as a few rounds get.

        Raises: ValueError for what has no loudness: silence, and less than 0.4 s.
        """
        gain_db, factor = 0.0, 1.0
        measured = measure_loudness(
            watch(blocks_of(self.sound), "Measuring the loudness"), len(self.sound), self.sample_rate
        )
        if not np.isfinite(measured):
            raise ValueError("The sound is silent (below -70 LUFS), so there is no loudness to change.")
        limited = False
        for _ in range(ROUNDS):
            missing = target_lufs - measured
            if abs(missing) < CLOSE:
                break
            gain_db += missing
            measured, factor = self.measure(10 ** (gain_db / 20), watch)
            limited = True
        gain = 10 ** (gain_db / 20)
        return (gain, factor) if limited else (gain, self.measure(gain, watch)[1])
