"""The stand-ins against the real ComfyUI that COMFYUI_PATH names: the same calls, the same answers."""

import importlib
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pack.host.standalone import folder_paths as shim
from pack.host.standalone import schema

ROOT = Path(__file__).parents[2]
COMFYUI = os.environ.get("COMFYUI_PATH")
pytestmark = [
    pytest.mark.comfyui,
    pytest.mark.skipif(not COMFYUI, reason="COMFYUI_PATH names no ComfyUI to compare with"),
]


@pytest.fixture(scope="module")
def real():
    """ComfyUI's own folder_paths. It is the only module of ComfyUI's that this process imports."""
    sys.path.insert(0, str(COMFYUI))
    try:
        return importlib.import_module("folder_paths")
    finally:
        sys.path.remove(str(COMFYUI))


@pytest.fixture
def tree(tmp_path, real, monkeypatch):
    """The same files for both, and every change to either undone."""
    for name in ("b.pth", "sub/a.safetensors", ".git/x.pth", "note.txt", "UPPER.PT", "sub/.git/y.pth"):
        path = tmp_path / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    for name in (
        "input/clip.mp4",
        "output/foley_00004_.wav",
        "output/foley.wav",
        "secret",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    if has_containment(real):  # and counts files without a second underscore
        (tmp_path / "output" / "foley_9.wav").write_bytes(b"x")
    (tmp_path / "models" / "out").symlink_to(tmp_path / "output", target_is_directory=True)
    (tmp_path / "input" / "link").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "models" / "dangling.pth").symlink_to(tmp_path / "nowhere")
    for module in (real, shim):
        paths = {
            "vae": ([str(tmp_path / "models")], {".pth", ".safetensors", ".pt"}),
            "text_encoders": ([], set()),
        }
        monkeypatch.setattr(module, "folder_names_and_paths", paths)
        monkeypatch.setattr(module, "filename_list_cache", {})
        for kind in ("input", "output", "temp", "user"):
            monkeypatch.setattr(module, f"{kind}_directory", str(tmp_path / kind))
    return tmp_path


def has_containment(real) -> bool:
    """Newer ComfyUIs keep annotated paths within their folders."""
    return hasattr(real, "is_within_directory")


def answer(module, call, *arguments):
    """What a call gives, or the sort of error: ours may be of a narrower class than the original's."""
    try:
        return getattr(module, call)(*arguments)
    except Exception as error:  # the original raises a bare Exception where nothing may be saved
        return (
            KeyError
            if isinstance(error, KeyError)
            else FileNotFoundError
            if isinstance(error, OSError)
            else Exception
        )


CALLS = [
    ("map_legacy", "unet"),
    ("map_legacy", "clip"),
    ("map_legacy", "vae"),
    ("get_folder_paths", "vae"),
    ("get_folder_paths", "clip"),
    ("get_folder_paths", "nonsense"),
    ("get_filename_list", "vae"),
    ("get_filename_list", "clip"),
    ("get_filename_list", "nonsense"),
    ("get_full_path", "vae", "b.pth"),
    ("get_full_path", "vae", "sub/../b.pth"),
    ("get_full_path", "vae", "../secret"),
    ("get_full_path", "vae", "/b.pth"),
    ("get_full_path", "vae", "out/foley.wav"),
    ("get_full_path", "vae", "sub"),
    ("get_full_path", "vae", "dangling.pth"),
    ("get_full_path", "nonsense", "b.pth"),
    ("get_full_path_or_raise", "vae", "b.pth"),
    ("get_full_path_or_raise", "vae", "absent.pth"),
    ("get_input_directory",),
    ("get_output_directory",),
    ("get_temp_directory",),
    ("get_user_directory",),
    ("get_directory_by_type", "input"),
    ("get_directory_by_type", "nonsense"),
    ("annotated_filepath", "a.mp4"),
    ("annotated_filepath", "a.mp4 [temp]"),
    ("get_annotated_filepath", "clip.mp4"),
    ("get_annotated_filepath", "foley.wav [output]"),
    ("get_annotated_filepath", "a.mp4", "/default"),
    ("exists_annotated_filepath", "clip.mp4"),
    ("exists_annotated_filepath", "clip.mp4 [input]"),
    ("exists_annotated_filepath", "absent.mp4 [output]"),
]
ESCAPES = [
    (call, name)
    for call in ("get_annotated_filepath", "exists_annotated_filepath")
    for name in (
        "../secret",
        "../secret [output]",
        "/etc/hostname",
        "link/secret",
        "sub/../../secret",
        "a\0b",
    )
]
SAVES = ["foley", "sub/foley", "foley/", "", "%width%x%height%", "../foley", "/tmp/foley", "FOLEY", "fo"]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: " ".join(call))
def test_a_call_is_answered_alike(real, tree, call):
    assert answer(shim, *call) == answer(real, *call)


@pytest.mark.parametrize("call", ESCAPES, ids=lambda call: repr(call))
def test_an_escape_is_treated_alike(real, tree, call):
    if not has_containment(real):
        pytest.skip("this ComfyUI is older than its containment of annotated paths")
    assert answer(shim, *call) == answer(real, *call)


@pytest.mark.parametrize("prefix", SAVES)
def test_a_place_to_save_is_found_alike(real, tree, prefix):
    arguments = (prefix, str(tree / "output"), 640, 360)
    assert answer(shim, "get_save_image_path", *arguments) == answer(real, "get_save_image_path", *arguments)


