import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.hunyuan.media.measure import measure_sound
from pack.training.scenes import KINDS, MATERIALS, SAMPLE_RATE, Scene
from pack.training.scenes.motion import Path
from pack.training.scenes.synthesis import Strikes

EVERY_THING = [(kind, material) for kind, materials in MATERIALS.items() for material in materials]


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_picture_and_sound_every_time(kind):
    first, second = (Scene.draw(5, kind=kind, seconds=2.0) for _ in range(2))
    assert np.array_equal(first.waveform(), second.waveform())
    assert np.array_equal(first.frames(size=32), second.frames(size=32))
    assert first.events == second.events
    assert first.caption == second.caption


def test_scenes_of_both_splits_and_of_all_seeds_differ():
    scenes = [Scene.draw(seed, split, seconds=1.0) for seed in range(8) for split in ("train", "held-out")]
    pictures = {scene.frames(size=16, seconds=0.05).tobytes() for scene in scenes}
    assert len(pictures) == 16


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(0, 40),
    st.integers(1, 30),
    st.integers(0, 90_000),
    st.integers(1, 90_000),
)
def test_a_window_is_bit_for_bit_that_part_of_the_whole(seed, first, count, sample, samples):
    scene = Scene.draw(seed, seconds=4.0)
    frames = scene.frames(size=24, seconds=(first + count) / scene.fps)
    window = scene.frames(size=24, start=first / scene.fps, seconds=count / scene.fps)
    assert np.array_equal(window, frames[first : first + count])
    whole = scene.waveform()
    part = scene.waveform(sample / SAMPLE_RATE, samples / SAMPLE_RATE)
    assert np.array_equal(part, whole[sample : sample + samples])


@pytest.mark.parametrize(
    ("fps", "size", "shape"), [(25, 40, (50, 40, 40, 3)), (30, (24, 48), (60, 24, 48, 3))]
)
def test_frames_have_the_asked_rate_and_size(fps, size, shape):
    frames = Scene.draw(1, seconds=2.0).frames(fps=fps, size=size)
    assert frames.shape == shape
    assert frames.dtype == np.uint8


def test_a_wide_picture_shows_the_same_scene_and_more_beside_it():
    scene = Scene.draw(3, kind="ball")
    wide = scene.frames(size=(64, 96), seconds=0.04).astype(int)
    square = scene.frames(size=64, seconds=0.04).astype(int)
    assert np.abs(wide[:, :, 16:80] - square).mean() < 20  # the light falls off differently, no more


@pytest.mark.parametrize(("kind", "material"), EVERY_THING)
def test_every_sound_keeps_below_full_scale_without_dc(kind, material):
    sound = Scene.draw(2, kind=kind, material=material, seconds=4.0).waveform()
    assert sound.dtype == np.float32
    assert len(sound) == 4 * SAMPLE_RATE
    measures = measure_sound(sound[None])
    assert measures.peak < -3
    assert abs(measures.offset) < 1e-3


def test_a_scene_lasts_eight_seconds_unless_asked():
    assert len(Scene.draw(2).waveform()) == 8 * SAMPLE_RATE


def test_silence_is_silent_though_things_move():
    for seed in range(4):
        scene = Scene.draw(seed, kind="silence", seconds=2.0)
        assert scene.events == ()
        measures = measure_sound(scene.waveform()[None])
        assert measures.loudness < -60
        assert measures.silence == 1


def test_an_impact_begins_within_a_millisecond_of_its_time():
    scene = Scene.draw(0, kind="hammer", material="wood")
    sound = np.abs(scene.waveform())
    for event in scene.events:
        time = round(event.time * SAMPLE_RATE)
        assert sound[time : time + 48].max() > 8 * sound[max(0, time - 240) : time].max()


def test_a_hard_strike_is_louder():
    scene = Scene.draw(0, kind="hammer", material="wood")
    sound = np.abs(scene.waveform())
    loudest = [sound[round(e.time * SAMPLE_RATE) :][:960].max() for e in scene.events]
    strengths = [event.strength for event in scene.events]
    assert np.corrcoef(loudest, strengths)[0, 1] > 0.9


def test_a_thing_far_away_is_softer_and_duller():
    near, far = (
        Strikes("hammer", "metal", distance, np.random.default_rng(0)).strike(0.8, 0) for distance in (1, 2)
    )
    assert np.abs(far).max() == pytest.approx(np.abs(near).max() / 2, rel=0.15)
    assert brightness(far) < brightness(near)


def brightness(sound: np.ndarray) -> float:
    """Hz: the middle of the spectrum."""
    power = np.abs(np.fft.rfft(sound)) ** 2
    return float((power * np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE)).sum() / power.sum())


def test_denser_rain_is_louder_and_shows_more_streaks():
    scenes = [Scene.draw(seed, kind="rain", seconds=1.0) for seed in range(12)]
    densities = [scene.density(0.5) for scene in scenes]
    levels = [np.sqrt(np.mean(scene.waveform() ** 2)) for scene in scenes]
    assert (np.argsort(levels) == np.argsort(densities)).all()
    changes = [np.abs(np.diff(scene.frames(25, 64).astype(int), axis=0)).mean() for scene in scenes]
    assert np.corrcoef(densities, changes)[0, 1] > 0.5


def test_captions_name_what_is_heard():
    assert "rubber" in Scene.draw(0, kind="ball", material="rubber").caption
    assert "gravel" in Scene.draw(0, kind="footsteps", material="gravel").caption
    both = Scene.draw(0, kind="two")
    assert " and " in both.caption
    assert len(both.sources) == 2


def test_a_caption_can_name_another_material():
    scene = Scene.draw(4, kind="ball", material="wood")
    assert scene.caption_for("glass") == scene.caption.replace("wooden", "glass")


def test_what_does_not_exist_is_named():
    with pytest.raises(ValueError, match="no split 'test'"):
        Scene.draw(0, "test")
    with pytest.raises(ValueError, match="kind 'train'"):
        Scene.draw(0, kind="train")
    with pytest.raises(ValueError, match="is of 'gravel'"):
        Scene.draw(0, kind="ball", material="gravel")
    with pytest.raises(ValueError, match="no length"):
        Scene.draw(0, seconds=0)


@given(st.floats(0, 10), st.floats(0.05, 2), st.floats(-1, 1))
@settings(max_examples=30, deadline=None)
def test_a_path_never_jumps_and_stands_still_outside(start, seconds, to):
    path = Path(0.0, start).glide(to, seconds).hold(0.1).strike(-to, seconds)
    times = np.linspace(start - 1, path.end + 1, 400)
    values = np.array([path(time)[0] for time in times])
    steepest = 4 * abs(to) / seconds * (times[1] - times[0])
    assert np.abs(np.diff(values)).max() <= steepest + 1e-9
    assert values[0] == 0
    assert values[-1] == pytest.approx(-to)
