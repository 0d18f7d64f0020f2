"""Writes a graph as a workflow file: the format of ComfyUI's frontend, laid out in titled columns.

A graph is built like a program: nodes are added in columns, and an input is either a value for a widget or an
output of another node.
"""

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from node_types import Input, NodeType

TITLE, ROW, WIDGET, MULTILINE = 30, 20, 26, 110  # heights in pixels
TABLE_ROW = 8  # what a row of a table is higher than a line of words
PREVIEW = {
    "LoadVideo": 404, "LoadImage": 300, "LoadImageMask": 250, "SaveVideo": 300, "PreviewImage": 260,
    "PreviewAny": 120, "PreviewAudio": 60, "SaveAudio": 60, "LoadAudio": 80,
    "HunyuanAVFaceMask": 366, "HunyuanAVFoleySyncPlot": 320,
}  # fmt: skip # what nodes show below their widgets
GROWTH = {"HunyuanAVFaceMask": 58}  # what the Vue nodes add to the height that a file gives, if it is much
WIDTH, GAP, MARGIN = 340, 70, 24
COLOURS = {"blue": "#3f789e", "green": "#3f7d58", "purple": "#6b4f8f", "orange": "#a1662f", "grey": "#555555"}
MUTED = 2  # the frontend's mode of a node that does not run
NOTE = {"color": "#222", "bgcolor": "#000"}  # dark, for the frontend writes names of files in blue


@dataclass(frozen=True)
class Output:
    """One output of a node of the graph."""

    node: "Node"
    slot: int

    @property
    def type(self) -> str:
        return self.node.kind.outputs[self.slot][1]


@dataclass(eq=False)
class Node:
    """A node of the graph: `node["name"]` is its output of that name, and the node itself its first one."""

    id: int
    kind: NodeType
    values: dict[str, Any]
    links: dict[str, Output]
    title: str
    width: int
    muted: bool
    place: tuple[float, float] = (0, 0)

    def __getitem__(self, name: str) -> Output:
        return Output(self, [output for output, _ in self.kind.outputs].index(name))

    @property
    def height(self) -> int:
        slots = max(len(self.kind.sockets), len(self.kind.outputs)) * ROW
        rows = sum(
            MULTILINE if widget.multiline else WIDGET * (1 + widget.control) for widget in self.kind.widgets
        )
        return slots + rows + PREVIEW.get(self.kind.id, 0) + 16


