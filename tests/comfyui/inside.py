"""Runs within ComfyUI's process, by its Python: what core's nodes do to our objects, measured.

Usage: inside.py COMFYUI PACK FOLDER. Writes results.json and tensors into the folder.
"""

# Options must be set before anything of ComfyUI is imported.
# ruff: noqa: E402

import importlib.util
import json
import sys
from pathlib import Path

comfyui, root, folder = map(Path, sys.argv[1:])
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

import measure_native
import measure_packed
import measure_patches
import measure_video

results = measure_native.measure() | measure_patches.measure() | measure_video.measure()
results |= measure_packed.measure()
results |= measure_native.everything_goes()
(folder / "results.json").write_text(json.dumps(results, indent=1))
