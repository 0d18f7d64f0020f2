"""Long sounds in a real ComfyUI: sliding windows under any sampler, and a film that is stopped and goes on.

HUNYUAN_AV_LONG_SECONDS says how long the film is; 5 minutes take some two minutes of one core.
"""

import os
import subprocess
import time
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from media_clips import write_clip
from pack import host, nodes
from pack.cli import main
from safetensors.torch import load_file

pytestmark = pytest.mark.comfyui

SECONDS = int(os.environ.get("HUNYUAN_AV_LONG_SECONDS", "300"))
FPS = 8
HERE = Path(__file__).parent
FILES = {
    "model": ("FoleyModelLoader", {"model_file": "transformer.safetensors", "weight_dtype": "fp32"}),
    "vae": ("FoleyVAELoader", {"vae_file": "audio_vae.safetensors", "part": "decoder"}),
    "clip": ("FoleyTextEncoderLoader", {"text_encoder_file": "clap/model.safetensors"}),
    "eyes": (
        "FoleyVideoEncoderLoader",
        {"siglip_file": "siglip2/model.safetensors", "synchformer_file": "synchformer.safetensors"},
    ),
}
SCALES = {"text_scale": 1.0, "video_scale": 1.0, "sync_scale": 1.0}


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def loaders(*names):
    """Our loaders, with the pocket files."""
    graph = {}
    for name in names:
        kind, inputs = FILES[name]
        named = {key: f"pocket/foley/{v}" if key.endswith("_file") else v for key, v in inputs.items()}
        graph[name] = node(f"HunyuanAV{kind}", **named)
    return graph


# --- sliding windows ----------------------------------------------------------------------------------------


def test_windows_under_our_sampler_and_cores_are_those_without_comfyui(comfyui):
    common = {"model": ["windows", 0], "positive": ["prompt", 0], "negative": ["prompt", 1]}
    graph = {
        **loaders("model", "clip"),
        "prompt": node(
            "HunyuanAVFoleyPrompt", clip=["clip", 0], positive="rain", negative="noisy", high_quality=False
        ),
        "empty": node("HunyuanAVFoleyEmptyLatent", seconds=14.0, batch_size=1),
        "windows": node(
            "HunyuanAVSlidingWindows", model=["model", 0], window=9.92, overlap=1.92, join="blend"
        ),
        "ours": node(
            "HunyuanAVFoleySampler", latent=["empty", 0], seed=7, steps=4, cfg=4.5, solver="euler",
            denoise=1.0, **SCALES, **common,
        ),
        "core": node(
            "KSampler", latent_image=["empty", 0], seed=7, steps=4, cfg=4.5, sampler_name="euler",
            scheduler="simple", denoise=1.0, **common,
        ),
        **{
            f"save_{name}": node("SaveLatent", samples=[name, 0], filename_prefix=f"long_{name}")
            for name in ("ours", "core")
        },
    }  # fmt: skip
    outputs = comfyui.run(graph)
    ours, core = (
        load_file(comfyui.file(outputs[f"save_{name}"]["latents"][0]))["latent_tensor"]
        for name in ("ours", "core")
    )
    assert ours.shape == (1, 128, 700)
    assert (ours - core).abs().max() < 1e-4
    assert (ours - alone()).abs().max() < 1e-4
    assert (ours - alone(windows=False)).abs().max() > 1e-2


def alone(windows=True):
    """The same latents without ComfyUI."""

    def path(kind):
        return host.model_path(kind, next(f for f in host.model_files(kind) if f.startswith("pocket")))

    model = host.foley_model(path("foley_model"), torch.float32)
    if windows:
        model = nodes.SlidingWindows.execute(model, 9.92, 1.92, "blend").args[0]
    clip = host.foley_text_encoder(path("clap"))
    positive, negative = nodes.FoleyPrompt.execute(clip, "rain", "noisy", False).args
    latent = nodes.FoleyEmptyLatent.execute(14.0, 1).args[0]
    settings = {"seed": 7, "steps": 4, "cfg": 4.5, "solver": "euler", "denoise": 1.0, **SCALES}
    return nodes.FoleySampler.execute(model, positive, negative, latent, **settings).args[0]["samples"]


