"""Faces in a real ComfyUI: found by the pocket detector through insightface, picked, told to the browser."""

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from graphs import node

pytestmark = pytest.mark.comfyui


@pytest.fixture
def found(installation):
    """The beginning of a graph that finds two faces."""
    python = installation[1]
    if subprocess.run([python, "-c", "import insightface"], capture_output=True, check=False).returncode:
        pytest.skip("insightface is not installed in this ComfyUI")
    return {
        "detector": node("HunyuanAVFaceDetectorLoader", detector_file="pocket/avatar/face_detector.onnx"),
        "image": node("LoadImage", image="hunyuan_av_two_people.png"),
        "faces": node("HunyuanAVFaceDetect", detector=["detector", 0], image=["image", 0]),
    }


def picking(pick, **where):
    widgets = {
        "pick": pick, "face_index": 0, "pick_x": 0.5, "pick_y": 0.5, "box_left": 0.1, "box_top": 0.1,
        "box_right": 0.3, "box_bottom": 0.3, "enlarge": 1.0,
    }  # fmt: skip
    return node("HunyuanAVFaceMask", faces=["faces", 0], **{**widgets, **where})


def test_both_faces_reach_the_picker_and_one_is_picked(comfyui, found):
    graph = {**found, "mask": picking("index", face_index=1), "shown": node("MaskPreview", mask=["mask", 0])}
    outputs = comfyui.run(graph)
    (told,) = outputs["mask"]["hyav_faces"]
    # The pocket detector also takes shreds of skin for faces; the two people are the largest it finds.
    middles = sorted((left + right) / 2 for left, _, right, *_ in told["boxes"][:2])
    assert middles[0] < told["width"] / 2 < middles[1]
    assert comfyui.file(told["image"]).stat().st_size > 0
    assert outputs["shown"]["images"]


def test_a_face_that_is_not_there_is_one_sentence(comfyui, found):
    entry = comfyui.wait(comfyui.queue({**found, "mask": picking("index", face_index=7)}))
    messages = [
        body["exception_message"] for kind, body in entry["status"]["messages"] if kind == "execution_error"
    ]
    assert len(messages) == 1
    assert "7" in messages[0]
