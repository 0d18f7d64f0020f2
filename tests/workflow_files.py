"""A workflow file read strictly: what ComfyUI's frontend would make of it, or every fault it has."""

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

NOTES = {"Note", "MarkdownNote"}
NUMBERS = {"INT": int, "FLOAT": (int, float), "STRING": str, "BOOLEAN": bool}


def prompt_of(workflow: Mapping[str, Any], kinds: Mapping[str, Any]) -> dict[str, Any]:
    """The prompt that the frontend queues. kinds: `NodeType` by id. Raises ValueError listing all faults."""
    if found := list(faults(workflow, kinds)):
        raise ValueError("\n".join(found))
    sources = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt = {}
    muted = {str(node["id"]) for node in nodes_of(workflow) if node["mode"]}
    for node in nodes_of(workflow):
        if node["mode"]:
            continue
        inputs = dict(widget_values(node, kinds[node["type"]]))
        fed = {slot["name"]: sources[slot["link"]] for slot in node["inputs"] if slot.get("link") is not None}
        inputs |= {name: source for name, source in fed.items() if source[0] not in muted}
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


def nodes_of(workflow: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [node for node in workflow["nodes"] if node["type"] not in NOTES]


def widget_values(node: Mapping[str, Any], kind: Any) -> Iterator[tuple[str, Any]]:
    """(id, value) in the order of the file, which may end before optional ones. After a seed comes a word of
    the frontend's own."""
    values = iter(node["widgets_values"])
    for widget in kind.widgets:
        value = next(values, None)
        if value is not None or not widget.optional:
            yield widget.id, value
        if widget.control:
            next(values, None)


def faults(workflow: Mapping[str, Any], kinds: Mapping[str, Any]) -> Iterator[str]:
    known = [node for node in nodes_of(workflow) if node["type"] in kinds]
    for node in nodes_of(workflow):
        if node["type"] not in kinds:
            yield f"node {node['id']}: there is no {node['type']}"
    by_id = {node["id"]: node for node in known}
    for node in known:
        yield from _socket_faults(node, kinds[node["type"]])
        yield from _widget_faults(node, kinds[node["type"]])
    for link in workflow["links"]:
        yield from _link_faults(link, by_id)
    numbers = {link[0] for link in workflow["links"]}
    for node in known:
        for slot in node["inputs"]:
            if slot.get("link") is not None and slot["link"] not in numbers:
                yield f"node {node['id']} ({node['type']}): {slot['name']} names a link that is missing"
    if not any(kinds[node["type"]].is_output for node in known):
        yield "no node saves or shows anything"


def _socket_faults(node: Mapping[str, Any], kind: Any) -> Iterator[str]:
    where = f"node {node['id']} ({kind.id})"
    types = {given.id: given.type for given in kind.inputs}
    for slot in node["inputs"]:
        if types.get(slot["name"]) != slot["type"]:
            yield f"{where}: no input {slot['name']} of type {slot['type']}"
    for output, known in zip_longest(node["outputs"], kind.outputs):
        # An older ComfyUI may lack outputs that nothing is connected to.
        if known != (output and (output["name"], output["type"])) and (known or output["links"]):
            yield f"{where}: its outputs are {kind.outputs}"
    linked = {slot["name"] for slot in node["inputs"] if slot.get("link") is not None}
    for given in kind.sockets:
        if not given.optional and given.id not in linked:
            yield f"{where}: nothing is connected to {given.id}"


def _widget_faults(node: Mapping[str, Any], kind: Any) -> Iterator[str]:
    where = f"node {node['id']} ({kind.id})"
    most = sum(1 + widget.control for widget in kind.widgets)
    least = sum(1 + widget.control for widget in kind.widgets if not widget.optional)
    if not least <= len(node["widgets_values"]) <= most:
        yield f"{where}: {len(node['widgets_values'])} values for {most} widgets"
    widgets = {widget.id: widget for widget in kind.widgets}
    for name, value in widget_values(node, kind):
        widget = widgets[name]
        if widget.options and value not in widget.options:
            yield f"{where}: {name} is {value!r}, not one of {widget.options}"
        if not isinstance(value, NUMBERS.get(widget.type, str)):
            yield f"{where}: {name} is {value!r}, no {widget.type}"
        elif widget.type in ("INT", "FLOAT") and not (
            (widget.minimum is None or value >= widget.minimum)
            and (widget.maximum is None or value <= widget.maximum)
        ):
            yield f"{where}: {name} is {value}, outside {widget.minimum} to {widget.maximum}"


def _link_faults(link: list[Any], nodes: Mapping[int, Mapping[str, Any]]) -> Iterator[str]:
    number, source, source_slot, target, target_slot, of = link
    if source not in nodes or target not in nodes:
        yield f"link {number}: one of its nodes is missing"
        return
    outputs, inputs = nodes[source]["outputs"], nodes[target]["inputs"]
    if source_slot >= len(outputs) or target_slot >= len(inputs):
        yield f"link {number}: one of its slots is missing"
        return
    output, given = outputs[source_slot], inputs[target_slot]
    if number not in output["links"] or given["link"] != number:
        yield f"link {number}: its ends do not name it"
    if "*" not in (of, given["type"]) and not output["type"] == of == given["type"]:
        yield f"link {number}: {output['type']} into {given['type']}"
