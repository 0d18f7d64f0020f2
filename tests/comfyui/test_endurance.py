"""A real ComfyUI over many prompts, and stopped in the middle of one."""

import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from graphs import from_text, loaders, node
from websocket import Messages

pytestmark = pytest.mark.comfyui

LENGTHS = [0.6, 2.2, 1.0, 3.0, 1.6]  # seconds
PROMPTS = 30
SETTLED = 3  # prompts until everything that stays is loaded


def test_thirty_prompts_of_changing_lengths_leave_memory_as_it_is(comfyui):
    held = []
    for number in range(PROMPTS):
        comfyui.run(from_text(seconds=LENGTHS[number % len(LENGTHS)], seed=number, steps=2))
        held.append(comfyui.resident_bytes)
    print([round(size / 2**20) for size in held])
    settled = held[SETTLED:]
    assert max(settled) / min(settled) < 1.05


def watching(file, **part):
    """A graph that ends with what is seen: nothing to sample."""
    return {
        **loaders("eyes", "clip", "vae", "model"),
        "video": node("LoadVideo", file=file),
        "features": node(
            "HunyuanAVFoleyVideoEncode", video_encoder=["eyes", 0], video=["video", 0],
            **{"fps": 24.0, "start": 0.0, "length": 0.0, **part},
        ),
        "prompt": node(
            "HunyuanAVFoleyPrompt", clip=["clip", 0], positive="", negative="", high_quality=False
        ),
        "seen": node(
            "HunyuanAVFoleyConditioning", positive=["prompt", 0], negative=["prompt", 1],
            features=["features", 0], batch_size=1,
        ),
        "saved": node("SaveLatent", samples=["seen", 2], filename_prefix="seen"),
    }  # fmt: skip


def test_cancel_ends_watching_and_the_next_prompt_runs(comfyui):
    write_large(comfyui.base / "input" / "large.mp4")
    messages = Messages(comfyui.url, "watcher", 120)
    comfyui.queue(watching("large.mp4"), client_id="watcher")
    for kind, data in messages:
        if kind == "progress" and data["node"] == "features":
            assert data["value"] < data["max"]
            break
    pressed = time.monotonic()
    comfyui.post("/interrupt", {})
    kind = next(kind for kind, _ in messages if kind.startswith("execution_") and kind != "execution_cached")
    messages.close()
    assert kind == "execution_interrupted"
    assert time.monotonic() - pressed < 5
    comfyui.run(watching("clip.mp4"))


def write_large(path):
    """14 s of noise that is slow to look at."""
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        picture = random.integers(0, 256, (480, 640, 3), np.uint8)
        for i in range(25 * 14):
            frame = np.ascontiguousarray(np.roll(picture, 5 * i, axis=1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def test_an_error_is_our_one_sentence(comfyui):
    entry = comfyui.wait(comfyui.queue(watching("clip.mp4", start=30.0)))
    (error,) = [data for kind, data in entry["status"]["messages"] if kind == "execution_error"]
    assert error["node_id"] == "features"
    assert error["exception_type"] == "ValueError"
    assert error["exception_message"].strip().count("\n") == 0
    assert "no frame" in error["exception_message"]
