"""The host port without ComfyUI: one device, the working folder, a terminal."""

from ..model_files import ModelFiles
from . import folder_paths
from . import schema as io
from .memory import Patcher, resident
from .objects import foley_model, foley_text_encoder, foley_vae
from .progress import progress
from .sampling import foley_guider, sample
from .schema import ComfyExtension

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
patcher = Patcher
