"""The shipped workflows against the nodes: every id, socket, value and link; and whether they are tidy."""

import copy
import json
import sys
from itertools import combinations
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from make_workflows import blueprints, graphs  # noqa: E402
from workflow_files import faults, nodes_of, prompt_of  # noqa: E402

from node_types import Input, NodeType, ours, recorded  # noqa: E402

FILES = sorted((ROOT / "workflows").glob("*.json"))
KINDS = {**recorded(), **ours()}
every_workflow = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def read(file):
    return json.loads(file.read_text())


@every_workflow
def test_a_workflow_opens_and_runs_as_far_as_its_schemas_tell(file):
    assert list(faults(read(file), KINDS)) == []


@every_workflow
def test_our_loaders_load_the_pocket_weights(file):
    for values in prompt_of(read(file), KINDS).values():
        kind = KINDS[values["class_type"]]
        defaults = {given.id: given.default for given in kind.inputs}
        for name, value in values["inputs"].items():
            if kind.id.startswith("HunyuanAV") and name.endswith("_file") and value != defaults[name]:
                assert (ROOT / value).is_file()


@every_workflow
def test_every_input_file_is_shipped(file):
    for values in prompt_of(read(file), KINDS).values():
        if values["class_type"] in ("LoadVideo", "LoadImage", "LoadAudio", "LoadImageMask"):
            name = next(iter(values["inputs"].values()))
            assert (ROOT / "workflows" / "inputs" / name).is_file()


def test_a_talking_video_keeps_its_voice_and_foley_ducks_under_it():
    prompt = prompt_of(read(ROOT / "workflows" / "avatar_then_foley.json"), KINDS)
    source = {
        (values["class_type"], name): prompt[given[0]]
        for values in prompt.values()
        for name, given in values["inputs"].items()
        if isinstance(given, list)
    }
    mix = source["CreateVideo", "audio"]
    assert mix["class_type"] == "HunyuanAVFoleyMix"
    assert mix["inputs"]["duck_db"] > 0
    assert source["HunyuanAVFoleyMix", "foley"]["class_type"] == "HunyuanAVFoleyVAEDecode"
    assert source["HunyuanAVFoleyMix", "voice"] is source["HunyuanAVAvatarSpeechEncode", "audio"]


@every_workflow
def test_a_workflow_explains_itself(file):
    assert any(node["type"] == "MarkdownNote" for node in read(file)["nodes"])


def box(node):
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - 30, x + width, y + height


@every_workflow
def test_nodes_do_not_overlap_and_each_lies_in_a_group(file):
    workflow = read(file)
    boxes = [box(node) for node in workflow["nodes"]]
    for (left, top, right, bottom), other in combinations(boxes, 2):
        assert left >= other[2] or right <= other[0] or top >= other[3] or bottom <= other[1]
    for left, top, right, bottom in boxes:
        assert any(
            x <= left and y <= top and right <= x + width and bottom <= y + height
            for x, y, width, height in (group["bounding"] for group in workflow["groups"])
        )


@every_workflow
def test_links_run_from_left_to_right(file):
    workflow = read(file)
    places = {node["id"]: node["pos"][0] for node in workflow["nodes"]}
    assert all(places[link[1]] <= places[link[3]] for link in workflow["links"])


@every_workflow
def test_the_template_browser_finds_a_picture(file):
    from PIL import Image

    with Image.open(file.with_suffix(".jpg")) as picture:
        assert picture.width >= 400
    assert file.with_suffix(".jpg").stat().st_size < 150_000


def test_the_files_are_what_the_tool_writes():
    made = {name: graph.describe(name) for name, graph in graphs().items()}
    assert {name: read(ROOT / "workflows" / f"{name}.json") for name in made} == made


def blueprint_files():
    return sorted((ROOT / "subgraphs").glob("*.json"))


def opened(file):
    """A blueprint as a workflow: its entry as a node that gives, its exit as one that keeps."""
    (body,) = read(file)["definitions"]["subgraphs"]
    of_entry = [(given["name"], given["type"]) for given in body["inputs"]]
    of_exit = [(given["name"], given["type"]) for given in body["outputs"]]
    ends = {
        "entry": NodeType("entry", "", (), tuple(of_entry)),
        "exit": NodeType("exit", "", tuple(Input(*given) for given in of_exit), (), is_output=True),
    }
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    entry = {"id": -10, "type": "entry", "mode": 0, "inputs": [], "widgets_values": []}
    entry["outputs"] = [{"name": g["name"], "type": g["type"], "links": g["linkIds"]} for g in body["inputs"]]
    leave = {"id": -20, "type": "exit", "mode": 0, "outputs": [], "widgets_values": []}
    leave["inputs"] = [
        {"name": g["name"], "type": g["type"], "link": g["linkIds"][0]} for g in body["outputs"]
    ]
    links = [[link[name] for name in names] for link in body["links"]]
    return {"nodes": [*body["nodes"], entry, leave], "links": links}, {**KINDS, **ends}


@pytest.mark.parametrize("file", blueprint_files(), ids=lambda file: file.stem)
def test_a_blueprint_is_whole_inside(file):
    assert list(faults(*opened(file))) == []


@pytest.mark.parametrize("file", blueprint_files(), ids=lambda file: file.stem)
def test_a_blueprint_shows_widgets_of_its_nodes(file):
    whole = read(file)
    (outer,), (body,) = whole["nodes"], whole["definitions"]["subgraphs"]
    assert outer["type"] == body["id"]
    kinds = {str(node["id"]): node["type"] for node in body["nodes"]}
    for number, widget in outer["properties"]["proxyWidgets"]:
        assert widget in {given.id for given in KINDS[kinds[number]].widgets}
    for side in ("inputs", "outputs"):
        assert [g["name"] for g in outer[side]] == [g["name"] for g in body[side]]


def test_the_blueprint_is_what_the_tool_writes():
    made = {blueprint.name: blueprint.describe() for blueprint in blueprints()}
    assert {file.stem: read(file) for file in blueprint_files()} == made


def spoiled(change):
    workflow = copy.deepcopy(read(ROOT / "workflows" / "foley_video_to_sound.json"))
    change(workflow, {node["type"]: node for node in nodes_of(workflow)})
    return "\n".join(faults(workflow, KINDS))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda workflow, nodes: nodes["LoadVideo"].update(type="LoadFilm"), "there is no LoadFilm"),
        (
            lambda workflow, nodes: nodes["HunyuanAVFoleySampler"]["widgets_values"].pop(),
            "values for",
        ),
        (
            lambda workflow, nodes: nodes["HunyuanAVFoleyVAELoader"]["widgets_values"].__setitem__(1, "all"),
            "part is 'all', not one of",
        ),
        (
            lambda workflow, nodes: nodes["HunyuanAVFoleySampler"]["widgets_values"].__setitem__(2, 0),
            "steps is 0, outside",
        ),
        (lambda workflow, nodes: workflow["links"].pop(), "names a link that is missing"),
        (
            lambda workflow, nodes: workflow["links"][0].__setitem__(3, 99),
            "link 1: one of its nodes is missing",
        ),
        (
            lambda workflow, nodes: nodes["HunyuanAVFoleyVAEDecode"]["inputs"][1].update(link=None),
            "nothing is connected to vae",
        ),
        (
            lambda workflow, nodes: nodes["HunyuanAVFoleyVAEDecode"]["inputs"][1].update(type="MODEL"),
            "no input vae of type MODEL",
        ),
    ],
)
def test_a_fault_is_found(change, words):
    assert words in spoiled(change)
