"""What every node says about itself, held against its code and what workflow files were promised."""

import ast
import asyncio
import inspect
import json
import os
import textwrap
from pathlib import Path

import pytest
from pack import host, nodes

SNAPSHOT = Path(__file__).parent / "schema_snapshot.json"

IDS = [
    "HunyuanAVFoleyModelLoader",
    "HunyuanAVFoleyVAELoader",
    "HunyuanAVFoleyTextEncoderLoader",
    "HunyuanAVFoleyVideoEncoderLoader",
    "HunyuanAVFoleyVideoEncode",
    "HunyuanAVFoleyPrompt",
    "HunyuanAVFoleyConditioning",
    "HunyuanAVFoleyEmptyLatent",
    "HunyuanAVFoleyTimeMask",
    "HunyuanAVFoleySigmas",
    "HunyuanAVFoleyGuider",
    "HunyuanAVFoleySampler",
    "HunyuanAVFoleyVAEDecode",
    "HunyuanAVFoleyVAEEncode",
    "HunyuanAVFoleyMix",
    "HunyuanAVFoleySyncPlot",
    "HunyuanAVFoleyShots",
    "HunyuanAVFoleyLongVideo",
    "HunyuanAVSlidingWindows",
    "HunyuanAVAvatarModelLoader",
    "HunyuanAVAvatarVAELoader",
    "HunyuanAVAvatarTextEncoderLoader",
    "HunyuanAVAvatarSpeechEncoderLoader",
    "HunyuanAVFaceDetectorLoader",
    "HunyuanAVAvatarReferenceImage",
    "HunyuanAVFaceDetect",
    "HunyuanAVFaceMask",
    "HunyuanAVAvatarSpeechEncode",
    "HunyuanAVAvatarCharacter",
    "HunyuanAVAvatarPrompt",
    "HunyuanAVAvatarConditioning",
    "HunyuanAVAvatarGuider",
    "HunyuanAVAvatarSampler",
    "HunyuanAVAvatarVAEDecode",
    "HunyuanAVAvatarDecodeVideo",
]

every_node = pytest.mark.parametrize("node", nodes.NODES, ids=lambda node: node.__name__)


def test_the_extension_gives_every_promised_id():
    given = asyncio.run(nodes.extension().get_node_list())
    assert [node.define_schema().node_id for node in given] == IDS


@every_node
def test_a_node_is_called_and_placed_by_its_class(node):
    schema = node.define_schema()
    assert schema.node_id == f"HunyuanAV{node.__name__}"
    assert schema.display_name.replace(" ", "") == node.__name__
    avatar = node.__name__.startswith(("Avatar", "Face"))
    assert schema.category == f"Hunyuan AV/{'Avatar' if avatar else 'Foley'}"
    assert schema.description
    assert schema.search_aliases


@every_node
def test_execute_takes_the_schemas_inputs(node):
    schema = node.define_schema()
    parameters = inspect.signature(node.execute).parameters
    assert set(parameters) == {socket.id for socket in schema.inputs}
    for socket in schema.inputs:
        left_out = parameters[socket.id].default is not inspect.Parameter.empty
        assert left_out == socket.optional, socket.id


@every_node
def test_every_socket_has_a_tooltip_that_ends_a_sentence(node):
    schema = node.define_schema()
    for socket in [*schema.inputs, *schema.outputs]:
        assert socket.tooltip, socket.id
        assert socket.tooltip.endswith("."), socket.tooltip


@every_node
def test_every_widget_has_a_default_within_its_range(node):
    for socket in node.define_schema().inputs:
        if isinstance(socket, host.io.Combo.Input):
            assert socket.options
            assert socket.default in (None, *socket.options)
        elif isinstance(socket, (host.io.Int.Input, host.io.Float.Input)):
            assert socket.min <= socket.default <= socket.max
        elif isinstance(socket, host.io.WidgetInput):
            assert socket.default is not None


@every_node
def test_execute_stays_thin(node):
    function = ast.parse(textwrap.dedent(inspect.getsource(node.execute))).body[0]
    assert function.end_lineno - function.body[0].lineno < 15


def described(node) -> dict:
    """What a workflow file depends on: ids, types, order and choices. Texts and lists of files may change."""
    schema = node.define_schema()
    return {
        "inputs": {socket.id: described_input(socket) for socket in schema.inputs},
        "outputs": [[socket.display_name, socket.io_type] for socket in schema.outputs],
    }


def described_input(socket) -> dict:
    fields = ("optional", "default", "min", "max", "step", "options", "advanced")
    values = {
        name: getattr(socket, name) for name in fields if getattr(socket, name, None) not in (None, False)
    }
    if socket.id.endswith("_file"):
        values.pop("options")
    return {"type": socket.io_type, **values}


def test_no_id_socket_or_choice_changes_by_accident():
    now = {node.define_schema().node_id: described(node) for node in nodes.NODES}
    if os.environ.get("UPDATE_SNAPSHOT"):
        SNAPSHOT.write_text(json.dumps(now, indent=2) + "\n")
    assert now == json.loads(SNAPSHOT.read_text())
