"""Joins that can be heard are told from those that cannot."""

import json

import numpy as np
import pytest
from pack.hunyuan.foley.seams import Join, SeamMeter, SeamReport

RATE = 16_000
SECONDS = 40
JOINS = tuple(Join(float(time), float(time)) for time in range(4, 40, 4))


def rain(seconds=SECONDS, seed=0):
    """Noise that swells a little, with drops."""
    random = np.random.default_rng(seed)
    samples = random.normal(size=seconds * RATE) * 0.05
    swell = np.interp(
        np.arange(seconds * RATE),
        np.arange(0, seconds * RATE, RATE // 2),
        1 + 0.03 * random.normal(size=2 * seconds),
    )
    for place in random.integers(0, seconds * RATE - 400, 6 * seconds):
        samples[place : place + 400] += random.normal(size=400) * 0.1 * np.exp(-np.arange(400) / 80)
    return (samples * swell).astype(np.float32)


def report_of(sound, joins=JOINS, block=RATE):
    meter = SeamMeter(RATE)
    for first in range(0, len(sound), block):
        meter.hear(sound[first : first + block])
    return meter.report(joins)


def test_rain_without_a_seam_has_none():
    report = report_of(rain())
    assert report.median_jump < 0.6
    assert report.worst_jump < 2
    assert report.smooth_share >= 0.8


@pytest.mark.parametrize("step", [2.0, 6.0])
def test_a_step_of_the_level_is_measured(step):
    sound = rain()
    sound[20 * RATE :] *= 10 ** (step / 20)
    jumps = {seam.join.start: seam.jump for seam in report_of(sound).seams}
    assert jumps.pop(20.0) == pytest.approx(step, abs=0.5)
    assert max(jumps.values()) < 1


def test_a_click_moves_the_spectrum_more_than_rain_does():
    sound = rain()
    sound[12 * RATE + 5] += 1.0
    smooth = {seam.join.start: seam.is_smooth for seam in report_of(sound).seams}
    assert not smooth.pop(12.0)
    assert sum(smooth.values()) >= 6


def test_what_is_lost_where_two_parts_overlap_is_a_jump():
    sound = rain()
    sound[10 * RATE : 11 * RATE] *= 0.7
    (seam,) = report_of(sound, [Join(10.0, 11.0)]).seams
    assert seam.jump == pytest.approx(3.1, abs=0.6)


def test_an_event_beside_a_join_is_no_jump():
    sound = rain()
    sound[round(12.1 * RATE) : round(12.4 * RATE)] *= 8
    assert max(seam.jump for seam in report_of(sound).seams) < 1


def test_the_blocks_in_which_it_comes_do_not_matter():
    sound = rain(10)
    joins = JOINS[:2]
    whole, pieces = report_of(sound, joins, len(sound)), report_of(sound, joins, 777)
    for one, other in zip(whole.seams, pieces.seams, strict=True):
        assert (one.jump, one.flux, one.usual) == pytest.approx(
            (other.jump, other.flux, other.usual), rel=1e-4
        )


def test_a_sound_that_is_all_joins_has_nothing_to_compare_with():
    (seam,) = report_of(rain(3), [Join(0.5, 2.5)]).seams
    assert seam.usual is None
    assert seam.is_smooth


def test_silence_has_a_level_too():
    (seam,) = report_of(np.zeros(3 * RATE, np.float32), [Join(1.5, 1.5)]).seams
    assert (seam.jump, seam.flux) == (0, 0)


@pytest.mark.parametrize("join", [Join(0.0, 0.0), Join(9.9, 10.5), Join(12.0, 12.0)])
def test_a_join_outside_the_sound_is_named(join):
    with pytest.raises(ValueError, match=r"no join from 0:.* in 9.99 s of sound"):
        report_of(rain(10), [join])


def test_a_report_can_be_read_by_people_and_programs():
    report = report_of(rain(), [*JOINS[:3], Join(22.0, 22.0, "shot")])
    assert report.as_text().splitlines()[3].split()[:2] == ["0:22", "shot"]
    assert report.as_text().splitlines()[-1].startswith("4 joins: level 0.")
    told = json.loads(json.dumps(report.as_json()))
    assert [join["kind"] for join in told["joins"]] == ["window"] * 3 + ["shot"]
    assert told["worst_jump_db"] == report.worst_jump
    assert len(report.of_kind("shot").seams) == 1


def test_a_sound_without_joins_has_a_report_as_well():
    report = SeamReport(())
    assert (report.median_jump, report.worst_jump, report.smooth_share) == (0, 0, 1)
    assert report.as_text() == "No joins."
