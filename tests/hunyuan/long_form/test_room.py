"""The room does not change at a cut: floors meet, and what is another place stays one."""

import numpy as np
import pytest
from pack.hunyuan.foley.seams import Join, SeamMeter
from pack.hunyuan.long_form.room import Floors, GainCurve, cut_gains, floor_of, floors_of, room_gains

RATE = 8_000


def rain(seconds, level_db, seed=0):
    return np.random.default_rng(seed).normal(size=round(seconds * RATE)) * 10 ** (level_db / 20)


def with_events(sound):
    """Three knocks a second apart, 20 dB above the rest."""
    sound = sound.copy()
    for second in range(1, len(sound) // RATE, 1):
        sound[second * RATE : second * RATE + RATE // 5] *= 10
    return sound


def test_the_floor_is_the_level_of_noise():
    assert floor_of(rain(4, -40), RATE) == pytest.approx(-40, abs=0.5)


def test_events_do_not_raise_the_floor():
    assert floor_of(with_events(rain(4, -40)), RATE) == pytest.approx(-40, abs=0.6)


@pytest.mark.parametrize("sound", [rain(0.4, -40), np.zeros(4 * RATE)])
def test_what_is_too_short_or_silent_has_no_floor(sound):
    assert floor_of(sound, RATE) is None


def test_both_ends_of_a_shot_have_their_floor():
    floors = floors_of(np.concatenate([rain(6, -40), rain(6, -30)]), RATE)
    assert (floors.first, floors.last) == (pytest.approx(-40, abs=0.5), pytest.approx(-30, abs=0.5))


def test_floors_meet_at_every_cut():
    floors = [Floors(-40, -38), Floors(-43, -43), Floors(-41, -40)]
    assert room_gains(floors, ["rain"] * 3) == [0, 5, 3]


def test_another_place_starts_anew():
    floors = [Floors(-40, -40), Floors(-43, -43), Floors(-60, -60), Floors(-58, -58)]
    assert room_gains(floors, ["rain"] * 4) == [0, 3, 0, -2]


def test_other_words_are_believed_sooner():
    floors = [Floors(-40, -40), Floors(-48, -48)]
    assert room_gains(floors, ["rain", "rain"]) == [0, 8]
    assert room_gains(floors, ["rain", "a quiet room"]) == [0, 0]


def test_gains_stay_within_bounds():
    floors = [Floors(-40, -30), Floors(-40, -30), Floors(-40, -30)]
    assert room_gains(floors, ["rain"] * 3) == [0, 10, 12]


def test_a_shot_that_says_nothing_is_left_alone():
    assert room_gains([Floors(-40, -40), Floors(None, None), Floors(-44, -44)], ["rain"] * 3) == [0, 0, 0]


def test_steady_rain_keeps_its_level_across_cuts():
    levels = (-40, -44, -37, -42)
    shots = [with_events(rain(5, level, seed)) for seed, level in enumerate(levels)]
    film, levelled, _ = levelled_film(shots)
    assert worst_jump(film, shots) > 3
    assert worst_jump(levelled, shots) < 1


def test_soft_beginnings_are_met_and_turn_no_shot_up_further_than_the_last():
    shots = [rain(12, -40, seed) for seed in range(5)]
    for shot in shots:
        shot[: 2 * RATE] *= 10 ** (-3 / 20)
    film, levelled, gains = levelled_film(shots)
    assert worst_jump(film, shots) > 2.5
    assert worst_jump(levelled, shots) < 1
    assert gains == pytest.approx([0] * 5, abs=0.5)


def test_where_the_place_changes_a_shot_begins_at_its_own_level():
    floors = [Floors(-40, -40, -40, -40), Floors(-60, -60, -62, -60), Floors(None, None, None, None)]
    assert cut_gains(floors, ["rain"] * 3, [0, 0, 0]) == [0, 0, 0]


def test_a_shot_that_ends_in_silence_or_begins_with_it_leaves_the_next_as_it_is():
    shots = [rain(12, -40, seed) for seed in range(2)]
    shots[0][-RATE:] = 0
    _, levelled, _ = levelled_film(shots)
    assert np.isfinite(levelled).all()
    floors = [Floors(-40, -40, -40, None), Floors(-43, -43, -43, -43), Floors(-40, -40, None, -40)]
    assert cut_gains(floors, ["rain"] * 3, [0, 3, 0]) == [0, 3, 0]


def levelled_film(shots):
    """The film, the same at its level, and the gains of the shots."""
    floors, prompts = [floors_of(shot, RATE) for shot in shots], ["rain"] * len(shots)
    gains = room_gains(floors, prompts)
    offsets = np.cumsum([0, *map(len, shots)]).tolist()
    film = np.concatenate(shots)[None]
    curve = GainCurve(offsets, gains, cut_gains(floors, prompts, gains), RATE)
    return film, curve.apply(0, film), gains


def worst_jump(film, shots):
    meter = SeamMeter(RATE)
    meter.hear(film[0])
    joins = [Join(at / RATE, at / RATE, "shot") for at in np.cumsum([*map(len, shots)])[:-1]]
    return meter.report(joins).worst_jump


def test_the_gain_is_the_same_in_whatever_blocks_it_comes():
    curve = GainCurve([0, RATE, 2 * RATE, 3 * RATE], [0, 6, -6], [0, 3, -6], RATE)
    film = rain(3, -20)[None]
    whole = curve.apply(0, film)
    blocks = [curve.apply(first, film[:, first : first + 999]) for first in range(0, 3 * RATE, 999)]
    np.testing.assert_array_equal(whole, np.concatenate(blocks, axis=1))
    assert np.abs(np.diff(whole / film)).max() < 0.02  # no step


def test_a_film_in_one_room_is_not_touched():
    film = rain(3, -20)[None].astype(np.float32)
    assert GainCurve([0, RATE, 3 * RATE], [0, 0], [0, 0], RATE).apply(0, film) is film
