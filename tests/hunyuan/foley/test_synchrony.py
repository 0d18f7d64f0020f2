import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.hunyuan.foley.synchrony import consistent_shift, find_onsets, match, shifted
from pack.training.scenes import Scene

RATE = 48_000

times = st.lists(st.floats(0, 20), max_size=12).map(lambda values: np.array(sorted(values), float))


def clicks(at: list[float], seconds: float = 3.0, rate: int = RATE) -> np.ndarray:
    """Short decaying tones at these times, above a very soft noise."""
    sound = np.random.default_rng(0).standard_normal(round(seconds * rate)) * 1e-4
    tone = np.sin(np.arange(rate // 10) * 2 * np.pi * 700 / rate) * np.exp(
        -np.arange(rate // 10) / rate / 0.02
    )
    for time in at:
        part = sound[round(time * rate) :][: len(tone)]
        part += 0.4 * tone[: len(part)]
    return sound.astype(np.float32)


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_onsets_are_found_to_within_five_milliseconds(rate):
    at = [0.3, 0.71, 1.5, 2.25]
    np.testing.assert_allclose(find_onsets(clicks(at, rate=rate), rate), at, atol=0.005)


def test_a_bang_hides_what_is_soft_around_it_and_nothing_a_minute_away():
    soft = clicks([0.3, 0.71, 1.5, 2.25])
    expected = find_onsets(soft, RATE)
    assert len(expected) == 4
    still = np.zeros(20 * RATE, np.float32)
    bang = 300 * clicks([0.1], seconds=0.3)
    for film in (np.concatenate([soft, still, bang]), np.concatenate([bang, still, soft])):
        begin = (len(film) - len(soft)) / RATE if film[-1] == soft[-1] else 0.0
        heard = find_onsets(film, RATE) - begin
        np.testing.assert_allclose(heard[(heard >= 0) & (heard < 3)], expected, atol=1e-6)
    assert len(find_onsets(np.concatenate([soft, bang]), RATE)) < 4


def test_true_impacts_are_heard_where_they_are():
    heard = seen = false = 0
    for seed, kind in enumerate(["ball", "hammer", "footsteps", "door", "ball", "footsteps"]):
        scene = Scene.draw(seed, "held-out", kind=kind, seconds=5.0)
        events = np.array([event.time for event in scene.events if event.visible])
        found = match(events, find_onsets(scene.waveform(), RATE), 0.04)
        heard, seen = heard + len(found.matches), seen + found.num_events
        false += found.num_onsets - len(found.matches)
        assert abs(found.offset) < 0.003
    assert heard >= 0.95 * seen
    assert false <= 0.05 * seen


@pytest.mark.parametrize("kind", ["rain", "silence"])
def test_steady_sound_has_no_onsets(kind):
    assert len(find_onsets(Scene.draw(1, kind=kind, seconds=4.0).waveform(), RATE)) <= 1


def test_neither_zeros_nor_a_moment_of_sound_fail():
    assert len(find_onsets(np.zeros(RATE, np.float32), RATE)) == 0
    assert len(find_onsets(np.zeros((2, 7), np.float32), RATE)) == 0


def test_channels_are_heard_together():
    mono = clicks([0.5, 1.0])
    np.testing.assert_array_equal(find_onsets(np.stack([mono, mono]), RATE), find_onsets(mono, RATE))


@settings(max_examples=40, deadline=None)
@given(times, times, st.floats(0.01, 0.5))
def test_matches_are_one_to_one_and_within_the_tolerance(events, onsets, tolerance):
    found = match(events, onsets, tolerance)
    assert (
        len({i for i, _, _ in found.matches}) == len({j for _, j, _ in found.matches}) == len(found.matches)
    )
    for i, j, offset in found.matches:
        assert offset == pytest.approx(onsets[j] - events[i])
        assert abs(offset) <= tolerance
    unseen = set(range(len(events))) - {i for i, _, _ in found.matches}
    unheard = set(range(len(onsets))) - {j for _, j, _ in found.matches}
    assert not any(abs(events[i] - onsets[j]) < tolerance - 1e-9 for i in unseen for j in unheard)


@settings(max_examples=20, deadline=None)
@given(times)
def test_what_is_seen_and_heard_at_once_matches_whole(events):
    events = np.unique(events)
    found = match(events, events)
    assert len(found.matches) == len(events)
    assert all(offset == 0 for *_, offset in found.matches)


def test_figures_of_a_half_matched_clip():
    found = match(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.03, 2.05, 7.0]))
    assert found.matched == 0.5
    assert found.false == pytest.approx(1 / 3)
    assert found.offset == pytest.approx(0.04)
    assert np.isnan(match(np.zeros(0), np.zeros(0)).matched)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(-290, 290).filter(lambda ms: abs(ms) > 45))
def test_a_shifted_sound_is_brought_back(seed, late_ms):
    rng = np.random.default_rng(seed)
    events = np.cumsum(rng.uniform(0.35, 1.1, 9)) + 0.3
    onsets = np.sort(events + late_ms / 1000 + rng.normal(0, 0.004, 9))
    assert consistent_shift(events, onsets, 300) == pytest.approx(-late_ms / 1000, abs=0.01)


@settings(max_examples=30, deadline=None)
@given(times, times, st.floats(0, 500))
def test_a_shift_is_never_larger_than_allowed(events, onsets, limit):
    assert abs(consistent_shift(events, onsets, limit)) <= limit / 1000 + 1e-12


def test_chance_is_not_taken_for_a_shift():
    rng = np.random.default_rng(0)
    moved = [
        consistent_shift(np.sort(rng.uniform(0, 8, 10)), np.sort(rng.uniform(0, 8, 10)), 300)
        for _ in range(40)
    ]
    assert np.count_nonzero(moved) <= 4


def test_what_is_already_in_time_stays():
    events = np.array([1.0, 2.1, 3.3, 4.0])
    assert consistent_shift(events, events + 0.004, 300) == 0
    assert consistent_shift(events, events + 0.2, 0) == 0


@given(st.integers(1, 30), st.integers(-40, 40))
@settings(max_examples=30, deadline=None)
def test_a_moved_sound_keeps_its_length_and_its_samples(samples, by):
    sound = np.arange(1, samples + 1, dtype=np.float32)[None]
    moved = shifted(sound, by)
    expected = [sound[0, i - by] if 0 <= i - by < samples else 0 for i in range(samples)]
    np.testing.assert_array_equal(moved[0], expected)
