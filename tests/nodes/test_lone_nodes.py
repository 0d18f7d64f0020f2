"""Output nodes with nothing to work on: refused before a run, as core refuses them, so that others run."""

import inspect

import pytest
from pack import nodes


def errors_of(node, connected: dict, widgets: dict) -> list[str]:
    """What core's validation has to say about a node: a message for each input that the check names.

    connected: links, of which nothing is known but that they are there. Nothing is said of inputs left out.
    """
    check = node.validate_inputs
    given = {**widgets, **dict.fromkeys(connected)}
    named = {name: given[name] for name in inspect.signature(check).parameters if name in given}
    answer = check(**named)
    return [] if answer is True else [f"{name} - {answer}" for name in named]


def widgets_of(node) -> dict:
    return {s.id: s.default for s in node.define_schema().inputs if getattr(s, "default", None) is not None}


@pytest.mark.parametrize(
    ("node", "connected", "message"),
    [
        (nodes.FaceMask, [], "connect Face Detect, or a mask"),
        (nodes.FaceMask, ["faces"], None),
        (nodes.FaceMask, ["mask"], None),
        (nodes.FoleySyncPlot, ["audio"], "connect a video, or images"),
        (nodes.FoleySyncPlot, ["audio", "video"], None),
        (nodes.FoleySyncPlot, ["audio", "images"], None),
    ],
)
def test_a_lone_output_node_is_refused_before_the_run(node, connected, message):
    errors = errors_of(node, connected, widgets_of(node))
    assert bool(errors) == (message is not None)
    assert all(message in error for error in errors)


def test_a_pick_that_is_none_is_still_refused():
    assert errors_of(nodes.FaceMask, ["faces"], {"pick": "smallest"})
    assert not errors_of(nodes.FaceMask, ["faces", "pick"], {})
