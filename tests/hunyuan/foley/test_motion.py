import numpy as np
import pytest
from pack.hunyuan.foley.motion import ROWS, measure_motion
from pack.hunyuan.foley.synchrony import match
from pack.training.scenes import Scene


def still(frames: int = 50, fps: float = 25.0, size: tuple[int, int] = (48, 64)):
    for i in range(frames):
        yield i / fps, np.full((*size, 3), 90, np.uint8)


def test_impacts_are_seen():
    found = seen = wrong = 0
    for seed, kind in enumerate(["ball", "hammer", "footsteps", "ball"]):
        scene = Scene.draw(seed, "held-out", kind=kind, seconds=5.0)
        motion = measure_motion(scene.stream(size=ROWS))
        events = np.array([event.time for event in scene.events if event.visible])
        seeing = match(events, motion.events())
        found, seen = found + len(seeing.matches), seen + len(events)
        wrong += seeing.num_onsets - len(seeing.matches)
        assert abs(seeing.offset) < 0.04
    assert found >= 0.9 * seen
    assert wrong <= 0.25 * seen


def test_motion_peaks_at_impacts():
    scene = Scene.draw(1, kind="ball", seconds=5.0)
    motion = measure_motion(scene.stream(fps=25, size=ROWS))
    near = np.min([np.abs(motion.times - event.time) for event in scene.events], axis=0) < 0.06
    assert motion.energy[near].mean() > 1.5 * motion.energy[~near].mean()


@pytest.mark.parametrize("kind", ["rain", "silence"])
def test_steady_motion_has_no_events(kind):
    assert len(measure_motion(Scene.draw(2, kind=kind, seconds=4.0).stream(size=ROWS)).events()) <= 1


def test_a_still_picture_does_not_move():
    motion = measure_motion(still())
    assert not motion.energy.any()
    assert len(motion.events()) == 0


def test_the_same_motion_has_the_same_energy_at_every_frame_rate():
    scene = Scene.draw(3, kind="silence", seconds=2.0)
    slow, fast = (measure_motion(scene.stream(fps=fps, size=ROWS)).energy[1:].mean() for fps in (25, 50))
    assert fast == pytest.approx(slow, rel=0.2, abs=1e-4)


def test_a_cut_is_no_event():
    frames = [*still(25), *((1 + i / 25, 255 - frame) for i, (_, frame) in enumerate(still(25)))]
    motion = measure_motion(frames)
    assert motion.energy.max() > 1
    assert len(motion.events()) == 0


def test_a_frame_of_another_size_is_no_event():
    frames = [*still(25), *((1 + time, frame) for time, frame in still(25, size=(30, 64)))]
    assert len(measure_motion(frames).events()) == 0


def test_few_frames_have_no_events_and_none_are_an_error():
    assert len(measure_motion(still(2)).events()) == 0
    with pytest.raises(ValueError, match="no frame"):
        measure_motion([])
