"""Every shipped workflow in a real ComfyUI: it opens, runs as shipped, and tells the websocket so."""

import json
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import av
import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests")]

from workflow_files import nodes_of, prompt_of  # noqa: E402

from node_types import of_object_info, recorded  # noqa: E402

pytestmark = pytest.mark.comfyui

WORKFLOWS = {file.stem: file for file in sorted((ROOT / "workflows").glob("*.json"))}
PICTURE = "VAEDecodeTiled"  # of a video model whose weights are not here


@pytest.fixture(scope="module")
def kinds(comfyui):
    offered = comfyui.get("/object_info")
    return {name: of_object_info(info) for name, info in offered.items() if "input" in info}


def prompt_for(name, kinds):
    workflow = json.loads(WORKFLOWS[name].read_text())
    used = {node["type"] for node in nodes_of(workflow)}
    return without_foreign_models(prompt_of(workflow, {name: kinds[name] for name in used if name in kinds}))


def without_foreign_models(prompt):
    """The graph with grey pictures where a video model would make them, and without what only it needs."""
    for values in prompt.values():
        if values["class_type"] == PICTURE:
            values |= {
                "class_type": "EmptyImage",
                "inputs": {"width": 64, "height": 48, "batch_size": 40, "color": 8421504},
            }
    needed = {
        number for number, values in prompt.items() if values["class_type"].startswith(("Save", "Preview"))
    }
    while True:
        more = {
            given[0]
            for number in needed
            for given in prompt[number]["inputs"].values()
            if isinstance(given, list)
        } - needed
        if not more:
            return {number: prompt[number] for number in prompt if number in needed}
        needed |= more


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_runs_as_shipped(comfyui, kinds, name):
    prompt = prompt_for(name, kinds)
    heard = comfyui.follow(prompt)
    assert heard[0][0] == "execution_start"
    assert heard[-1][0] == "execution_success", heard[-1]
    shown = {data["node"]: data["output"] for kind, data in heard if kind == "executed"}
    for number, values in prompt.items():
        if values["class_type"].startswith(("Save", "Preview")):
            for files in shown[number].values():
                for file in files:
                    check_file(file, comfyui)
    samplers = {n for n, values in prompt.items() if "Sampler" in values["class_type"]}
    assert samplers <= {data["node"] for kind, data in heard if kind == "progress"}


def check_file(file, comfyui):
    """A file that was saved holds sound or a picture."""
    if not isinstance(file, dict):
        return
    path = str(comfyui.file(file))
    with av.open(path) as container:
        kinds = {stream.type for stream in container.streams}
    for kind in kinds:
        with av.open(path) as container:
            assert next(container.decode(**{kind: 0})), file
    if file["filename"].endswith(".mp4"):
        assert kinds == {"audio", "video"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_template_browser_offers_it_with_a_picture(comfyui, name):
    assert name in comfyui.get("/api/workflow_templates")["hunyuan_av"]
    for suffix, kind in ((".json", "application/json"), (".jpg", "image/jpeg")):
        url = f"{comfyui.url}/api/workflow_templates/hunyuan_av/{name}{suffix}"
        with urllib.request.urlopen(url) as answer:
            assert answer.headers["Content-Type"].startswith(kind)


def test_the_node_library_offers_the_blueprint(comfyui):
    offered = comfyui.get("/global_subgraphs")
    ours = {number: entry for number, entry in offered.items() if entry["name"] == "Video → Sound"}
    (number,) = ours
    assert ours[number]["source"] == "custom_node"
    whole = comfyui.get(f"/global_subgraphs/{urllib.parse.quote(number)}")
    (body,) = json.loads(whole["data"])["definitions"]["subgraphs"]
    assert body["name"] == "Video → Sound"


def test_the_recorded_nodes_are_what_a_comfyui_offers(kinds):
    """What a newer or older one lacks or has beside is its own; what both have must agree."""
    for name, known in recorded().items():
        here = kinds[name]
        types = {given.id: given.type for given in here.inputs}
        for given in known.inputs:
            if given.id in types and "DYNAMICCOMBO" not in given.type:
                assert types[given.id] == given.type, name
        assert [of for _, of in here.outputs] == [of for _, of in known.outputs][: len(here.outputs)], name