# --- a film -------------------------------------------------------------------------------------------------


def scenes(i, width, height):
    """A bar that jumps to and fro."""
    picture = np.full((height, width, 3), 60, np.uint8)
    left = 4 + 40 * (i // (FPS // 2) % 2)
    picture[:, left : left + 12] = 250
    return picture


@pytest.fixture(scope="module")
def film(comfyui):
    return write_clip(comfyui.base / "input" / "film.mp4", seconds=SECONDS, fps=FPS, picture=scenes)


def long_video():
    return {
        **loaders("model", "vae", "clip", "eyes"),
        "video": node("LoadVideo", file="film.mp4"),
        "film": node(
            "HunyuanAVFoleyLongVideo", video=["video", 0], model=["model", 0], vae=["vae", 0],
            clip=["clip", 0], video_encoder=["eyes", 0], prompt="a hammer", negative="noisy, harsh", seed=5,
            steps=2, cfg=4.5, solver="euler", overlap=1.92, join="latents", high_quality=False, **SCALES,
        ),
        "saved": node(
            "SaveVideo", video=["film", 0], filename_prefix="film", format="auto", codec="auto"
        ),
        "told": node("PreviewAny", source=["film", 1]),
    }  # fmt: skip


def watched(comfyui):
    """How many windows the job has the features of."""
    return len(list((comfyui.base / "output" / "hunyuan_av_jobs").glob("*/features/*.safetensors")))


def test_a_film_that_is_cancelled_and_queued_again_goes_on(comfyui, film):
    first = comfyui.queue(long_video())
    while watched(comfyui) < 3:
        time.sleep(0.05)
    comfyui.post("/interrupt", {})
    entry = comfyui.wait(first)
    assert "execution_interrupted" in [kind for kind, _ in entry["status"]["messages"]]
    done = watched(comfyui)

    heard = comfyui.follow(long_video())
    assert heard[-1][0] == "execution_success", heard[-1]
    totals = [data["max"] for kind, data in heard if kind == "progress" and data["node"] == "film"]
    windows = (SECONDS * 50 - 100) // 400 + 1
    assert totals[0] == windows - done
    assert totals[-1] == 2 * windows
    assert not list((comfyui.base / "output" / "hunyuan_av_jobs").iterdir())

    outputs = {data["node"]: data["output"] for kind, data in heard if kind == "executed"}
    assert f"{windows - 1} joins: level" in outputs["told"]["text"][0]
    made = comfyui.file(outputs["saved"]["images"][0])
    expected = by_command_line(film)
    assert packets(made, "video") == packets(film, "video")
    # AAC of two sounds that are 1e-6 apart is 0.085 of their level apart: its rate control drifts. What was
    # coded is compared to 1e-4 in the next test.
    heard, told = sound(made), sound(expected)
    assert (heard - told).std() < 0.15 * told.std()


def test_the_numbers_are_those_of_the_command_line(installation, tmp_path):
    path, python = installation
    film = write_clip(tmp_path / "film.mp4", seconds=17, fps=FPS, picture=scenes)
    command = [
        python,
        str(HERE / "inside_long.py"),
        str(path),
        str(HERE.parents[1]),
        str(tmp_path),
        str(film),
    ]
    run = subprocess.run(command, cwd=path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-4000:]
    told, _ = soundfile.read(by_command_line(film, ".wav"), dtype="float32")
    assert np.abs(np.load(tmp_path / "sound.npy") - told).max() < 1e-4


def by_command_line(film, suffix=".mp4"):
    """The film with the sound that the command line makes of the same seed."""
    out = film.with_name(f"expected{suffix}")
    options = {"--video": film, "--prompt": "a hammer", "--seed": 5, "--steps": 2, "--out": out}
    arguments = [str(word) for pair in options.items() for word in pair]
    assert main(["foley", "--device", "cpu", "--dtype", "float32", *arguments]) == 0
    return out


def packets(path, kind):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(**{kind: 0}) if packet.size]


def sound(path):
    """(channels, samples)."""
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=-1)
