"""Two sounds at once, loudness by its standard, and peaks that stay below their limit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.hunyuan.media.loudness import LimitedSound, normalise_loudness
from pack.hunyuan.media.measure import integrated_loudness
from pack.hunyuan.media.soundtrack import mix_tracks, true_peaks
from scipy.signal import butter, sosfilt
from scipy.signal import resample as fourier_resample

RATE = 48_000


def tone(seconds: float, level: float = 1.0, height: float = 997.0, channels: int = 1) -> np.ndarray:
    wave = level * np.sin(2 * np.pi * height * np.arange(round(seconds * RATE)) / RATE)
    return np.repeat(wave[None], channels, axis=0).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros((1, round(seconds * RATE)), np.float32)


def footsteps(seconds: float = 6.0) -> np.ndarray:
    """Short, loud bursts, of what can be heard, on a soft ground."""
    time = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(1).standard_normal(time.size)
    heard = sosfilt(butter(8, 16_000, fs=RATE, output="sos"), 0.5 * noise * np.exp(-40 * (time % 0.5)))
    return (heard + 0.002)[None].astype(np.float32)


def gain_of(generated: np.ndarray, original: np.ndarray, **settings) -> np.ndarray:
    """The gain, in dB, that the generated sound got: what is left when the original is taken away again."""
    left = mix_tracks(generated, original, **settings) - original
    return 20 * np.log10(np.abs(left[0]) / np.abs(generated[0]))


# --- mixing -------------------------------------------------------------------------------------------------


def test_without_levels_both_sounds_are_added():
    generator = np.random.default_rng(0)
    a, b = generator.uniform(-1, 1, (2, 2, 4000)).astype(np.float32)
    assert np.allclose(mix_tracks(a, b), a + b, atol=1e-6)


def test_mono_joins_stereo_and_the_longer_sound_counts():
    mixed = mix_tracks(tone(0.5), tone(1.0, channels=2, height=500))
    assert mixed.shape == (2, RATE)
    assert np.allclose(mixed[:, RATE // 2 :], tone(1.0, channels=2, height=500)[:, RATE // 2 :])
    assert mix_tracks(tone(1.0, channels=2), tone(0.5)).shape == (2, RATE)


def test_the_level_is_in_decibels():
    assert np.allclose(
        mix_tracks(tone(0.2), silence(0.2), gain_db=-6), 10 ** (-6 / 20) * tone(0.2), atol=1e-6
    )


def test_the_generated_sound_steps_back_where_the_original_is_loud():
    constant = np.ones((1, 3 * RATE), np.float32)
    original = np.concatenate([silence(1.0), tone(1.0, 0.5), silence(1.0)], axis=1)
    gain = gain_of(constant, original, gain_db=-2, duck_db=12)
    assert gain[: round(0.98 * RATE)] == pytest.approx(-2, abs=0.01)
    assert gain[round(1.5 * RATE)] == pytest.approx(-14, abs=0.1)
    assert gain[-1] == pytest.approx(-2 - 12 * np.exp(-1 / 0.4), abs=0.5)  # one second of release
    assert np.abs(np.diff(gain)).max() < 12 / (0.04 * RATE)  # no click: at most the attack's slope


def test_a_soft_original_ducks_nothing():
    assert gain_of(np.ones((1, RATE), np.float32), tone(1.0, 0.002), duck_db=12) == pytest.approx(0, abs=0.05)


@given(st.floats(-60, 0), st.floats(0, 40))
@settings(max_examples=25, deadline=None)
def test_ducking_never_goes_beyond_its_depth(level, depth):
    original = tone(0.3, 10 ** (level / 20))
    gain = gain_of(np.full((1, original.shape[1]), 10.0, np.float32), original, duck_db=depth)
    assert gain.max() <= 0.01
    assert gain.min() >= -depth - 0.01


@pytest.mark.parametrize(
    ("generated", "original", "settings", "message"),
    [
        (tone(0.1), tone(0.1), {"duck_db": -3}, "Ducking by -3 dB"),
        (tone(0.1, channels=2), tone(0.1, channels=6), {}, "2 channels does not mix with one of 6"),
        (np.zeros((1, 0)), tone(0.1), {}, "A waveform is"),
    ],
)
def test_what_does_not_mix_is_refused(generated, original, settings, message):
    with pytest.raises(ValueError, match=message):
        mix_tracks(generated, original, **settings)


# --- loudness -----------------------------------------------------------------------------------------------


def test_loudness_meets_the_standards_own_example():
    """BS.1770: a 997 Hz tone at full scale on one channel has -3.01 LUFS; on both, 3.01 more."""
    assert integrated_loudness(tone(3.0)) == pytest.approx(-3.01, abs=0.05)
    assert integrated_loudness(tone(3.0, channels=2)) == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("target", [-30, -23, -16])
@pytest.mark.parametrize(
    "sound", [tone(2.0, 0.01), tone(2.0, 0.9, channels=2), footsteps()], ids=["soft", "loud", "steps"]
)
def test_the_target_is_met(sound, target):
    assert integrated_loudness(normalise_loudness(sound, target)) == pytest.approx(target, abs=0.5)


def test_below_the_limit_only_the_level_changes():
    sound = tone(1.0, 0.05)
    ratio = normalise_loudness(sound, -30) / np.where(sound == 0, 1, sound)
    assert np.ptp(ratio[sound != 0]) < 1e-5


def exact_true_peak(waveform: np.ndarray) -> float:
    """By Fourier, 16 times finer, of a sound that fades at both ends."""
    finer = fourier_resample(waveform.astype(np.float64), 16 * waveform.shape[1], axis=1)
    return 20 * np.log10(np.abs(finer).max())


@pytest.mark.parametrize("limit", [-1.0, -3.0, -9.0])
@pytest.mark.parametrize("target", [-23, -9])
def test_true_peaks_stay_below_the_limit(limit, target):
    fade = np.hanning(2 * RATE) ** 0.1
    for sound in (footsteps(2.0) * fade, tone(2.0, 0.9, RATE / 4 + 1) * fade):
        assert (
            exact_true_peak(normalise_loudness(sound.astype(np.float32), target, limit)) <= limit + 0.3
        )  # what 4-fold oversampling may overlook


def test_a_peak_between_samples_is_found():
    """A tone at a quarter of the rate, 45 degrees off: its samples stay 3 dB below its peaks."""
    wave = np.sin(np.pi / 2 * np.arange(RATE) + np.pi / 4)[None].astype(np.float32)
    assert np.abs(wave).max() == pytest.approx(0.707, abs=1e-3)
    assert true_peaks(wave)[100:-100].max() == pytest.approx(1.0, abs=0.02)


def test_the_limiter_leaves_alone_what_is_far_from_a_peak():
    sound = footsteps(2.0)
    limit = LimitedSound(sound=sound, peaks=true_peaks(sound), limit=10 ** (-6 / 20))
    _, factor = limit.measure(1.0)
    (limited,) = limit.turned_up(1.0, factor)
    place = np.arange(2 * RATE) % (RATE // 2)
    untouched = (place > RATE // 8) & (place < RATE // 2 - 1000)
    assert np.abs(limited).max() <= 10 ** (-6 / 20) + 1e-4
    assert np.allclose(limited[:, untouched], sound[:, untouched], rtol=2e-3, atol=0)


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        (tone(0.3), r"0\.30 s of sound have no measurable loudness: that takes 0\.4 s"),
        (silence(1.0), "The sound is silent"),
        (np.full((1, RATE), np.nan), "no numbers"),
    ],
)
def test_what_has_no_loudness_is_refused(sound, message):
    with pytest.raises(ValueError, match=message):
        normalise_loudness(sound, -23)