@pytest.mark.parametrize("is_default", [False, True])
def test_folders_are_added_alike(real, tree, is_default):
    for module in (shim, real):
        for name, folder in [
            ("vae", "/a"),
            ("vae", "/b"),
            ("vae", "/a"),
            ("new", "/c"),
            ("clip", "/d"),
            ("new", "/c"),
        ]:
            module.add_model_folder_path(name, folder, is_default)
    assert shim.folder_names_and_paths == real.folder_names_and_paths


def test_a_change_on_disk_is_noticed_alike(real, tree):
    for module in (shim, real):
        module.get_filename_list("vae")
    (tree / "models" / "sub" / "new.pth").write_bytes(b"x")
    os.utime(tree / "models" / "sub", (1, 1))
    assert shim.get_filename_list("vae") == real.get_filename_list("vae")
    assert str(Path("sub/new.pth")) in shim.get_filename_list("vae")


def test_every_kind_has_the_same_subfolders_and_extensions(real):
    for kind, (folders, extensions) in shim.folder_names_and_paths.items():
        if kind in real.folder_names_and_paths and kind != "custom_nodes":
            real_folders, real_extensions = real.folder_names_and_paths[kind]
            relative = [os.path.relpath(folder, real.models_dir) for folder in real_folders]
            assert [os.path.relpath(folder, shim.models_dir) for folder in folders] == relative
            assert set(extensions) == set(real_extensions)


SIGNATURES = """
import inspect, json, sys
sys.path.insert(0, sys.argv[1])
from comfy_api.latest import io
def names(what):
    return [name for name in inspect.signature(what).parameters if name != "self"]
types = {}
for name in json.loads(sys.argv[2]):
    kind = getattr(io, name)
    sockets = {"Input": names(kind.Input.__init__), "Output": names(kind.Output.__init__)}
    types[name] = {"io_type": kind.io_type, **sockets}
print(json.dumps({
    "types": types, "Schema": names(io.Schema), "NodeOutput": names(io.NodeOutput.__init__),
    "Hidden": {member.name: member.value for member in io.Hidden},
    "ComfyNode": [name for name in dir(io.ComfyNode)],
}))
"""


@pytest.fixture(scope="module")
def real_schema():
    """The signatures of the real `io`, from a process of its own."""
    types = [name for name, kind in vars(schema).items() if getattr(kind, "io_type", "")]
    command = [sys.executable, "-c", SIGNATURES, str(COMFYUI), json.dumps(types)]
    out = subprocess.run(command, capture_output=True, text=True, check=True, cwd=str(COMFYUI)).stdout
    return json.loads(out.splitlines()[-1])


def names(what) -> list[str]:
    return list(inspect.signature(what).parameters)


def test_every_type_takes_only_what_the_real_one_takes(real_schema):
    assert len(real_schema["types"]) >= 18
    for name, recorded in real_schema["types"].items():
        kind = getattr(schema, name)
        assert kind.io_type == recorded["io_type"]
        assert set(names(kind.Input)) <= set(recorded["Input"]), name
        assert names(kind.Input)[:1] == recorded["Input"][:1]
        assert set(names(kind.Output)) <= set(recorded["Output"]), name


def test_schema_hidden_values_and_outputs_exist_in_the_real_one(real_schema):
    assert names(schema.Schema) == [name for name in real_schema["Schema"] if name in names(schema.Schema)]
    assert set(names(schema.NodeOutput)) <= set(real_schema["NodeOutput"])
    assert {member.name: member.value for member in schema.Hidden}.items() <= real_schema["Hidden"].items()
    assert {"define_schema", "execute"} <= set(real_schema["ComfyNode"])


NODES = f"""
import asyncio, importlib.util, json, sys
sys.path.insert(0, sys.argv[1])
from comfy_api.latest import ComfyExtension, io
spec = importlib.util.spec_from_file_location(
    "pack", {str(ROOT / "__init__.py")!r}, submodule_search_locations=[{str(ROOT)!r}]
)
sys.modules["pack"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
import pack.host
pack.host.io, pack.host.ComfyExtension = io, ComfyExtension
extension = asyncio.run(module.comfy_entrypoint())
assert isinstance(extension, ComfyExtension)
nodes = asyncio.run(extension.get_node_list())
print(json.dumps({{node.GET_SCHEMA().node_id: node.GET_NODE_INFO_V1() for node in nodes}}))
"""


def test_every_node_describes_itself_to_the_real_comfyui():
    environment = {**os.environ, "HUNYUAN_AV_HOST": "standalone"}
    command = [sys.executable, "-c", NODES, str(COMFYUI)]
    run = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=str(COMFYUI), env=environment
    )
    described = json.loads(run.stdout.splitlines()[-1])
    promised = json.loads((ROOT / "tests" / "nodes" / "schema_snapshot.json").read_text())
    assert described.keys() == promised.keys()
    for node_id, promise in promised.items():
        groups = described[node_id]["input"]
        assert {**groups["required"], **groups.get("optional", {})}.keys() == promise["inputs"].keys()
        assert described[node_id]["output"] == [io_type for _, io_type in promise["outputs"]]
        assert described[node_id]["output_name"] == [name for name, _ in promise["outputs"]]
        assert all(described[node_id]["output_tooltips"])
