"""Waveforms: sample rates, channels, lengths."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pack.hunyuan.media.audio import check_waveform, fit_length, resample, to_mono
from scipy.signal import resample_poly


def tone(rate: int, height: float, seconds: float = 1.0) -> np.ndarray:
    return np.sin(2 * np.pi * height * np.arange(round(rate * seconds)) / rate)[None].astype(np.float32)


@pytest.mark.parametrize(
    ("source", "target"), [(48_000, 16_000), (44_100, 48_000), (48_000, 44_100), (8_000, 48_000)]
)
def test_a_tone_is_the_same_at_another_rate(source, target):
    resampled = resample(np.concatenate([tone(source, 440), tone(source, 1000)]), source, target)
    assert resampled.dtype == np.float32
    assert abs(resampled.shape[1] - target) <= 1
    middle = slice(target // 10, -target // 10)
    for i, height in enumerate((440, 1000)):
        assert (
            np.abs(resampled[i, middle] - tone(target, height)[0, : resampled.shape[1]][middle]).max() < 1e-3
        )


def test_resampling_agrees_with_scipy_where_both_filters_pass():
    generator = np.random.default_rng(0)
    smooth = resample_poly(generator.standard_normal(6_000), 8, 1)[None].astype(np.float32)
    ours, theirs = resample(smooth, 48_000, 16_000), resample_poly(smooth, 1, 3, axis=1)
    assert np.abs(ours[:, 500:-500] - theirs[:, 500:-500]).max() < 5e-3


def test_what_the_new_rate_cannot_hold_is_gone():
    assert np.abs(resample(tone(48_000, 12_000), 48_000, 16_000)[:, 2000:-2000]).max() < 1e-4


def test_the_same_rate_changes_nothing():
    waveform = tone(48_000, 440)
    assert resample(waveform, 48_000, 48_000) is waveform


@given(st.integers(1, 50), st.integers(1, 80))
def test_a_length_is_met_by_cutting_or_silence(samples, wanted):
    waveform = np.arange(1.0, 2 * samples + 1).reshape(2, samples)
    fitted = fit_length(waveform, wanted)
    assert fitted.shape == (2, wanted)
    assert np.array_equal(fitted[:, :samples], waveform[:, :wanted])
    assert not fitted[:, samples:].any()


def test_mono_is_the_mean_of_the_channels():
    waveform = np.float32([[1, 0, -1], [0, 0.5, -1]])
    assert np.array_equal(to_mono(waveform), np.float32([[0.5, 0.25, -1]]))


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros(4), r"\(4,\)"),
        (np.zeros((0, 4)), "not empty"),
        (np.zeros((3, 4)), "room for 2"),
        (np.float32([[0, np.nan]]), "no numbers"),
        (np.float32([[0, -np.inf]]), "no numbers"),
    ],
)
def test_what_is_no_waveform_is_refused(waveform, message):
    with pytest.raises(ValueError, match=message):
        check_waveform(waveform, most_channels=2)
