"""Runs within ComfyUI's process, by its Python: a film's sound as the node makes it, before it is coded.

Usage: inside_long.py COMFYUI PACK FOLDER VIDEO. Writes sound.npy, (samples,), into the folder.
"""

# Options must be set before anything of ComfyUI is imported.
# ruff: noqa: E402

import importlib.util
import sys
from pathlib import Path

comfyui, root, folder, video = map(Path, sys.argv[1:])
sys.path.insert(0, str(comfyui))
sys.argv = ["main.py", "--cpu", "--base-directory", str(folder)]

import comfy.options

comfy.options.enable_args_parsing()

spec = importlib.util.spec_from_file_location(
    "pack", root / "__init__.py", submodule_search_locations=[str(root)]
)
assert spec is not None
assert spec.loader is not None
sys.modules["pack"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)

import numpy as np
import torch
from given import path
from pack import host, nodes
from pack.model_loaders.encoders import load_visual_encoder
from pack.model_loaders.foley import load_sync_encoder
from pack.nodes import long_film
from pack.nodes.sockets import VideoEncoder


def keeping(job, plan, sound, *others, **options):
    np.save(folder / "sound.npy", sound[0])
    return deliver(job, plan, sound, *others, **options)


deliver, long_film.deliver = long_film.deliver, keeping
eyes = VideoEncoder.of(
    load_visual_encoder(path("siglip")), load_sync_encoder(path("synchformer"), torch.float32)
)
with torch.inference_mode():
    nodes.FoleyLongVideo.execute(
        host.video_from_file(video), host.foley_model(path("foley_model"), torch.float32),
        host.foley_vae(path("foley_vae"), "decoder"), host.foley_text_encoder(path("clap")), eyes,
        prompt="a hammer", negative="noisy, harsh", seed=5, steps=2, cfg=4.5, solver="euler", overlap=1.92,
        join="latents", high_quality=False, text_scale=1.0, video_scale=1.0, sync_scale=1.0,
    )  # fmt: skip
