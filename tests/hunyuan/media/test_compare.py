import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.hunyuan.media.compare import log_mel, mel_distance, si_sdr

NOISE = np.random.default_rng(0).standard_normal((2, 24_000)) * 0.1


def test_a_sound_is_at_no_distance_from_itself():
    assert mel_distance(NOISE[0], NOISE[0]) == 0
    assert si_sdr(NOISE[0], NOISE[0]) > 100


def test_twice_as_loud_is_six_decibels_away():
    assert mel_distance(NOISE[0], 2 * NOISE[0]) == pytest.approx(6.02, abs=0.05)


@given(st.floats(0.05, 20), st.floats(-10, 40))
@settings(max_examples=20, deadline=None)
def test_the_ratio_is_that_of_the_noise_that_was_added_at_any_scale(scale, ratio):
    sound, noise = NOISE - NOISE.mean(axis=1, keepdims=True)
    noise = noise - sound * (noise @ sound) / (sound @ sound)
    noise *= np.sqrt((sound @ sound) / (noise @ noise)) * 10 ** (-ratio / 20)
    assert si_sdr(sound, scale * (sound + noise)) == pytest.approx(ratio, abs=0.01)


def test_a_tone_lies_in_its_band():
    tone = np.sin(2 * np.pi * 1000 * np.arange(48_000) / 48_000)
    assert abs(int(log_mel(tone, 48_000).mean(axis=0).argmax()) - 20) <= 1  # 1000 mel of 3853, in 81 steps


def test_what_cannot_be_compared_is_told():
    with pytest.raises(ValueError, match="cannot be compared"):
        mel_distance(NOISE[0], NOISE[0, 1:])
    with pytest.raises(ValueError, match="silent"):
        si_sdr(NOISE[0], np.zeros(24_000))
