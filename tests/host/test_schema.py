"""The schema stand-in records what a node says, and nothing else."""

import pytest
from pack.host.standalone import schema as io


def test_a_schema_keeps_what_it_is_given():
    schema = io.Schema(
        node_id="Id",
        display_name="Title",
        inputs=[io.Float.Input("cfg", default=4.5, min=0.0, max=20.0, tooltip="how far")],
        outputs=[io.Latent.Output(display_name="latent")],
        search_aliases=["sound"],
    )
    assert (schema.node_id, schema.display_name, schema.search_aliases) == ("Id", "Title", ["sound"])
    assert (schema.inputs[0].id, schema.inputs[0].default, schema.inputs[0].tooltip) == (
        "cfg",
        4.5,
        "how far",
    )
    assert (schema.outputs[0].display_name, schema.outputs[0].io_type) == ("latent", "LATENT")
    assert (schema.is_output_node, schema.hidden, schema.description) == (False, [], "")


@pytest.mark.parametrize(
    "make",
    [
        lambda: io.Schema(node_id="Id", colour="red"),
        lambda: io.Schema(node_id="Id", essentials_category="newer hosts alone know this"),
        lambda: io.Int.Input("seed", gradient_stops=[]),
        lambda: io.Combo.Input("file", options=[], force_input=True),
        lambda: io.Image.Input("images", default=0),
        lambda: io.Model.Output(optional=True),
        lambda: io.NodeOutput(1, colour="red"),
    ],
)
def test_an_unknown_keyword_raises_as_it_would_in_comfyui(make):
    with pytest.raises(TypeError, match="unexpected keyword"):
        make()


def test_sockets_know_their_type_and_share_nothing():
    mine, yours = io.Custom("HYAV_MINE"), io.Custom("HYAV_YOURS")
    assert (mine.io_type, mine.Input("x").io_type, mine.Output().io_type) == ("HYAV_MINE",) * 3
    assert yours.Input("x").io_type == "HYAV_YOURS"
    assert io.Input("x").io_type == io.Output().io_type == ""
    assert isinstance(io.Int.Input("n"), io.WidgetInput)
    assert not isinstance(io.Mask.Input("m"), io.WidgetInput)


def test_a_node_output_is_read_by_position():
    output = io.NodeOutput("first", "second", ui={"text": ["done"]})
    assert (output[0], output[1], output.result, output.ui) == (
        "first",
        "second",
        output.args,
        {"text": ["done"]},
    )
    assert io.NodeOutput().result is None
