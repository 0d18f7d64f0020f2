"""The evaluation judges true sounds as good, and wrong ones as bad."""

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import eval_material  # noqa: E402
import eval_scenes  # noqa: E402
import eval_sync  # noqa: E402
import eval_tables  # noqa: E402
from eval_generate import Generator, Settings  # noqa: E402
from hunyuan_av.hunyuan.media.encode import write_video  # noqa: E402
from hunyuan_av.training.scenes import SAMPLE_RATE, Scene  # noqa: E402

CLIPS, SECONDS = 5, 3.0


class Truth:
    """Gives every scene its true sound; blind, that of a scene never seen; and does as the prompt says."""

    def sound(self, scene, settings, *, prompt=None, picture=None, drop=frozenset()):
        if drop:
            return Scene.draw(99 + len(scene.events), kind="footsteps", seconds=SECONDS).waveform()
        if prompt:
            wanted = next(name for name in eval_material.NAMES if scene.caption_for(name) == prompt)
            return scene.dubbed(wanted).waveform()
        return (picture or scene).waveform()

    def round_trip(self, sound):
        return sound + np.float32(1e-4)


class Noise(Truth):
    def sound(self, scene, settings, **how):
        rng = np.random.default_rng(int(scene.fps))
        noise = rng.standard_normal(round(SECONDS * SAMPLE_RATE)) * rng.uniform(0.05, 0.1)
        return noise.astype(np.float32) + np.float32(0.2)

    def round_trip(self, sound):
        return np.roll(sound, 400)


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(eval_scenes, "RAIN", 4)
        patch.setattr(eval_scenes, "SILENT", 2)
        patch.setattr(eval_scenes, "CONTROLS", 4)
        patch.setattr(eval_material, "SECONDS", 2.5)
        classifier = eval_material.MaterialClassifier.of_scenes(3)
        patch.setattr(eval_material.MaterialClassifier, "of_scenes", lambda: classifier)
        yield


def held_out(generator):
    return eval_scenes.HeldOut(generator, Settings(), CLIPS, lambda items, total, what: items, SECONDS)


@pytest.mark.parametrize("section", eval_scenes.SECTIONS.values(), ids=eval_scenes.SECTIONS)
def test_true_sounds_reach_every_bar(section):
    figures = section(held_out(Truth()))
    assert figures
    assert [str(figure) for figure in figures if figure.met is False] == []


@pytest.mark.parametrize("title", ["1  Timing", "3  Material", "4  Rain and silence", "7  Faults"])
def test_noise_misses_bars_of_every_section(title):
    assert any(figure.met is False for figure in eval_scenes.SECTIONS[title](held_out(Noise())))


def test_a_vae_that_moves_onsets_is_told():
    moved = eval_scenes.round_trips(held_out(Noise()))[-1]
    assert moved.met is False
    assert float(moved.value) == pytest.approx(8.3, abs=1)


def test_the_sound_of_another_clip_does_not_pass_for_the_own():
    class Deaf(Truth):
        def sound(self, scene, settings, **how):
            return scene.waveform()

    figures = eval_scenes.controls(held_out(Deaf()))
    assert [figure.met for figure in figures[1:3]] == [False, False]


def test_few_steps_are_tried_with_every_solver_and_both_parts_guided():
    rows = eval_tables.few_steps(Settings(cfg=3.0, seed=2))
    assert len(rows) == len(set(rows.values())) == 3 * 4 * 2
    assert rows["midpoint 8, first 60 %"] == Settings(
        steps=8, cfg=3.0, solver="midpoint", seed=2, guide_to=0.6
    )
    assert rows["heun 16, all"].guide_to == 1.0


def test_true_sounds_of_every_length_follow_their_pictures(monkeypatch, capsys):
    monkeypatch.setattr(eval_tables, "CLIPS", 2)
    monkeypatch.setattr(Truth, "features", lambda self, scene: seen.append(scene), raising=False)
    seen = []
    eval_tables.lengths(held_out(Truth()))
    assert [(scene.seconds, scene.kind) for scene in seen[::2]] == [
        (seconds, kind) for seconds in (2, 3, 5, 6, 8, 9.92) for kind in ("ball", "hammer")
    ]
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[3:]]
    assert len(rows) == 12
    assert all((float(matched), float(false)) == (1, 0) for *_, matched, false, _, _, _ in rows)


def test_a_sound_is_guided_where_its_settings_say():
    scene = Scene.draw(3, kind="footsteps", seconds=2.0)
    generator = Generator.load(None, "cpu")
    calls = []
    hook = generator.models.transformer.register_forward_pre_hook(
        lambda _m, inputs: calls.append(len(inputs[0]))
    )
    sounds = [generator.sound(scene, Settings(steps=5, guide_to=end)) for end in (1.0, 0.6, 1.0)]
    hook.remove()
    assert [sum(calls[i : i + 5]) for i in (0, 5, 10)] == [10, 8, 10]
    np.testing.assert_array_equal(sounds[0], sounds[2])
    assert (sounds[0] != sounds[1]).any()


def test_a_videos_figures_are_printed(tmp_path, capsys, monkeypatch):
    scene = Scene.draw(1, kind="footsteps", seconds=3.0)
    path = tmp_path / "steps.mp4"
    write_video(path, (frame for _, frame in scene.stream(25, size=64)), 25, scene.waveform()[None])
    monkeypatch.setattr(sys, "argv", ["eval_sync.py", str(path)])
    assert eval_sync.main() == 0
    told = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:] if " " in line)
    assert float(told["events heard within 80 ms"]) > 0.7
    assert abs(int(told["onsets heard"]) - len(scene.events)) <= 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name videos, or give --held-out"),
        (["--held-out", "-1"], "must be at least 1"),
        (["--held-out", "2", "--only", "18"], "there are the sections 1, 2, 3, 4, 5, 7"),
    ],
)
def test_what_cannot_be_judged_is_told(words, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["eval_sync.py", *words])
    with pytest.raises(SystemExit):
        eval_sync.main()
    assert message in capsys.readouterr().err


def test_a_video_that_is_not_there_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["eval_sync.py", "nowhere.mp4"])
    assert eval_sync.main() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "nowhere.mp4" in line
