"""The host port inside ComfyUI: its folders, its memory, its own model objects, its samplers."""

import folder_paths
from comfy_api.latest import ComfyExtension, io

from ..model_files import ModelFiles
from .audio_vae import foley_vae
from .foley_model import foley_model
from .memory import patcher, resident
from .progress import progress
from .sampling import FoleyGuider as foley_guider  # noqa: N813 - called like a function by nodes
from .sampling import sample
from .text_encoder import foley_text_encoder

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
]

_files = ModelFiles(folder_paths)
model_files, model_path = _files.names, _files.path
