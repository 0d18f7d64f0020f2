"""Foley Sync Plot in a real ComfyUI: it runs as a graph's end, and the browser finds what it is told of."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from graphs import node

pytestmark = pytest.mark.comfyui


def test_the_plots_words_and_files_reach_the_browser(comfyui):
    graph = {
        "video": node("LoadVideo", file="clip.mp4"),
        "silence": node("EmptyAudio", duration=1.0, sample_rate=44_100, channels=2),
        "plot": node(
            "HunyuanAVFoleySyncPlot",
            audio=["silence", 0],
            video=["video", 0],
            fps=24.0,
            max_shift_ms=100.0,
        ),
    }
    (told,) = comfyui.run(graph)["plot"]["hyav_sync"]
    assert told["onsets"] == []
    assert told["duration"] > 0.5
    assert len(told["motion"]) == round(told["duration"] * told["fps"])
    for file in (told["strip"], told["audio"]):
        assert comfyui.file(file).stat().st_size > 0
