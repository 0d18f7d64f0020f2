"""Prints what ComfyUI's /object_info would say about our nodes, for the stub server of the browser tests.

Only the fields that the page reads; the types come from the schemas, as ComfyUI reads them.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import conftest  # noqa: E402, F401 - loads the pack
from pack import nodes  # noqa: E402

OPTIONS = {
    "tooltip", "default", "min", "max", "step", "round", "multiline", "placeholder", "advanced", "options",
    "control_after_generate", "socketless", "label_on", "label_off", "display_name",
}  # fmt: skip
RENAMED = {"dynamic_prompts": "dynamicPrompts", "force_input": "forceInput"}


def described_input(socket) -> list:
    """One input as [type, options]."""
    fields = vars(socket)
    options = {name: value for name, value in fields.items() if name in OPTIONS and value is not None}
    options |= {new: fields[old] for old, new in RENAMED.items() if fields.get(old) is not None}
    return [socket.io_type, options]


def described(schema) -> dict:
    """One node as the page wants it."""
    inputs: dict[str, dict] = {"required": {}, "optional": {}}
    for socket in schema.inputs:
        inputs["optional" if socket.optional else "required"][socket.id] = described_input(socket)
    return {
        "input": inputs,
        "input_order": {kind: list(sockets) for kind, sockets in inputs.items()},
        "output": [socket.io_type for socket in schema.outputs],
        "output_is_list": [socket.is_output_list for socket in schema.outputs],
        "output_name": [socket.display_name or socket.io_type for socket in schema.outputs],
        "output_tooltips": [socket.tooltip for socket in schema.outputs],
        "name": schema.node_id,
        "display_name": schema.display_name,
        "description": schema.description,
        "category": schema.category,
        "search_aliases": schema.search_aliases,
        "output_node": schema.is_output_node,
        "python_module": "custom_nodes.hunyuan_av",
    }


if __name__ == "__main__":
    schemas = [node.define_schema() for node in nodes.NODES]
    print(json.dumps({schema.node_id: described(schema) for schema in schemas}))
