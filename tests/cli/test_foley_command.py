"""The main job, from files to files, as a user runs it, on pocket weights."""

import argparse
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyloudnorm
import pytest
import soundfile
import torch
from pack.cli import foley, foley_command, foley_job, main
from pack.cli.foley_presets import PRESETS
from pack.hunyuan.media.container import probe
from pack.hunyuan.sampling.guidance import ALWAYS
from pack.model_loaders.foley import load_audio_vae
from pack.model_loaders.foley_folder import POCKET

FAST = ["--steps", "2"]
STEP_OF_24_BITS = 2.0**-23


def picture_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def run(*arguments: object) -> int:
    return main(["foley", *map(str, arguments), *FAST])


def sound_of(path: Path) -> tuple[np.ndarray, int]:
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        return np.concatenate(frames, axis=-1), container.streams.audio[0].rate


def check_job(video: Path, out: Path, seconds: float | None) -> None:
    """Picture copied bit for bit, sound at 48 kHz and as long as the picture, within a block of the encoder.

    seconds: where the picture ends; None is the end of the last frame, however long that is shown.
    """
    assert run("--video", video, "--prompt", "rain", "--out", out) == 0
    assert picture_packets(out) == picture_packets(video)
    sound, rate = sound_of(out)
    assert rate == 48_000
    seconds = seconds or probe(video).end_time
    assert abs(sound.shape[-1] / rate - seconds) <= 2 * 1024 / 48_000
    assert np.abs(sound).max() > 0.001  # little happens in a test picture, but it is not silent


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm"])
@pytest.mark.parametrize("fps", ["24", "25", "30000/1001", "60"])
def test_a_video_gets_sound_and_keeps_its_picture(tmp_path, clip, suffix, fps):
    video = clip(f"in.{suffix}", fps=Fraction(fps), seconds=1)
    with av.open(str(video)) as container:
        frames = container.streams.video[0].frames or sum(1 for _ in container.decode(video=0))
    check_job(video, tmp_path / f"out.{suffix}", float(frames / Fraction(fps)))


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        pytest.param({"times": [0, 0.03, 0.11, 0.2, 0.52, 0.6, 0.93]}, None, id="variable frame rate"),
        pytest.param({"times": [0.4 + i / 25 for i in range(25)]}, 1.4, id="first frame late"),
        pytest.param({"rotation": 90}, 1.0, id="rotated"),
        pytest.param({"size": (1080, 1920), "seconds": 1}, 1.0, id="portrait 1080 x 1920"),
        pytest.param({"seconds": 0.2}, 0.2, id="shorter than a segment"),
        pytest.param({"pixels": "yuv420p10le"}, 1.0, id="10 bits"),
        pytest.param({"seconds": 8, "fps": 24}, 8.0, id="8 s"),
        pytest.param({"seconds": 15, "fps": 10}, 15.0, id="15 s"),
    ],
)
def test_unusual_videos_work_as_well(tmp_path, clip, settings, seconds):
    check_job(clip("in.mp4", **settings), tmp_path / "out.mp4", seconds)


def test_the_same_seed_gives_the_same_bytes(tmp_path, clip):
    video = clip("in.mp4", fps=24, seconds=1)
    outputs = [tmp_path / f"{i}.wav" for i in range(3)]
    for out, seed in zip(outputs, (3, 3, 4), strict=True):
        assert run("--video", video, "--out", out, "--seed", seed) == 0
    first, again, other = (out.read_bytes() for out in outputs)
    assert first == again
    assert first != other


def test_takes_are_the_same_in_any_batch(tmp_path):
    for batch in (1, 2, 3):
        arguments = ("--seconds", 1, "--takes", 3, "--batch", batch, "--out", tmp_path / f"b{batch}.wav")
        assert run(*arguments) == 0
    for take in (1, 2, 3):
        sounds = [soundfile.read(tmp_path / f"b{batch}_{take}.wav")[0] for batch in (1, 2, 3)]
        for other in sounds[1:]:
            assert np.abs(other - sounds[0]).max() <= max(3e-5 * np.abs(sounds[0]).max(), 8 * STEP_OF_24_BITS)
    assert run("--seconds", 1, "--out", tmp_path / "alone.wav") == 0
    alone, first = (soundfile.read(tmp_path / name)[0] for name in ("alone.wav", "b3_1.wav"))
    assert np.abs(alone - first).max() <= max(3e-5 * np.abs(first).max(), 8 * STEP_OF_24_BITS)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_text_alone_becomes_24_bit_sound_of_the_asked_length(tmp_path, suffix):
    out = tmp_path / f"out.{suffix}"
    assert run("--prompt", "rain", "--seconds", 2, "--out", out) == 0
    info = soundfile.info(out)
    assert (info.samplerate, info.channels, info.subtype, info.frames) == (48_000, 1, "PCM_24", 96_000)


