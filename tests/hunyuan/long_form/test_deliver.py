import errno
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pack.hunyuan.long_form.deliver import deliver, levelled, move
from pack.hunyuan.long_form.job import Job
from pack.hunyuan.long_form.plan import FilmPlan, exact

PLAN = FilmPlan.of_clip(exact(0), exact(2))


@pytest.fixture
def job(tmp_path) -> Job:
    return Job.open(tmp_path / "job", {})


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm"])
def test_the_same_film_is_the_same_bytes(tmp_path, clip, job, suffix):
    video = clip(f"film.{suffix}", seconds=2, fps=12, size=(32, 32))
    sound = np.full((1, PLAN.samples), 0.1, np.float32)
    outs = [tmp_path / f"{number}.{suffix}" for number in range(2)]
    for out in outs:
        deliver(job, PLAN, sound, out, video)
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert sorted(path.name for path in job.folder.iterdir()) == ["manifest.json"]


def test_a_gain_turns_all_of_it_up(tmp_path, job):
    sound = np.linspace(-0.1, 0.1, PLAN.samples, dtype=np.float32)
    louder = levelled(job, PLAN, sound, gain_db=6.0)
    deliver(job, PLAN, louder, tmp_path / "o.wav")
    written, rate = soundfile.read(tmp_path / "o.wav")
    assert rate == 48_000
    np.testing.assert_allclose(written, sound * 10 ** (6 / 20), atol=1e-6)


def test_a_result_may_stand_on_another_disk(tmp_path, monkeypatch):
    source, target = tmp_path / "finished.wav", tmp_path / "out.wav"
    source.write_bytes(b"sound")
    replace = Path.replace

    def only_beside(self: Path, to: Path) -> Path:
        if self == source:
            raise OSError(errno.EXDEV, "another disk")
        return replace(self, to)

    monkeypatch.setattr(Path, "replace", only_beside)
    move(source, target)
    assert target.read_bytes() == b"sound"
    assert [path.name for path in tmp_path.iterdir()] == ["out.wav"]
