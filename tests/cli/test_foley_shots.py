"""Shots and timed prompts of the command line, as far as the plan shows them."""

import numpy as np
import pytest
from media_clips import write_clip
from pack.cli import main
from pack.cli.foley_film import plan_of
from pack.cli.foley_job import FoleyJob
from pack.hunyuan.long_form.prompts import WindowPrompts

FPS = 12


def two_scenes(i, width, height):
    return np.full((height, width, 3), 40 if i < 5 * FPS else 180, np.uint8)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """9 s, with a cut at 5 s."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    return write_clip(path, seconds=9, fps=FPS, size=(32, 32), picture=two_scenes)


def plan(capsys, *options):
    """The lines that --plan prints, in words."""
    assert main(["foley", "--plan", *map(str, options)]) == 0
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def spans(lines):
    """shot, from, to of each window."""
    return [words[1:4] for words in lines if words[0].isdigit()]


def test_cuts_are_found(film, capsys):
    assert spans(plan(capsys, "--video", film, "--shots", "auto")) == [
        ["1", "0.00", "5.00"],
        ["2", "5.00", "9.00"],
    ]


def test_shots_are_read_from_a_file(film, capsys, tmp_path):
    shots = tmp_path / "shots.json"
    shots.write_text('[{"start": 0, "prompt": "rain"}, {"start": "0:03.5"}]')
    lines = plan(capsys, "--video", film, "--shots", shots, "--start", 1)
    assert spans(lines) == [["1", "1.00", "4.50"], ["2", "4.50", "9.00"]]


def test_a_file_of_prompts_has_one_for_each_shot_that_is_found(film, tmp_path):
    shots = tmp_path / "prompts.txt"
    shots.write_text("rain\n0:00 wind | 0:02 hail\n")
    job = FoleyJob(out=tmp_path / "o.wav", video=film, prompt="bells", shots=str(shots))
    planned = plan_of(job, 9.0)
    words = WindowPrompts(planned, job.prompt)
    assert [[text for text, _ in words(window)] for window in planned.windows] == [["rain"], ["wind", "hail"]]


def test_a_prompt_that_changes_is_made_in_windows(film, capsys):
    lines = plan(capsys, "--video", film, "--prompt", "0:00 rain | 0:04 wind")
    assert spans(lines) == [["1", "0.00", "9.00"]]
    assert "generation," in plan(capsys, "--video", film, "--prompt", "rain | wind")[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shots", "absent.json"], "absent.json"),
        (["--prompt", "0:05 rain | 0:04 wind"], "'wind' at 0:04 does not come after 'rain' at 0:05"),
    ],
)
def test_what_cannot_be_done_is_said_before_the_work(film, capsys, options, message):
    assert main(["foley", "--plan", "--video", str(film), *options]) == 1
    assert message in capsys.readouterr().err


def test_shots_need_a_video(capsys):
    assert main(["foley", "--plan", "--seconds", "9", "--shots", "auto"]) == 1
    assert "give --video" in capsys.readouterr().err


def test_what_begins_after_the_end_is_named(film, capsys):
    assert main(["foley", "--plan", "--video", str(film), "--shots", "auto", "--start", "12"]) == 1
    assert "film.mp4 ends at 9.00 s, before --start 12" in capsys.readouterr().err


def test_a_list_of_shots_in_another_encoding_is_named(film, capsys, tmp_path):
    shots = tmp_path / "shots.txt"
    shots.write_bytes("Schnee fällt".encode("latin-1"))
    assert main(["foley", "--plan", "--video", str(film), "--shots", str(shots)]) == 1
    assert "shots.txt is not UTF-8 text" in capsys.readouterr().err