def test_a_part_of_a_video(tmp_path, clip):
    video = clip("in.mp4", fps=24, seconds=3)
    assert run("--video", video, "--start", 1, "--seconds", 1, "--out", tmp_path / "out.wav") == 0
    assert soundfile.info(tmp_path / "out.wav").frames == pytest.approx(48_000, abs=1920)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "o.wav"], "give --video, or --seconds"),
        (["--out", "o.mp4", "--seconds", "2"], "sound without a video goes into .wav or .flac"),
        (["--out", "o.wav", "--seconds", "0"], "--seconds 0 is too short"),
        (["--out", "o.wav", "--seconds", "2", "--takes", "0"], "--takes 0 is too small"),
        (["--out", "o.wav", "--seconds", "30", "--overlap", "3"], "it lies in 0..2 s"),
        (["--seconds", "30"], "name a file with --out"),
        (["--out", "o.wav", "--seconds", "nan"], "--seconds nan is no number"),
        (["--out", "o.wav", "--seconds", "1", "--cfg", "inf"], "--cfg inf is no number"),
        (["--out", "o.wav", "--seconds", "1", "--seed", str(2**64)], "is too large"),
        (["--out", "o.wav", "--seconds", "1", "--shift", "0"], "--shift 0 is too small"),
        (
            ["--out", "o.wav", "--seconds", "1", "--guide-from", "0.9", "--guide-to", "0.1"],
            "the earlier first",
        ),
        (["--out", "o.wav", "--seconds", "1", "--denoise", "0.5"], "name it with --sound"),
        (["--out", "o.wav", "--seconds", "1", "--sound", "nowhere.wav"], "nowhere.wav"),
        (["--out", "o.wav", "--seconds", "1", "--track", "mix"], "needs the sound of a video"),
        (["--out", "o.wav", "--seconds", "1", "--device", "meta"], "no device meta to compute on"),
        (["--out", "o.wav", "--video", "nowhere.mp4"], "nowhere.mp4"),
        (["--out", "nowhere/o.wav", "--seconds", "1"], "nowhere"),
        (["--out", "o.wav", "--seconds", "1", "--weights", "nowhere"], "There is no folder nowhere"),
        (["--out", "o.wav", "--seconds", "1", "--device", "toaster"], "no device toaster"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert list(tmp_path.iterdir()) == []


def tone(frequency: float, seconds: float = 1.0, level: float = 0.3) -> np.ndarray:
    return level * np.sin(2 * np.pi * frequency * np.arange(round(48_000 * seconds)) / 48_000)[None]


def level_at(sound: np.ndarray, frequency: float) -> float:
    spectrum = np.abs(np.fft.rfft(sound[:48_000]))
    return float(spectrum[round(frequency)] / spectrum.size)


def test_mixing_keeps_the_videos_own_sound_audible(tmp_path, clip):
    video = clip("in.mp4", seconds=1, sound=tone(440))
    for track in ("replace", "mix"):
        assert run("--video", video, "--track", track, "--gain", -20, "--out", tmp_path / f"{track}.wav") == 0
    replaced, mixed = (
        soundfile.read(tmp_path / f"{t}.wav", always_2d=True)[0].mean(axis=1) for t in ("replace", "mix")
    )
    assert level_at(mixed, 440) > 0.2 > 10 * level_at(replaced, 440)


def test_keeping_adds_the_original_as_a_second_track(tmp_path, clip):
    video = clip("in.mp4", seconds=1, sound=tone(440))
    assert run("--video", video, "--track", "keep", "--out", tmp_path / "out.mp4") == 0
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio", "audio"]


def test_a_loudness_is_reached_and_peaks_stay_below_their_limit(tmp_path):
    out = tmp_path / "o.wav"
    assert run("--seconds", 2, "--loudness", -30, "--true-peak", -3, "--out", out) == 0
    sound, rate = soundfile.read(out)
    assert pyloudnorm.Meter(rate).integrated_loudness(sound) == pytest.approx(-30, abs=0.5)
    assert np.abs(sound).max() <= 10 ** (-3 / 20)


def test_a_silent_video_has_nothing_to_mix_and_says_so(tmp_path, clip, capsys):
    assert run("--video", clip("in.mp4", seconds=1), "--track", "mix", "--out", tmp_path / "o.mp4") == 1
    assert "has no sound to mix. Use --track replace" in capsys.readouterr().err


def test_no_denoising_gives_the_given_sound_through_the_autoencoder(tmp_path):
    given = tmp_path / "given.wav"
    soundfile.write(given, tone(300, 1.0)[0], 48_000)
    arguments = ("--seconds", 1, "--sound", given)
    outputs = {}
    for denoise in (0, 0.3, 0.6, 1):
        out = tmp_path / f"{denoise}.wav"
        assert run(*arguments, "--denoise", denoise, "--out", out) == 0
        outputs[denoise] = soundfile.read(out)[0]
    assert run("--seconds", 1, "--out", tmp_path / "scratch.wav") == 0
    np.testing.assert_array_equal(outputs[1], soundfile.read(tmp_path / "scratch.wav")[0])

    vae = load_audio_vae(POCKET / "audio_vae.safetensors", "both")
    with torch.inference_mode():
        waveform = torch.from_numpy(soundfile.read(given, dtype="float32")[0])[None, None]
        through = vae.decode(vae.encode(waveform).mode)[0, 0].numpy()
    np.testing.assert_allclose(outputs[0], through, atol=1e-4)
    distances = [np.linalg.norm(outputs[d] - outputs[0]) for d in (0, 0.3, 0.6, 1)]
    assert distances == sorted(distances)


def test_a_part_is_made_anew_and_the_rest_stays(tmp_path):
    given = tmp_path / "given.wav"
    soundfile.write(given, tone(300, 2.0)[0], 48_000)
    arguments = ("--seconds", 2, "--sound", given)
    assert run(*arguments, "--denoise", 0, "--out", tmp_path / "same.wav") == 0
    assert run(*arguments, "--regenerate", 0.8, 1.2, "--out", tmp_path / "part.wav") == 0
    same, part = (soundfile.read(tmp_path / name)[0] for name in ("same.wav", "part.wav"))
    changed = np.abs(same - part) > 1e-5
    reach = (load_audio_vae(POCKET / "audio_vae.safetensors").config.decoder_reach + 1) / 50  # seconds
    assert changed[round(0.8 * 48_000) : round(1.2 * 48_000)].mean() > 0.5
    assert not changed[: round((0.8 - reach) * 48_000)].any()
    assert not changed[round((1.2 + reach) * 48_000) :].any()


def test_guidance_outside_its_interval_changes_nothing(tmp_path):
    sounds = {}
    for name, options in {"off": ("--cfg", 1), "never": ("--guide-to", 0), "on": ()}.items():
        assert run("--seconds", 1, *options, "--out", tmp_path / f"{name}.wav") == 0
        sounds[name] = soundfile.read(tmp_path / f"{name}.wav")[0]
    np.testing.assert_array_equal(sounds["never"], sounds["off"])
    assert np.abs(sounds["on"] - sounds["off"]).max() > 1e-3


def test_a_preset_fills_what_is_not_said(tmp_path):
    def job(*arguments: str) -> foley_job.FoleyJob:
        parser = argparse.ArgumentParser()
        foley_command.add_parser(parser.add_subparsers())
        return foley_command.job_of(
            parser.parse_args(["foley", "--seconds", "1", "--out", "o.wav", *arguments])
        )

    def settings(*arguments: str) -> tuple:
        made = job(*arguments)
        return made.steps, made.solver, made.guide_from, made.guide_to

    for name, preset in PRESETS.items():
        assert settings("--preset", name) == (preset.steps, preset.solver, preset.guide_from, preset.guide_to)
    assert settings() == settings("--preset", "full") == (50, "euler", 0.0, 1.0)
    assert settings("--preset", "fast", "--steps", "3", "--guide-to", "1")[:1] == (3,)
    assert job("--preset", "fast", "--guide-to", "1").guidance_interval == ALWAYS
    assert job("--preset", "fast", "--solver", "midpoint").solver == "midpoint"


def test_it_says_which_weights_made_the_sound(tmp_path, capsys):
    assert run("--seconds", 1, "--out", tmp_path / "o.wav") == 0
    out = capsys.readouterr().out
    assert "pocket (tiny, trained" in out
    assert str(tmp_path / "o.wav") in out


def test_cancelling_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    def cancelled(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(foley, "write_audio", cancelled)
    assert run("--seconds", 1, "--out", tmp_path / "o.wav") == 130
    assert "Cancelled" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_module_runs_as_a_program():
    tools = Path(__file__).parents[2] / "tools"
    code = f"import sys; sys.path.insert(0, {str(tools)!r}); import _pack, hunyuan_av.cli as cli; cli.main()"
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "foley" in done.stdout