@dataclass(eq=False)
class Note:
    """Words beside the nodes, in Markdown."""

    id: int
    text: str
    width: int
    place: tuple[float, float] = (0, 0)

    @property
    def height(self) -> int:
        per_line = self.width // 8
        lines = sum(1 + len(line) // per_line for line in self.text.splitlines())
        return 50 + 19 * lines + TABLE_ROW * self.text.count("\n|")


@dataclass(eq=False)
class Column:
    """A titled group of nodes, one below the other."""

    title: str
    colour: str
    width: int
    members: list[Node | Note] = field(default_factory=list)


class Graph:
    """A workflow: nodes in columns, and the links between them."""

    def __init__(self, kinds: Mapping[str, NodeType]) -> None:
        self.kinds, self.columns, self.last = kinds, [], 0

    @contextmanager
    def column(self, title: str, colour: str = "blue", width: int = WIDTH) -> Iterator[None]:
        """What is added inside comes into a new column, to the right of the others."""
        self.columns.append(Column(title, colour, width))
        yield

    def add(self, kind: str, title: str = "", *, muted: bool = False, **inputs: Any) -> Node:
        """A node, with the inputs that are not at their defaults. Raises ValueError for one it has not.

        muted: it does not run until the user unmutes it, and what it is connected to runs as without it.
        """
        known = self.kinds[kind]
        ids = {given.id for given in known.inputs} | {widget.id for widget in known.widgets}
        if unknown := inputs.keys() - ids:
            raise ValueError(f"{kind} has no input {', '.join(sorted(unknown))}.")
        links = {
            name: value if isinstance(value, Output) else Output(value, 0)
            for name, value in inputs.items()
            if isinstance(value, (Output, Node))
        }
        values = {
            widget.id: inputs.get(widget.id, _default(widget))
            for widget in known.widgets
            if widget.id not in links
        }
        return self._place(Node(self._next(), known, values, links, title or known.title, self._width, muted))

    def note(self, text: str) -> Note:
        return self._place(Note(self._next(), text.strip(), self._width))

    def _place(self, member: Any) -> Any:
        self.columns[-1].members.append(member)
        return member

    def _next(self) -> int:
        self.last += 1
        return self.last

    @property
    def _width(self) -> int:
        return self.columns[-1].width

    @property
    def nodes(self) -> list[Node]:
        return [m for column in self.columns for m in column.members if isinstance(m, Node)]

    def lay_out(self) -> list[dict[str, Any]]:
        """Give every member its place. Returns the groups around the columns."""
        x, groups = 0.0, []
        for number, column in enumerate(self.columns, 1):
            y = 0.0
            for member in column.members:
                member.place = (x, y + TITLE)
                growth = GROWTH.get(member.kind.id, 0) if isinstance(member, Node) else 0
                y += TITLE + member.height + growth + GAP / 2
            bounds = [x - MARGIN, -3 * MARGIN, column.width + 2 * MARGIN, y + 3 * MARGIN]
            group = {"id": number, "title": column.title, "bounding": bounds, "color": COLOURS[column.colour]}
            groups.append(group | {"font_size": 24, "flags": {}})
            x += column.width + 2 * MARGIN + GAP
        return groups

    def describe(self, name: str) -> dict[str, Any]:
        """The whole file. name: from which its id follows, so that writing it again changes nothing."""
        groups = self.lay_out()
        links = self.links()
        ordered = [m for column in self.columns for m in column.members]
        nodes = [
            describe_node(m, order, links) if isinstance(m, Node) else describe_note(m, order)
            for order, m in enumerate(ordered)
        ]
        return {
            "id": _uuid(name), "revision": 0, "last_node_id": self.last, "last_link_id": len(links),
            "nodes": nodes, "links": links, "groups": groups, "config": {},
            "extra": {"ds": {"scale": 0.6, "offset": [120, 180]}}, "version": 0.4,
        }  # fmt: skip

    def links(self) -> list[list[Any]]:
        """[id, from node, from slot, to node, to slot, type] each."""
        ends = [
            (output, node, [given["name"] for given in input_slots(node)].index(name))
            for node in self.nodes
            for name, output in sorted(node.links.items(), key=lambda link: _order(node, link[0]))
        ]
        return [
            [number, output.node.id, output.slot, node.id, slot, output.type]
            for number, (output, node, slot) in enumerate(ends, 1)
        ]


def _order(node: Node, name: str) -> int:
    return [given["name"] for given in input_slots(node)].index(name)


def input_slots(node: Node) -> list[dict[str, Any]]:
    """The sockets of a node, and the widgets that a link feeds."""
    slots = []
    for given in node.kind.inputs:
        if not given.is_widget:
            slots.append({"name": given.id, "type": given.type, **({"shape": 7} if given.optional else {})})
        elif given.id in node.links:
            slots.append({"name": given.id, "type": given.type, "widget": {"name": given.id}})
    return slots


def describe_node(node: Node, order: int, links: list[list[Any]]) -> dict[str, Any]:
    inputs = input_slots(node)
    for slot, given in enumerate(inputs):
        given["link"] = next((link[0] for link in links if link[3:5] == [node.id, slot]), None)
    outputs = [
        {"name": name, "type": of, "links": [link[0] for link in links if link[1:3] == [node.id, slot]]}
        for slot, (name, of) in enumerate(node.kind.outputs)
    ]
    title = {"title": node.title} if node.title != node.kind.title else {}
    pack = "hunyuan-av" if node.kind.id.startswith("HunyuanAV") else "comfy-core"
    return {
        "id": node.id, "type": node.kind.id, "pos": list(node.place), "size": [node.width, node.height],
        "flags": {}, "order": order, "mode": MUTED if node.muted else 0,
        "inputs": inputs, "outputs": outputs, **title,
        "properties": {"Node name for S&R": node.kind.id, "cnr_id": pack},
        "widgets_values": list(_widget_values(node)),
    }  # fmt: skip


def _widget_values(node: Node) -> Iterator[Any]:
    """In order; without optional ones at the end that are at their defaults: older ComfyUIs may lack them."""
    widgets = node.kind.widgets
    while widgets and widgets[-1].optional and node.values.get(widgets[-1].id) == _default(widgets[-1]):
        widgets.pop()
    for widget in widgets:
        yield node.values.get(widget.id, _default(widget))
        if widget.control:
            yield "fixed"


def describe_note(note: Note, order: int) -> dict[str, Any]:
    return {
        "id": note.id, "type": "MarkdownNote", "pos": list(note.place), "size": [note.width, note.height],
        "flags": {}, "order": order, "mode": 0, "inputs": [], "outputs": [], "properties": {},
        "widgets_values": [note.text], **NOTE,
    }  # fmt: skip


def _default(widget: Input) -> Any:
    if widget.default is not None:
        return widget.default
    return {"STRING": "", "BOOLEAN": False, "INT": 0, "FLOAT": 0.0}.get(
        widget.type, widget.options[0] if widget.options else None
    )


def _uuid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"hunyuan-av/{name}"))


def write(graph: Graph, path: Path) -> None:
    path.write_text(json.dumps(graph.describe(path.stem), indent=1, ensure_ascii=False) + "\n")
