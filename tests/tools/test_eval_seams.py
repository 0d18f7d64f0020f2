"""The evaluation of joins tells a sound with seams from one without."""

import argparse
import sys
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from media_clips import write_clip
from pack.hunyuan.media.files import write_audio

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import eval_seams  # noqa: E402

RATE = 48_000


@pytest.fixture(scope="module")
def rain():
    return (np.random.default_rng(0).normal(size=(1, 28 * RATE)) * 0.05).astype(np.float32)


def told(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["eval_seams.py", *map(str, arguments)])
    return eval_seams.main(), capsys.readouterr().out.splitlines()


def test_the_joins_of_a_file_follow_from_its_length(monkeypatch, capsys, tmp_path, rain):
    rain = rain.copy()
    rain[:, 17 * RATE :] *= 2
    write_audio(tmp_path / "rain.wav", rain, RATE)
    code, lines = told(monkeypatch, capsys, tmp_path / "rain.wav", "--overlap", "1")
    assert code == 0
    assert [line.split()[:4] for line in lines[1:-1]] == [
        ["0:08", "window", "level", "0.0"],
        ["0:16", "window", "level", "6.0"],
        ["0:24", "window", "level", "0.0"],
    ]
    assert lines[-1].startswith("3 joins: level 0.0 dB median, 6.0 worst")


def test_shots_can_be_written(monkeypatch, capsys, tmp_path, rain):
    options = argparse.Namespace(
        start=0.0, seconds=12.0, overlap=1.92, join="latents", shots=str(tmp_path / "shots.json")
    )
    (tmp_path / "shots.json").write_text('[{"start": 0}, {"start": 5}]')
    film = write_clip(tmp_path / "film.mp4", seconds=12, fps=8, sound=rain[:, : 12 * RATE])
    (seam,) = eval_seams.report_of_file(film, options).seams
    assert (seam.join.start, seam.join.kind) == (5, "shot")


@pytest.mark.parametrize(("step", "passed"), [(1.0, True), (2.0, False)])
def test_rain_is_held_against_the_bars(monkeypatch, capsys, rain, step, passed):
    sound = rain[0].copy()
    sound[14 * RATE :] *= step
    monkeypatch.setattr(eval_seams, "film_sound", lambda *arguments: sound)
    options = argparse.Namespace(
        rain=2, seed=0, length=28.0, shots_every=14.0, overlap=1.92, join="latents"
    )  # fmt: skip
    assert eval_seams.judge_rain(None, options) is passed
    assert "cuts:    2 joins" in capsys.readouterr().out


def test_shots_of_one_length_end_with_the_film():
    shots = eval_seams.equal_shots(Fraction(20), Fraction(8))
    assert [(shot.start, shot.end) for shot in shots] == [(0, 8), (8, 16), (16, 20)]


def test_only_rain_that_holds_is_listened_to():
    options = argparse.Namespace(seed=0, length=60.0)
    scenes = list(islice(eval_seams.steady_rains(options), 3))
    densities = [[scene.density(time) for time in range(60)] for scene in scenes]
    assert all(max(of_scene) < 1.11 * min(of_scene) for of_scene in densities)
    first = [eval_seams.Scene.draw(seed, "held-out", kind="rain", seconds=60.0) for seed in range(3)]
    assert [scene.caption for scene in scenes] != [scene.caption for scene in first]


@pytest.mark.parametrize(
    ("onsets", "passed"),
    [([1.03, 2.0], True), ([1.05, 2.0], False), ([1.0], False), ([1.0, 2.0, 3.0], False)],
)
def test_what_is_made_once_and_twice_has_the_same_onsets_close_to_each_other(monkeypatch, onsets, passed):
    monkeypatch.setattr(eval_seams, "sound_at_once", lambda *arguments: [1.0, 2.0])
    monkeypatch.setattr(eval_seams, "film_sound", lambda *arguments: onsets)
    monkeypatch.setattr(eval_seams, "find_onsets", lambda sound, rate: np.array(sound))
    options = argparse.Namespace(once_or_twice=1, seed=0, overlap=1.92, join="latents")
    assert eval_seams.judge_impacts(None, options) is passed
    monkeypatch.setattr(eval_seams, "sound_at_once", lambda *arguments: onsets[:0])
    monkeypatch.setattr(eval_seams, "film_sound", lambda *arguments: onsets[:0])
    assert eval_seams.judge_impacts(None, options) is False
