"""Writes a graph as a subgraph blueprint: one node in ComfyUI's library that holds the whole graph."""

import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from node_types import Input, NodeType
from workflow_graph import Graph, Node, Output, describe_node, describe_note

ENTRY, EXIT = -10, -20  # the frontend's ids for a subgraph's two ends


class Blueprint:
    """A graph between an entry and an exit.

    inputs: sockets of the node, (name, type) each. promoted: (inner node, widget), shown on the node itself.
    """

    def __init__(
        self, name: str, description: str, kinds: Mapping[str, NodeType], inputs: Sequence[tuple[str, str]]
    ) -> None:
        self.name, self.description, self.graph = name, description, Graph(kinds)
        self.entry = Node(ENTRY, NodeType("entry", "", (), tuple(inputs)), {}, {}, "", 120, False)
        self.exit: dict[str, Output] = {}
        self.promoted: list[tuple[Node, str]] = []

    def describe(self) -> dict[str, Any]:
        groups = self.graph.lay_out()
        outer_id, links = self._id("definition"), self._links()
        entry, leave = self._ends(links)
        body = {
            "id": outer_id, "version": 1, "revision": 0, "config": {}, "name": self.name,
            "description": self.description, "category": "Hunyuan AV/Foley",
            "state": {
                "lastGroupId": len(groups), "lastNodeId": self.graph.last, "lastLinkId": len(links),
                "lastRerouteId": 0,
            },
            "inputNode": {"id": ENTRY, "bounding": [-260, 0, 120, 40 + 20 * len(entry)]},
            "outputNode": {"id": EXIT, "bounding": [self._right(), 0, 120, 40 + 20 * len(leave)]},
            "inputs": entry, "outputs": leave, "widgets": [], "nodes": self._members(links),
            "groups": groups, "links": [_as_object(link) for link in links], "extra": {},
        }  # fmt: skip
        return {
            "id": self._id("file"), "revision": 0, "last_node_id": 1, "last_link_id": 0,
            "nodes": [self._outer(outer_id)], "links": [], "groups": [],
            "definitions": {"subgraphs": [body]}, "config": {}, "extra": {}, "version": 0.4,
        }  # fmt: skip

    def _links(self) -> list[list[Any]]:
        links = self.graph.links()
        for slot, output in enumerate(self.exit.values()):
            links.append([len(links) + 1, output.node.id, output.slot, EXIT, slot, output.type])
        return links

    def _ends(self, links: list[list[Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        entry = [
            self._end("in", name, of, [link[0] for link in links if link[1:3] == [ENTRY, slot]], -150, slot)
            for slot, (name, of) in enumerate(self.entry.kind.outputs)
        ]
        leave = [
            self._end("out", name, output.type, [link[0] for link in links if link[3:5] == [EXIT, slot]],
                      self._right() + 20, slot)
            for slot, (name, output) in enumerate(self.exit.items())
        ]  # fmt: skip
        return entry, leave

    def _end(self, side: str, name: str, of: str, links: list[int], x: float, slot: int) -> dict[str, Any]:
        place = [x, 20 + 20 * slot]
        return {"id": self._id(f"{side}/{name}"), "name": name, "type": of, "linkIds": links, "pos": place}

    def _members(self, links: list[list[Any]]) -> list[dict[str, Any]]:
        ordered = [member for column in self.graph.columns for member in column.members]
        return [
            describe_node(m, order, links) if isinstance(m, Node) else describe_note(m, order)
            for order, m in enumerate(ordered)
        ]

    def _outer(self, outer_id: str) -> dict[str, Any]:
        kind = NodeType(
            outer_id,
            self.name,
            tuple(Input(name, of) for name, of in self.entry.kind.outputs),
            tuple((name, output.type) for name, output in self.exit.items()),
        )
        described = describe_node(Node(1, kind, {}, {}, self.name, 400, False), 0, [])
        described["properties"] = {
            "proxyWidgets": [[str(node.id), widget] for node, widget in self.promoted],
            "cnr_id": "hunyuan-av",
        }
        return described | {"title": self.name, "size": [400, 480]}

    def _right(self) -> float:
        return max(m.place[0] + m.width for column in self.graph.columns for m in column.members) + 160

    def _id(self, part: str) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"hunyuan-av/subgraph/{self.name}/{part}"))


def _as_object(link: list[Any]) -> dict[str, Any]:
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    return dict(zip(names, link, strict=True))


def write(blueprint: Blueprint, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    text = json.dumps(blueprint.describe(), indent=1, ensure_ascii=False)
    (folder / f"{blueprint.name}.json").write_text(text + "\n", encoding="utf-8")
