"""Graphs through a real ComfyUI's API: every node is there, sound is made, cancel and errors behave."""

import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pack import nodes
from pack.nodes.sockets import VideoEncoder
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parent))

from graphs import FILES, from_text, from_video, node

pytestmark = pytest.mark.comfyui


def sound(path):
    """A saved sound as (channels, samples), and its rate."""
    import av

    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
        return np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], axis=-1), rate


def test_every_node_is_offered(comfyui):
    offered = comfyui.get("/object_info")
    assert {n.define_schema().node_id for n in nodes.NODES} <= set(offered)
    assert all(offered[n.define_schema().node_id]["category"].startswith("Hunyuan AV/") for n in nodes.NODES)


def test_the_pack_is_imported_in_a_blink_and_without_a_warning(comfyui):
    seconds = re.search(r"([\d.]+) seconds:.*hunyuan_av", comfyui.log)
    assert seconds
    assert float(seconds[1]) <= 0.2
    assert not [line for line in comfyui.log.splitlines() if "hunyuan_av" in line and "WARNING" in line]
    assert "IMPORT FAILED" not in comfyui.log


def test_text_becomes_sound(comfyui):
    saved = comfyui.file(comfyui.run(from_text())["saved"]["audio"][0])
    waveform, rate = sound(saved)
    assert rate == 48_000
    assert waveform.shape[-1] == 48_000
    assert np.abs(waveform).max() > 0


def test_video_becomes_sound_the_same_by_our_sampler_cores_and_a_guider(comfyui):
    outputs = comfyui.run(from_video())
    waveform, _ = sound(comfyui.file(outputs["saved"]["audio"][0]))
    made = {
        name: load_file(comfyui.file(outputs[f"save_{name}"]["latents"][0]))["latent_tensor"]
        for name in ("ours", "core", "custom")
    }
    assert made["ours"].shape[-1] * 960 == waveform.shape[-1]
    assert (made["ours"] - made["core"]).abs().max() < 1e-4
    assert (made["ours"] - made["custom"]).abs().max() < 1e-4
    assert (made["ours"] - alone(comfyui.base / "input" / "clip.mp4")).abs().max() < 1e-4


def alone(video):
    """The same graph without ComfyUI: its latents."""
    from pack import host
    from pack.model_loaders.encoders import load_visual_encoder
    from pack.model_loaders.foley import load_sync_encoder

    class Video:
        def get_stream_source(self):
            return str(video)

    def path(name, index=0):
        kind = {"model": "foley_model", "clip": "clap"}.get(name) or ("siglip", "synchformer")[index]
        return host.model_path(kind, f"pocket/foley/{FILES[name][index][1]}")

    model, clip = host.foley_model(path("model"), None), host.foley_text_encoder(path("clip"))
    eyes = VideoEncoder.of(load_visual_encoder(path("eyes", 0)), load_sync_encoder(path("eyes", 1)))
    features = nodes.FoleyVideoEncode.execute(eyes, 24.0, 0.0, 0.0, video=Video()).args[0]
    prompts = nodes.FoleyPrompt.execute(clip, "a dog barks twice", "noisy", False).args
    given = nodes.FoleyConditioning.execute(*prompts, features, 1).args
    made = nodes.FoleySampler.execute(
        model, *given, seed=7, steps=10, cfg=4.5, solver="euler", denoise=1.0,
        text_scale=1.0, video_scale=1.0, sync_scale=1.0,
    )  # fmt: skip
    return made.args[0]["samples"]


def test_an_unchanged_graph_is_answered_from_the_cache(comfyui):
    graph = from_text(seed=123)
    comfyui.run(graph)
    entry = comfyui.wait(comfyui.queue(graph))
    cached = next(data["nodes"] for kind, data in entry["status"]["messages"] if kind == "execution_cached")
    assert {"model", "sound", "decoded"} <= set(cached)


def test_cancel_ends_sampling_and_the_next_prompt_runs(comfyui):
    running = comfyui.queue(from_text(seconds=8.0, steps=1000, solver="rk4", seed=5))
    wait_for_sampling(comfyui)
    pressed = time.monotonic()
    comfyui.post("/interrupt", {})
    entry = comfyui.wait(running)
    assert time.monotonic() - pressed < 10
    assert "execution_interrupted" in [kind for kind, _ in entry["status"]["messages"]]
    comfyui.run(from_text(seed=6))


def wait_for_sampling(comfyui):
    seen = comfyui.log.count("Requested to load FoleyModel")
    end = time.monotonic() + 60
    while time.monotonic() < end and comfyui.log.count("Requested to load FoleyModel") == seen:
        if "execution" in str(comfyui.get("/queue")["queue_running"]):
            break
        time.sleep(0.2)
    time.sleep(3)


def test_a_latent_of_another_length_is_answered_in_one_sentence(comfyui):
    graph = from_video() | {"empty": node("HunyuanAVFoleyEmptyLatent", seconds=3.0, batch_size=1)}
    for name in ("core", "custom", "save_core", "save_custom"):
        del graph[name]
    graph["ours"]["inputs"]["latent"] = ["empty", 0]
    entry = comfyui.wait(comfyui.queue(graph))
    assert entry["status"]["status_str"] == "error"
    (error,) = [data for kind, data in entry["status"]["messages"] if kind == "execution_error"]
    assert error["exception_message"].startswith(
        "The latents are 3.00 s long, the video features are of a clip"
    )


def test_freeing_memory_lets_go_and_the_graph_runs_again(comfyui):
    comfyui.post("/free", {"unload_models": True, "free_memory": True})
    time.sleep(2)
    comfyui.run(from_text())
    assert "memory leak" not in comfyui.log
