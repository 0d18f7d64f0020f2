"""What a workflow file must know of nodes: sockets, widgets and their order. Of ours, and of ComfyUI's own.

ComfyUI's are kept as recorded from a running one, in tests/workflows/core_nodes.json:

    python tools/node_types.py http://127.0.0.1:8188 KSampler SaveVideo ...      adds or renews these
"""

import json
import re
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import _pack

RECORDED = _pack.ROOT / "tests" / "workflows" / "core_nodes.json"
UPLOADED = ("image", "video", "audio")
FILES = re.compile(r"(unet|vae|clip|lora)_name\d?")  # widgets that offer the model files of one installation
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3"}


@dataclass(frozen=True)
class Input:
    """A socket or a widget.

    options: the choices of a combo; empty where they are files.
    control: whether a seed's "control after generate" follows it among the values.
    inner: widgets that the first choice of a dynamic combo brings with it.
    """

    id: str
    type: str
    optional: bool = False
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    options: tuple[str, ...] = ()
    multiline: bool = False
    control: bool = False
    inner: tuple["Input", ...] = ()

    @property
    def is_widget(self) -> bool:
        return self.type in WIDGETS


@dataclass(frozen=True)
class NodeType:
    """A node as workflows see it. outputs: (name, type) each."""

    id: str
    title: str
    inputs: tuple[Input, ...]
    outputs: tuple[tuple[str, str], ...]
    is_output: bool = field(default=False)

    @property
    def widgets(self) -> list[Input]:
        """All widgets in the order of their values, those of dynamic combos by dotted ids."""
        return [widget for given in self.inputs if given.is_widget for widget in _opened(given)]

    @property
    def sockets(self) -> list[Input]:
        return [given for given in self.inputs if not given.is_widget]


def _opened(given: Input, prefix: str = "") -> Iterator[Input]:
    name = prefix + given.id
    yield Input(**{**vars(given), "id": name})
    for inner in given.inner:
        yield from _opened(inner, f"{name}.")


def ours() -> dict[str, NodeType]:
    """This pack's nodes, from their schemas."""
    from hunyuan_av.nodes import NODES

    return {schema.node_id: _of_schema(schema) for schema in (node.define_schema() for node in NODES)}


def _of_schema(schema: Any) -> NodeType:
    def given(socket: Any) -> Input:
        return Input(
            id=socket.id,
            type=socket.io_type,
            optional=bool(socket.optional),
            default=getattr(socket, "default", None),
            minimum=getattr(socket, "min", None),
            maximum=getattr(socket, "max", None),
            options=() if socket.id.endswith("_file") else tuple(getattr(socket, "options", None) or ()),
            multiline=bool(getattr(socket, "multiline", None)),
            control=bool(getattr(socket, "control_after_generate", None)),
        )

    outputs = tuple((output.display_name, output.io_type) for output in schema.outputs)
    return NodeType(
        schema.node_id, schema.display_name, tuple(map(given, schema.inputs)), outputs,
        bool(getattr(schema, "is_output_node", False)),
    )  # fmt: skip


def of_object_info(info: Mapping[str, Any]) -> NodeType:
    """A node as a running ComfyUI describes it in /object_info."""
    groups = info["input"]
    inputs = [
        _given(name, spec, group == "optional")
        for group in ("required", "optional")
        for name, spec in groups.get(group, {}).items()
        if not (len(spec) > 1 and spec[1].get("hidden"))
    ]
    outputs = tuple((name, _type(of)) for name, of in zip(info["output_name"], info["output"], strict=True))
    title = info.get("display_name") or info["name"]
    return NodeType(info["name"], title, tuple(inputs), outputs, bool(info.get("output_node")))


def _given(name: str, spec: list[Any], optional: bool) -> Input:
    values = spec[1] if len(spec) > 1 else {}
    choices = spec[0] if isinstance(spec[0], list) else values.get("options", [])
    inner: tuple[Input, ...] = ()
    if _type(spec[0]) == "COMFY_DYNAMICCOMBO_V3":
        required = choices[0]["inputs"].get("required", {})
        inner = tuple(_given(of, inner_spec, False) for of, inner_spec in required.items())
        choices = [choice["key"] for choice in choices]
    is_files = FILES.fullmatch(name) or any(values.get(f"{kind}_upload") for kind in UPLOADED)
    return Input(
        id=name,
        type=_type(spec[0]),
        optional=optional,
        default=values.get("default"),
        minimum=values.get("min"),
        maximum=values.get("max"),
        options=() if is_files else tuple(choices),
        multiline=bool(values.get("multiline")),
        control=bool(values.get("control_after_generate")),
        inner=inner,
    )


def _type(of: Any) -> str:
    return "COMBO" if isinstance(of, list) else of


def recorded() -> dict[str, NodeType]:
    """ComfyUI's own nodes that workflows use."""
    return {name: _restored(values) for name, values in json.loads(RECORDED.read_text()).items()}


def _restored(values: dict[str, Any]) -> NodeType:
    def given(fields: dict[str, Any]) -> Input:
        inner = tuple(map(given, fields.get("inner", ())))
        return Input(**{**fields, "options": tuple(fields.get("options", ())), "inner": inner})

    outputs = tuple((name, of) for name, of in values["outputs"])
    return NodeType(**{**values, "inputs": tuple(map(given, values["inputs"])), "outputs": outputs})


def described(node: NodeType) -> dict[str, Any]:
    """A node as it is recorded: without what is empty."""

    def lean(fields: dict[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in fields.items() if value not in (None, (), False)}
        return {**kept, "inner": list(map(lean, fields["inner"]))} if fields["inner"] else kept

    values = asdict(node)
    return {**values, "inputs": list(map(lean, values["inputs"])), "outputs": list(map(list, node.outputs))}


def main() -> int:
    url, *names = sys.argv[1:]
    with urllib.request.urlopen(f"{url}/object_info") as answer:
        offered = json.load(answer)
    known = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    known |= {name: described(of_object_info(offered[name])) for name in names}
    RECORDED.parent.mkdir(exist_ok=True)
    RECORDED.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")
    print(f"{len(names)} recorded, {len(known)} known")
    return 0


if __name__ == "__main__":
    sys.exit(main())
