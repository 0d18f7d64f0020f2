"""More than one generation covers: the main job on films, as a user runs it, on pocket weights."""

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from pack.cli import foley_film, main
from pack.hunyuan.long_form.job import MANIFEST

SECONDS = 16


def run(*arguments: object) -> int:
    return main(["foley", "--steps", "1", "--cfg", "1", *map(str, arguments)])


@pytest.fixture
def film(clip) -> Path:
    return clip("film.mp4", seconds=SECONDS, fps=6, size=(32, 32))


def test_a_film_gets_sound_to_its_end_and_its_job_is_gone(tmp_path, film, capsys):
    out = tmp_path / "out.mp4"
    assert run("--video", film, "--prompt", "rain", "--out", out) == 0
    with av.open(str(out)) as container:
        sound = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=-1)
    assert sound.shape[1] / 48_000 == pytest.approx(SECONDS, abs=0.05)
    assert np.abs(sound[:, -48_000:]).max() > 0.001
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4", "out.mp4"]
    assert "Job: " in capsys.readouterr().out


def test_a_cancelled_job_goes_on_with_the_same_command_and_no_other(tmp_path, monkeypatch, capsys):
    command = ("--seconds", 17, "--out", tmp_path / "out.wav")
    assert run(*command, "--keep-job") == 0
    whole = (tmp_path / "out.wav").read_bytes()
    job = tmp_path / "out.wav.job"
    assert (job / MANIFEST).is_file()

    def cancelled(*_arguments: object, **_settings: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(foley_film, "deliver", cancelled)
        assert run(*command, "--restart") == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert run(*command, "--seed", 3) == 1
    assert "seed was 0 and is 3" in capsys.readouterr().err
    assert run(*command) == 0
    assert "continued" in capsys.readouterr().out
    assert (tmp_path / "out.wav").read_bytes() == whole
    assert not job.exists()


def test_text_alone_may_be_long_and_have_takes(tmp_path):
    assert (
        run("--seconds", 17, "--prompt", "rain", "--takes", 2, "--batch", 1, "--out", tmp_path / "o.wav") == 0
    )
    sounds = [soundfile.read(tmp_path / f"o_{take}.wav")[0] for take in (1, 2)]
    assert [len(sound) for sound in sounds] == [17 * 48_000] * 2
    assert np.abs(sounds[0] - sounds[1]).max() > 0.001


def test_a_plan_shows_the_windows_and_does_nothing(tmp_path, film, capsys):
    assert run("--video", film, "--plan") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["1", "1", "0.00", "9.92", "496", "0.00"]
    assert lines[2].split() == ["2", "1", "8.00", "16.00", "400", "8.00"]
    assert "2 windows" in lines[-1]
    assert run("--video", film, "--seconds", 8, "--plan") == 0
    assert "one generation" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_what_films_cannot_have_is_said_before_the_work(tmp_path, film, capsys):
    assert run("--video", film, "--loudness", -20, "--out", tmp_path / "o.mp4") == 1
    assert "--loudness works on at most 15 s" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]
