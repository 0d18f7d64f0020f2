"""The host port inside ComfyUI: its folders, its memory, its own model objects, its samplers.

What wraps the networks is imported by the first call that needs it: ComfyUI starts without it.
"""

from functools import partial
from pathlib import Path

import folder_paths
from comfy_api.latest import ComfyExtension, io

from ..deferred import deferred
from ..model_files import ModelFiles
from ..output_files import OutputFiles
from ..samples import place_samples
from .memory import patcher, resident
from .progress import progress
from .video import video_from_file

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
    "avatar_model",
    "avatar_vae",
    "avatar_text_encoder",
    "avatar_reference",
    "video_vae",
    "avatar_guider",
    "avatar_sample",
    "temporary_file",
    "video_from_file",
    "velocity",
    "noise_levels",
    "jobs_folder",
]


_in = partial(deferred, __name__)

foley_model = _in("foley_loading", "foley_model")
foley_vae = _in("audio_vae", "foley_vae")
foley_text_encoder = _in("text_encoder", "foley_text_encoder")
foley_guider, sample = _in("sampling", "FoleyGuider"), _in("sampling", "sample")
sliding_windows = _in("windows", "sliding_windows")
velocity, noise_levels = _in("model_velocity", "velocity"), _in("model_velocity", "noise_levels")

avatar_model = _in("avatar_model", "avatar_model")
avatar_vae, video_vae = _in("avatar_vae", "avatar_vae"), _in("avatar_vae", "video_vae")
avatar_reference = _in("avatar_vae", "avatar_reference")
avatar_text_encoder = _in("avatar_text_encoder", "avatar_text_encoder")
avatar_guider, avatar_sample = _in("avatar_sampling", "AvatarGuider"), _in("avatar_sampling", "avatar_sample")

_files = ModelFiles(folder_paths)
model_files, model_path = _files.names, _files.path
_outputs = OutputFiles(folder_paths)
jobs_folder = _outputs.jobs
save_preview, save_sound, temporary_file = _outputs.preview, _outputs.sound, _outputs.temporary
place_samples(Path(folder_paths.get_input_directory()))
