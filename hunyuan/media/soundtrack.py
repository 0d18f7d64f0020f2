"""A generated sound together with the video's own: levels, ducking, and its true peaks.

Waveforms are (channels, samples) float32, 1 is full scale. True peaks are those of the analogue signal.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, pairwise

import numpy as np

from .audio import check_waveform, fit_length
from .sound_stream import Resampler

HOP = 0.01  # seconds: how often the level is looked at
ATTACK = 0.05  # seconds until ducking has gone 63 % of the way down
RELEASE = 0.4  # seconds until it has gone 63 % of the way up
QUIET, LOUD = -50.0, -30.0  # dBFS of the original: below the one nothing is ducked, above the other all is

OVERSAMPLING = 4  # as BS.1770 asks for at 48 kHz
LOOKAHEAD = 0.005  # seconds by which the limiter turns down before a peak, and up after it


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
    pair = fit_length(generated, samples), fit_length(original, samples)
    (mixed,) = mix_blocks([pair], gain_db=gain_db, duck_db=duck_db, sample_rate=sample_rate)
    return mixed


def mix_blocks(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]],
    *,
    gain_db: float = 0.0,
    duck_db: float = 0.0,
    sample_rate: int = 48_000,
) -> Iterator[np.ndarray]:
    """`mix_tracks` of sounds that come in blocks: what it gives at once, for any blocks.

    pairs: a block of the generated sound and as long a one of the original, (channels, n) each. All but the
           last are whole hundredths of a second.
    """
    loud, before = LoudParts(sample_rate), None
    heard = ((generated, original, loud.hear(original)) for generated, original in pairs)
    for block, following in pairwise(chain(heard, [None])):
        assert block is not None  # the None is the last
        generated, original, levels = block
        after = None if following is None else following[2][0]
        ducked = duck_db * between(before, levels, after, loud.hop, original.shape[1])
        gain = 10 ** ((gain_db - ducked) / 20)
        yield (gain * generated + original).astype(np.float32)
        before = levels[-1]


class LoudParts:
    """Where a sound is loud, 0 to 1, with smooth borders: a level for each hundredth of a second."""

    def __init__(self, sample_rate: int) -> None:
        self.hop = round(HOP * sample_rate)
        self.state = 0.0

    def hear(self, waveform: np.ndarray) -> np.ndarray:
        """(hops,): of the next samples (channels, n)."""
        hops = -(-waveform.shape[1] // self.hop)
        power = fit_length(np.square(waveform).mean(axis=0, keepdims=True), hops * self.hop)
        level = 10 * np.log10(power.reshape(hops, self.hop).mean(axis=1) + 1e-20)
        loud = np.clip((level - QUIET) / (LOUD - QUIET), 0, 1)

        rise, fall = 1 - np.exp(-HOP / ATTACK), 1 - np.exp(-HOP / RELEASE)
        envelope = np.empty(hops)
        for i, target in enumerate(loud):
            self.state += (rise if target > self.state else fall) * (target - self.state)
            envelope[i] = self.state
        return envelope


def between(
    before: float | None, levels: np.ndarray, after: float | None, hop: int, samples: int
) -> np.ndarray:
    """(samples,): levels that hold in the middles of hops, over all samples of the hops.

    before, after: the levels of the hops on both sides, where there are any.
    """
    first = [] if before is None else [before]
    points = np.concatenate([first, levels, [] if after is None else [after]])
    middles = (np.arange(len(points)) + 0.5 - len(first)) * hop
    return np.interp(np.arange(samples), middles, points)


def limiting_gain(
    peaks: np.ndarray, louder: float, limit: float, first: int, last: int, sample_rate: int = 48_000
) -> np.ndarray | None:
    """(last - first,): what brings the peaks of samples [first, last) below the limit; None if all are.

    peaks: (samples,), of the whole sound, which is multiplied by `louder`; it may lie in a file.
    """
    from scipy.ndimage import minimum_filter1d, uniform_filter1d

    # The lowest gain needed nearby, averaged over as far: at a peak, all that is averaged is low enough.
    half = round(LOOKAHEAD * sample_rate)
    begin = max(0, first - 2 * half)
    near = louder * np.asarray(peaks[begin : last + 2 * half], np.float64)
    if near.max(initial=0) <= limit:
        return None
    size = 2 * half + 1
    gain = uniform_filter1d(minimum_filter1d(limit / np.maximum(near, limit), size), size)
    return gain[first - begin : last - begin]


def true_peaks(waveform: np.ndarray, sample_rate: int = 48_000) -> np.ndarray:
    """(samples,): the highest value of any channel from each sample up to the next, after oversampling."""
    return np.concatenate(list(true_peak_blocks([waveform], sample_rate)))


def true_peak_blocks(blocks: Iterable[np.ndarray], sample_rate: int = 48_000) -> Iterator[np.ndarray]:
    """`true_peaks` of a sound that comes in blocks (channels, n); what follows decides on the last few."""
    finer: Resampler | None = None
    plain = found = np.zeros(0, np.float32)  # of samples and of the finer sound, where not both are known
    for block in blocks:
        finer = finer or Resampler(sample_rate, OVERSAMPLING * sample_rate, len(block))
        plain = np.concatenate([plain, np.abs(block).max(axis=0)])
        found = np.concatenate([found, np.abs(finer(block)).max(axis=0, initial=0)])
        known = min(len(plain), len(found) // OVERSAMPLING)
        yield highest(plain[:known], found)
        plain, found = plain[known:], found[OVERSAMPLING * known :]
    if finer is not None:
        found = np.concatenate([found, np.abs(finer.rest()).max(axis=0, initial=0)])
        yield highest(plain, fit_length(found[None], OVERSAMPLING * len(plain))[0])


def highest(plain: np.ndarray, finer: np.ndarray) -> np.ndarray:
    """For each sample, of itself and of the finer ones that belong to it."""
    finer = finer[: OVERSAMPLING * len(plain)].reshape(-1, OVERSAMPLING)
    return np.maximum(finer.max(axis=1, initial=0), plain)
