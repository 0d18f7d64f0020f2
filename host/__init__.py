"""The host port: the few calls through which nodes reach the program around them.

One port, two implementations with the same names. The choice is made once, without importing anything to find
out: ComfyUI if it is already there, else standalone. HUNYUAN_AV_HOST=comfyui or =standalone forces one.
"""

import os
import sys
from collections.abc import Container, Mapping
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

HOSTS = ("comfyui", "standalone")

if TYPE_CHECKING:
    from .standalone import (
        ComfyExtension,
        avatar_guider,
        avatar_model,
        avatar_reference,
        avatar_sample,
        avatar_text_encoder,
        avatar_vae,
        foley_guider,
        foley_model,
        foley_text_encoder,
        foley_vae,
        io,
        jobs_folder,
        model_files,
        model_path,
        noise_levels,
        patcher,
        progress,
        resident,
        sample,
        save_preview,
        save_sound,
        sliding_windows,
        temporary_file,
        velocity,
        video_from_file,
        video_vae,
    )

__all__ = [
    "io",
    "ComfyExtension",
    "model_files",
    "model_path",
    "foley_model",
    "foley_vae",
    "foley_text_encoder",
    "patcher",
    "resident",
    "progress",
    "foley_guider",
    "sample",
    "save_preview",
    "save_sound",
    "sliding_windows",
    "velocity",
    "noise_levels",
    "jobs_folder",
    "avatar_model",
    "avatar_vae",
    "avatar_text_encoder",
    "avatar_reference",
    "video_vae",
    "avatar_guider",
    "avatar_sample",
    "temporary_file",
    "video_from_file",
]


def choose(environment: Mapping[str, str], modules: Container[str]) -> str:
    """Which host this is. Raises ValueError for a forced host that does not exist."""
    forced = environment.get("HUNYUAN_AV_HOST")
    if forced and forced not in HOSTS:
        raise ValueError(f"HUNYUAN_AV_HOST is {forced!r}. Set it to {' or '.join(HOSTS)}, or leave it unset.")
    return forced or ("comfyui" if "comfy.model_management" in modules else "standalone")


def implementation(name: str) -> ModuleType:
    """The module that answers for a host."""
    return import_module(f".{name}", __name__)


chosen = choose(os.environ, sys.modules)
globals().update({call: getattr(implementation(chosen), call) for call in __all__})
