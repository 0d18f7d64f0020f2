"""A film's finished sound, mixed and at its loudness in files: as for a clip, and the same after a kill."""

import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile
from marker_film import MIXING, make_mixed_file
from media_clips import write_clip
from pack.hunyuan.long_form.finish import Finish, finished
from pack.hunyuan.long_form.job import Job
from pack.hunyuan.long_form.plan import FilmPlan, exact
from pack.hunyuan.media.loudness import normalise_loudness
from pack.hunyuan.media.measure import integrated_loudness
from pack.hunyuan.media.soundtrack import mix_tracks

RATE, SECONDS = 48_000, 33
PLAN = FilmPlan.of_clip(exact(0), exact(SECONDS))


def unwatched(items, _total, _label):
    return items


def noise(channels: int, seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    level = np.repeat(10 ** (rng.uniform(-50, -6, round(seconds * 4)) / 20), RATE // 4)
    return (rng.uniform(-1, 1, (channels, len(level))) * level).astype(np.float32)


@pytest.fixture
def job(tmp_path) -> Job:
    return Job.open(tmp_path / "job", {})


@pytest.fixture(scope="module")
def take() -> np.ndarray:
    return noise(1, SECONDS)[0]


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("original") / "o.wav"
    soundfile.write(path, noise(2, 30, 1).T, RATE, subtype="FLOAT")
    return path


@pytest.mark.parametrize("loud", [None, -14.0])
def test_a_mix_and_its_loudness_are_those_of_a_clip(job, take, original, loud):
    settings = Finish(gain_db=-2, original=original, duck_db=9, loudness=loud, true_peak=-2.0)
    made = finished(job, PLAN, take, settings, unwatched)
    expected = mix_tracks(take[None], noise(2, 30, 1), gain_db=-2, duck_db=9)
    if loud is not None:
        expected = normalise_loudness(expected, loud, -2.0)
        assert integrated_loudness(np.array(made)) == pytest.approx(loud, abs=0.5)
    assert made.shape == (2, SECONDS * RATE)
    np.testing.assert_allclose(made, expected, atol=2e-4)


def test_nothing_asked_leaves_the_sound(job, take):
    np.testing.assert_array_equal(finished(job, PLAN, take, Finish(), unwatched)[0], take)


def test_it_says_how_far_it_is(job, take, original):
    told = []

    def progress(items, total, label):
        told.append((label, total))
        return items

    finished(job, PLAN, take, Finish(original=original, loudness=-23), progress)
    assert told[0] == ("Mixing", 4)
    assert set(told[1:]) == {("Measuring the loudness", 4)}


def test_the_disk_that_is_asked_for_is_what_it_takes(job, take, original):
    settings = Finish(original=original, loudness=-23)
    finished(job, PLAN, take, settings, unwatched)
    assert job.size - 4 * take.size == pytest.approx(4 * settings.rows * take.size, abs=1000)


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """A film with a sound of its own."""
    folder = tmp_path_factory.mktemp("film")
    return write_clip(folder / "f.mkv", seconds=24, fps=6, size=(32, 32), sound=noise(2, 24, 2))


@pytest.fixture(scope="module")
def whole(video, tmp_path_factory) -> Path:
    """The film with its mix, made without a stop."""
    out = tmp_path_factory.mktemp("whole") / "o.mkv"
    make_mixed_file(video, out)
    return out


@pytest.mark.parametrize("block", [0, 1, 2])
def test_killed_in_the_middle_of_the_mix_it_ends_with_the_same_file(video, whole, tmp_path, start, block):
    (tmp_path / "work").mkdir()
    out, reached = tmp_path / "work" / "o.mkv", tmp_path / "reached"
    process = start(make_mixed_file, video, out, block, reached)
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert reached.read_text() == f"{MIXING} {block}"
    assert not out.exists()
    assert (tmp_path / "work" / "o.mkv.job" / "mixed.f32.part").is_file()
    make_mixed_file(video, out)
    assert out.read_bytes() == whole.read_bytes()
    assert [path.name for path in out.parent.iterdir()] == [out.name]
