import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.hunyuan.media.measure import measure_sound

RATE = 48_000
NOISE = np.random.default_rng(0).standard_normal((1, 2 * RATE)).astype(np.float32)


def tone(hertz: float, level: float = 0.5, seconds: float = 1.0) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)[
        None
    ]


def test_a_tone_of_full_scale_is_at_minus_three_lufs():
    """The reference point of ITU-R BS.1770."""
    assert measure_sound(tone(997, 1.0, 2.0)).loudness == pytest.approx(-3.01, abs=0.1)


def test_silence_has_no_loudness_no_peak_and_no_bandwidth():
    measures = measure_sound(np.zeros((2, RATE), np.float32))
    assert measures.loudness == measures.peak == float("-inf")
    assert measures.silence == 1
    assert measures.bandwidth == 0
    assert measures.clicks == (0, 0)


def test_half_a_silence_is_half_silent():
    assert measure_sound(np.pad(NOISE * 0.1, ((0, 0), (0, 2 * RATE)))).silence == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("cutoff", [4_000, 8_000, 16_000])
def test_bandwidth_is_where_the_spectrum_ends(cutoff):
    spectrum = np.fft.rfft(0.1 * NOISE)
    spectrum[:, np.fft.rfftfreq(NOISE.shape[1], 1 / RATE) > cutoff] = 0
    cut = np.fft.irfft(spectrum, NOISE.shape[1]).astype(np.float32)
    assert measure_sound(cut).bandwidth == pytest.approx(cutoff, abs=1000)


def test_all_frequencies_are_the_whole_bandwidth():
    assert measure_sound(0.1 * NOISE).bandwidth == RATE / 2


@given(st.floats(-0.3, 0.3), st.floats(0.01, 0.6))
@settings(max_examples=15, deadline=None)
def test_peak_and_dc_are_what_was_put_in(offset, level):
    measures = measure_sound(tone(1000, level) + np.float32(offset))
    assert measures.offset == pytest.approx(offset, abs=1e-4)
    assert measures.peak == pytest.approx(20 * np.log10(level + abs(offset)), abs=0.1)


def test_a_cut_tone_clicks_and_a_faded_one_does_not():
    faded = tone(200, seconds=1.0) * np.hanning(RATE).astype(np.float32)
    assert max(measure_sound(faded).clicks) < 6
    cut = faded[:, RATE // 2 - 7777 :]
    start, end = measure_sound(cut).clicks
    assert start > 20
    assert end < 6


def test_noise_that_is_cut_does_not_click():
    assert max(measure_sound(0.1 * NOISE).clicks) < 6


def test_a_moment_of_sound_is_too_short():
    with pytest.raises(ValueError, match=r"0\.10 s of sound"):
        measure_sound(np.ones((1, RATE // 10), np.float32))
