"""Loudness in passes over blocks: as pyloudnorm measures it at once, and the same whatever the blocks."""

import numpy as np
import pyloudnorm
import pytest
from pack.hunyuan.media import loudness
from pack.hunyuan.media.loudness import LimitedSound, LoudnessMeter, measure_loudness, normalise_loudness
from pack.hunyuan.media.measure import integrated_loudness
from pack.hunyuan.media.soundtrack import true_peak_blocks, true_peaks

RATE = 48_000


def changing(seconds: float, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Noise whose level wanders between silence and full scale, so that both gates act."""
    rng = np.random.default_rng(seed)
    samples = round(seconds * RATE)
    levels = np.interp(np.arange(samples), np.arange(0, samples + RATE, RATE), rng.uniform(
        -90, -6, samples // RATE + 2)[: len(np.arange(0, samples + RATE, RATE))])  # fmt: skip
    return (rng.uniform(-1, 1, (channels, samples)) * 10 ** (levels / 20)).astype(np.float32)


def in_pieces(sound: np.ndarray, seed: int = 1):
    rng, first = np.random.default_rng(seed), 0
    while first < sound.shape[1]:
        size = int(rng.integers(1, 3 * RATE))
        yield sound[:, first : first + size]
        first += size


@pytest.mark.parametrize(("seconds", "channels"), [(60, 1), (60, 2), (7.06, 2), (0.4, 1)])
def test_loudness_in_pieces_is_pyloudnorms_at_once(seconds, channels):
    sound = changing(seconds, channels)
    expected = pyloudnorm.Meter(RATE).integrated_loudness(sound.T.astype(np.float64))
    assert measure_loudness(in_pieces(sound), channels) == pytest.approx(expected, abs=0.01)


def test_silence_has_no_loudness_and_a_moment_none_to_measure():
    assert measure_loudness([np.zeros((1, RATE), np.float32)], 1) == -np.inf
    with pytest.raises(ValueError, match=r"0\.20 s of sound have no measurable loudness"):
        measure_loudness([np.ones((1, RATE // 5), np.float32)], 1)


def test_a_gain_moves_the_loudness_and_what_the_absolute_gate_hears():
    sound, meter = changing(20), LoudnessMeter(1)
    meter.hear(sound)
    quiet = (0.001 * sound).astype(np.float32)
    expected = pyloudnorm.Meter(RATE).integrated_loudness(quiet.T.astype(np.float64))
    assert meter.integrated(0.001) == pytest.approx(expected, abs=0.01)


def test_true_peaks_do_not_depend_on_the_pieces():
    sound = changing(8, 2)
    np.testing.assert_array_equal(np.concatenate(list(true_peak_blocks(in_pieces(sound)))), true_peaks(sound))


@pytest.mark.parametrize("target", [-30.0, -12.0])
def test_a_target_is_met_in_three_blocks_as_in_one(monkeypatch, target):
    """At -12 the limiter acts, across the blocks' borders too."""
    sound, limit = changing(8, 2, seed=1), 10 ** (-3 / 20)
    monkeypatch.setattr(loudness, "BLOCK", 3 * RATE)
    levelled = normalise_loudness(sound, target, -3.0)
    ratio = np.abs(levelled).max() / np.abs(sound).max()
    assert np.allclose(levelled, ratio * sound, rtol=1e-3) == (target == -30.0)
    assert integrated_loudness(levelled) == pytest.approx(target, abs=0.5)
    assert true_peaks(levelled).max() <= limit * 1.0001

    monkeypatch.setattr(loudness, "BLOCK", sound.shape[1])
    np.testing.assert_allclose(normalise_loudness(sound, target, -3.0), levelled, atol=1e-6)


def test_silence_has_no_loudness_to_change():
    sound = np.zeros((1, RATE), np.float32)
    with pytest.raises(ValueError, match="The sound is silent"):
        LimitedSound(sound=sound, peaks=sound[0], limit=0.9).normalised(-20.0)
