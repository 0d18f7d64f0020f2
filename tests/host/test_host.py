"""Which host answers, and that it answers every call of the port."""

import subprocess
import sys
from pathlib import Path

import pytest
from pack import host

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("environment", "modules", "expected"),
    [
        ({}, {}, "standalone"),
        ({}, {"comfy.model_management": None}, "comfyui"),
        ({}, {"comfy": None, "folder_paths": None}, "standalone"),
        ({"HUNYUAN_AV_HOST": ""}, {}, "standalone"),
        ({"HUNYUAN_AV_HOST": "standalone"}, {"comfy.model_management": None}, "standalone"),
        ({"HUNYUAN_AV_HOST": "comfyui"}, {}, "comfyui"),
    ],
)
def test_comfyui_is_the_host_if_it_is_there_or_forced(environment, modules, expected):
    assert host.choose(environment, modules) == expected


def test_a_host_that_does_not_exist_is_answered_with_those_that_do():
    with pytest.raises(ValueError, match=r"'blender'.*comfyui or standalone"):
        host.choose({"HUNYUAN_AV_HOST": "blender"}, {})


def test_standalone_answers_every_call_of_the_port():
    module = host.implementation("standalone")
    for name in host.__all__:
        assert getattr(host, name) == getattr(module, name)


IMPORT = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location(
    "pack", {str(ROOT / "__init__.py")!r}, submodule_search_locations=[{str(ROOT)!r}]
)
module = importlib.util.module_from_spec(spec)
sys.modules["pack"] = module
spec.loader.exec_module(module)
import pack.host
print(pack.host.chosen)
"""


def test_where_comfyui_is_its_own_half_answers():
    """A ComfyUI of which nothing but a name is there: our half is asked, and misses the rest."""
    pretend = 'import sys, types; sys.modules["comfy.model_management"] = types.ModuleType("comfy")'
    run = subprocess.run(
        [sys.executable, "-c", f"{pretend}\n{IMPORT}"], capture_output=True, text=True, check=False
    )
    assert "ModuleNotFoundError" in run.stderr
    assert str(Path("host/comfyui/__init__.py")) in run.stderr
