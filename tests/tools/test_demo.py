"""The demos, at their smallest, and how one gets to them."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import demo  # noqa: E402
import demo_avatar  # noqa: E402
import quickstart  # noqa: E402
from hunyuan_av.hunyuan.media.container import probe  # noqa: E402


def test_the_demo_leaves_both_videos_and_a_plot_and_tells_the_truth(tmp_path, monkeypatch, capsys):
    words = [str(tmp_path), "--seed", "3", "--kind", "hammer", "--seconds", "1.5", "--steps", "1"]
    monkeypatch.setattr(sys, "argv", ["demo.py", *words])
    monkeypatch.setattr(demo, "SIZE", 64)
    assert demo.main() == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "hammer_3_true.mp4",
        "hammer_3_made.mp4",
        "hammer_3_made.png",
    }
    assert probe(tmp_path / "hammer_3_made.mp4").has_audio
    told = capsys.readouterr().out
    assert "true impacts heard within 80 ms" in told
    assert "loudness, LUFS" in told


def test_a_scene_that_cannot_be_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["demo.py", str(tmp_path), "--seconds", "0"])
    assert demo.main() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no length" in line


def test_the_avatar_demo_leaves_a_video_as_long_as_the_voice(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["demo_avatar.py", str(tmp_path), "--steps", "1", "--size", "64"])
    assert demo_avatar.main() == 0
    (made,) = tmp_path.iterdir()
    video = probe(made)
    assert video.has_audio
    assert (video.width, video.height) == (64, 64)
    assert video.duration == pytest.approx(37 / 25, abs=0.01)  # whole frames of 1.5 s
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in told if line.startswith("frames")] == ["37", "37"]


def test_the_avatar_demo_says_in_a_sentence_why_it_cannot_write(tmp_path, monkeypatch, capsys):
    (tmp_path / "taken").touch()
    monkeypatch.setattr(sys, "argv", ["demo_avatar.py", str(tmp_path / "taken")])
    assert demo_avatar.main() == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert "taken" in told


@pytest.mark.parametrize(
    ("words", "tool"),
    [([], "demo.py"), (["--seed", "9", "here"], "demo.py"), (["avatar", "--seed", "9"], "demo_avatar.py")],
)
def test_quickstart_hands_each_demo_its_arguments(words, tool, monkeypatch):
    ran = []
    monkeypatch.setattr(quickstart, "install", lambda purpose: Path(purpose))
    monkeypatch.setattr(quickstart, "run", lambda *command: ran.append(command) or 0)
    monkeypatch.setattr(sys, "argv", ["quickstart.py", "demo", *words])
    assert quickstart.main() == 0
    assert ran == [(Path("demo"), f"tools/{tool}", *(word for word in words if word != "avatar"))]
