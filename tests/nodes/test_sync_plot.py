import json
from pathlib import Path

import numpy as np
import pytest
import torch
from media_clips import write_clip
from pack import host, nodes
from pack.host.standalone import folder_paths
from pack.training.scenes import SAMPLE_RATE, Scene


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path / "temp"))


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene.draw(5, "held-out", kind="footsteps", seconds=4.0)


def sound(scene: Scene, late: float = 0.0) -> dict:
    """AUDIO of two takes."""
    waveform = np.pad(scene.waveform(), (round(late * SAMPLE_RATE), 0))[: round(4 * SAMPLE_RATE)]
    return {"waveform": torch.from_numpy(waveform).expand(2, 1, -1).clone(), "sample_rate": SAMPLE_RATE}


@pytest.fixture(scope="module")
def frames(scene) -> np.ndarray:
    return scene.frames(fps=25, size=64)


@pytest.fixture(scope="module")
def images(frames) -> torch.Tensor:
    return torch.from_numpy(frames).float() / 255


def execute(**inputs) -> host.io.NodeOutput:
    return nodes.FoleySyncPlot.execute(**{"fps": 25.0, "max_shift_ms": 0.0, **inputs})


def test_a_sound_in_time_stays_as_it_is(scene, images):
    given = sound(scene)
    out = execute(audio=given, images=images, max_shift_ms=300.0)
    audio, plot, offset, matched = out.args
    assert torch.equal(audio["waveform"], given["waveform"])
    assert plot.ndim == 4
    assert 0 <= plot.min() < plot.max() <= 1
    assert abs(offset) < 40
    assert matched > 0.8


def test_a_late_sound_is_moved_and_its_offset_told(scene, images):
    given = sound(scene, late=0.2)
    before = given["waveform"].clone()
    audio, _, offset, matched = execute(audio=given, images=images, max_shift_ms=300.0).args
    assert torch.equal(given["waveform"], before)
    assert offset == pytest.approx(200, abs=30)
    assert matched > 0.8
    moved = round(offset / 1000 * SAMPLE_RATE)
    assert torch.equal(audio["waveform"][..., :-moved], given["waveform"][..., moved:])


def test_the_browser_gets_what_the_module_says(scene, images):
    ui = execute(audio=sound(scene), images=images).ui
    (told,) = json.loads(json.dumps(ui, allow_nan=False))["hyav_sync"]
    assert set(told) == {
        "duration", "fps", "motion", "waveform", "events", "onsets", "matches", "offset_ms", "matched",
        "strip", "audio",
    }  # fmt: skip
    for file in (told["strip"], told["audio"]):
        assert file["type"] == "temp"
        assert (Path(folder_paths.temp_directory) / file["subfolder"] / file["filename"]).stat().st_size > 0


def test_a_video_is_read_as_images_are(scene, frames, tmp_path):
    path = tmp_path / "steps.mp4"
    write_clip(path, seconds=4.0, size=(64, 64), picture=lambda i, w, h: frames[i])

    class Video:
        def get_stream_source(self):
            return str(path)

    seen = execute(audio=sound(scene), video=Video()).ui["hyav_sync"][0]
    assert seen["duration"] == pytest.approx(4.0, abs=0.05)
    assert seen["matched"] > 0.8


def test_a_clip_may_be_longer_than_one_generation(scene):
    out = execute(audio=sound(scene), images=torch.zeros(40, 8, 8, 3), fps=2.0)
    assert out.ui["hyav_sync"][0]["duration"] == 20


def test_what_is_missing_is_named(scene, images):
    with pytest.raises(ValueError, match="either a video or images"):
        execute(audio=sound(scene))
    with pytest.raises(ValueError, match="no sound"):
        execute(audio=None, images=images)
