"""More than one generation covers: the main job on films, as a user runs it, on pocket weights."""

import shutil
from pathlib import Path

import av
import numpy as np
import pyloudnorm
import pytest
import soundfile
import torch
from pack.cli import foley_film, main
from pack.hunyuan.long_form.disk import MARGIN
from pack.hunyuan.long_form.job import MANIFEST
from pack.model_loaders.foley import load_audio_vae
from pack.model_loaders.foley_folder import POCKET

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


def tone(height: float, level: float = 0.3, seconds: float = SECONDS) -> np.ndarray:
    return level * np.sin(2 * np.pi * height * np.arange(round(48_000 * seconds)) / 48_000)


def level_at(sound: np.ndarray, height: float) -> float:
    spectrum = np.abs(np.fft.rfft(sound[-48_000:]))
    return float(spectrum[round(height)] / spectrum.size)


def test_a_film_is_mixed_with_its_own_sound_at_a_loudness(tmp_path, clip):
    film = clip("film.mp4", seconds=SECONDS, fps=6, size=(32, 32), sound=tone(440)[None])
    out = tmp_path / "o.wav"
    options = ("--track", "mix", "--gain", -20, "--loudness", -24, "--true-peak", -3)
    assert run("--video", film, "--out", out, *options, "--keep-job") == 0
    mixed, rate = soundfile.read(out, always_2d=True)
    assert mixed.shape[0] == SECONDS * 48_000
    assert pyloudnorm.Meter(rate).integrated_loudness(mixed) == pytest.approx(-24, abs=0.5)
    assert level_at(mixed.mean(axis=1), 440) > 0.05
    # The finished sound is there: another loudness goes on from it, without the work.
    assert run("--video", film, "--out", out, "--loudness", -30) == 0
    replaced, rate = soundfile.read(out, always_2d=True)
    assert pyloudnorm.Meter(rate).integrated_loudness(replaced) == pytest.approx(-30, abs=0.5)
    assert level_at(replaced.mean(axis=1), 440) < 0.01
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4", "o.wav"]


def test_a_part_of_a_long_sound_is_made_anew_and_the_rest_stays(tmp_path):
    given, long = tmp_path / "given.wav", ("--seconds", 17, "--sound", tmp_path / "given.wav")
    soundfile.write(given, tone(300, seconds=17), 48_000)
    assert run(*long, "--denoise", 0, "--out", tmp_path / "same.wav") == 0
    assert run(*long, "--regenerate", 12, 13, "--out", tmp_path / "part.wav") == 0
    same, part = (soundfile.read(tmp_path / f"{name}.wav")[0] for name in ("same", "part"))
    changed = np.abs(same - part) > 1e-5
    vae = load_audio_vae(POCKET / "audio_vae.safetensors", "both")
    reach = (vae.config.decoder_reach + 1) / 50  # seconds
    assert changed[12 * 48_000 : 13 * 48_000].mean() > 0.5
    assert not changed[: round((12 - reach) * 48_000)].any()
    assert not changed[round((13 + reach) * 48_000) :].any()

    with torch.inference_mode():
        waveform = torch.from_numpy(soundfile.read(given, dtype="float32")[0])[None, None]
        through = vae.decode_tiled(vae.encode_tiled(waveform).mode)[0, 0].numpy()
    np.testing.assert_allclose(same, through, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--track", "mix"), "has no sound to mix. Use --track replace"),
        (("--sound", "late.wav", "--regenerate", 20, 21), "Nothing lies from 20 to 21 s"),
        (("--sound", "film.mp4", "--denoise", 0.5), "film.mp4 holds no sound"),
    ],
)
def test_what_could_not_end_is_said_before_the_work(tmp_path, film, capsys, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    soundfile.write("late.wav", tone(300), 48_000)
    assert run("--video", film, *options, "--out", "o.mp4") == 1
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4", "late.wav"]


@pytest.mark.parametrize("how", [(), ("--restart",)])
def test_a_job_that_goes_on_or_begins_anew_is_asked_for_its_disk(tmp_path, monkeypatch, capsys, how):
    command = ("--seconds", 17, "--out", tmp_path / "out.wav")
    assert run(*command, "--keep-job") == 0
    taken = sum(path.stat().st_size for path in (tmp_path / "out.wav.job").rglob("*") if path.is_file())
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=MARGIN - taken))
    assert run(*command, *how) == 1
    assert "of which" in capsys.readouterr().err
    assert (tmp_path / "out.wav.job" / MANIFEST).is_file()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=MARGIN + 20_000_000))
    assert run(*command, *how) == 0
