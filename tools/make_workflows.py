"""Writes the shipped workflows: workflows/*.json, and the blueprint in subgraphs/.

python tools/make_workflows.py
"""

import sys

import _pack
import blueprint
import workflows_avatar
import workflows_foley
from node_types import ours, recorded
from workflow_graph import Graph, write

WORKFLOWS, BLUEPRINTS = _pack.ROOT / "workflows", _pack.ROOT / "subgraphs"


def graphs() -> dict[str, Graph]:
    """Every workflow by its file's name."""
    kinds = {**recorded(), **ours()}
    made = {}
    for name, build in {**workflows_foley.WORKFLOWS, **workflows_avatar.WORKFLOWS}.items():
        made[name] = Graph(kinds)
        build(made[name])
    return made


def blueprints() -> list[blueprint.Blueprint]:
    """What ComfyUI's node library offers as one node each."""
    return [build({**recorded(), **ours()}) for build in workflows_foley.BLUEPRINTS]


def main() -> int:
    for name, graph in graphs().items():
        write(graph, WORKFLOWS / f"{name}.json")
        print(f"{name}: {len(graph.nodes)} nodes")
    for made in blueprints():
        blueprint.write(made, BLUEPRINTS)
        print(f"{made.name}: a blueprint")
    return 0


if __name__ == "__main__":
    sys.exit(main())
