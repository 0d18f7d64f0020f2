"""What the measurements within ComfyUI's process share: a model, prompts, a clip, and two ways to sample."""

from pathlib import Path

import folder_paths
import torch
from pack import host, nodes
from pack.hunyuan.foley.features import FoleyFeatures

import nodes as core

STEPS = 10
folder = Path(folder_paths.base_path)


def pocket(kind):
    return next(name for name in host.model_files(kind) if name.startswith("pocket"))


def path(kind):
    return host.model_path(kind, pocket(kind))


def setting(seconds=1.2):
    """A model, both prompts, and the latent, for a clip of random features."""
    model, clip = host.foley_model(path("foley_model"), None), host.foley_text_encoder(path("clap"))
    config = model.model.diffusion_model.config
    frames = round(25 * seconds)
    random = torch.Generator().manual_seed(3)
    features = FoleyFeatures(
        visual=torch.randn(1, round(8 * seconds), config.visual_size, generator=random),
        sync=torch.randn(1, 8 * ((frames - 16) // 8 + 1), config.sync_size, generator=random),
        sync_frames=frames,
    )
    positive, negative = nodes.FoleyPrompt.execute(clip, "a dog barks twice", "noisy", False).args
    return model, *nodes.FoleyConditioning.execute(positive, negative, features, 1).args


def foley(model, positive, negative, latent, **options):
    defaults = {
        "seed": 7, "steps": STEPS, "cfg": 4.5, "solver": "euler", "denoise": 1.0,
        "text_scale": 1.0, "video_scale": 1.0, "sync_scale": 1.0,
    }  # fmt: skip
    out = nodes.FoleySampler.execute(model, positive, negative, latent, **{**defaults, **options})
    return out.args[0]["samples"]


def ksampler(model, positive, negative, latent, steps=STEPS, denoise=1.0):
    return core.common_ksampler(
        model, 7, steps, 4.5, "euler", "simple", positive, negative, latent, denoise=denoise
    )[0]["samples"]
