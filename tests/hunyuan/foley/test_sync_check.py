import json

import numpy as np
import pytest
from pack.hunyuan.foley.sync_check import check_sync
from pack.hunyuan.foley.synchrony import shifted
from pack.training.scenes import SAMPLE_RATE, Scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene.draw(5, "held-out", kind="footsteps", seconds=5.0)


@pytest.fixture(scope="module")
def picture(scene) -> list[tuple[float, np.ndarray]]:
    return list(scene.stream(fps=25, size=64))


def test_a_late_sound_is_found_and_moved(scene, picture):
    late = shifted(scene.waveform()[None], round(0.2 * SAMPLE_RATE))
    check = check_sync(picture, 5.0, late, SAMPLE_RATE, max_shift_ms=300)
    assert check.offset == pytest.approx(0.2, abs=0.03)
    plot = check.plot(shifted(late, round(check.shift * SAMPLE_RATE)), SAMPLE_RATE)
    assert len(plot.matches) >= 0.8 * len(scene.events)


def test_the_sound_is_left_alone_when_it_may_not_move_far_enough(scene, picture):
    late = shifted(scene.waveform()[None], round(0.25 * SAMPLE_RATE))
    assert check_sync(picture, 5.0, late, SAMPLE_RATE, max_shift_ms=50).shift == 0


def test_the_plot_is_as_long_as_the_picture_and_is_plain_json(scene, picture):
    check = check_sync(picture, 5.0, scene.waveform()[None], SAMPLE_RATE)
    assert check.duration == pytest.approx(5.0)
    told = json.loads(json.dumps(check.plot(scene.waveform()[None], SAMPLE_RATE).as_json(), allow_nan=False))
    assert told["duration"] == 5.0
    assert told["fps"] == 25.0
    assert len(told["motion"]) == 125
    assert len(told["onsets"]) == len(check.onsets)
    assert all(abs(ms) <= 80 for *_, ms in told["matches"])


def test_nothing_seen_and_nothing_heard_is_told_as_null():
    frames = [(i / 10, np.zeros((20, 30, 3), np.uint8)) for i in range(10)]
    check = check_sync(frames, 1.0, np.zeros((1, SAMPLE_RATE), np.float32), SAMPLE_RATE, 100)
    assert np.isnan(check.offset)
    told = check.plot(np.zeros((1, SAMPLE_RATE), np.float32), SAMPLE_RATE).as_json()
    assert told["offset_ms"] is None
    assert told["matched"] is None
