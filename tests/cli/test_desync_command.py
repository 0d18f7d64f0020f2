import re

import numpy as np
from pack.cli import main


def noise(seconds: float) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal((2, round(48_000 * seconds)))


def test_a_video_with_sound_gets_a_score_on_the_grid_of_offsets(clip, capsys):
    video = clip("a.mp4", seconds=5.2, sound=noise(5.2))
    assert main(["desync", str(video)]) == 0
    out = capsys.readouterr().out
    score, start, end = map(float, re.search(r"DeSync (\S+) s \(start (\S+) s, end (\S+) s\)", out).groups())
    assert abs(start) <= 2
    assert abs(end) <= 2
    assert score == round((abs(start) + abs(end)) / 2, 2)
    assert "pocket weights" in out


def test_a_clip_too_short_for_a_score_says_how_long_it_must_be(clip, capsys):
    assert main(["desync", str(clip("a.mp4", seconds=2, sound=noise(2)))]) == 1
    assert "it needs 14 (4.8 s)" in capsys.readouterr().err


def test_a_silent_video_has_no_score(clip, capsys):
    assert main(["desync", str(clip("a.mp4", seconds=5.2))]) == 1
    assert "holds no sound" in capsys.readouterr().err
