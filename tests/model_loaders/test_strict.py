"""Strict loading: every way in which tensors may not fit a network, and what dtype they come out in."""

from pathlib import Path

import pytest
import torch
from pack.model_loaders.checkpoint import Checkpoint, open_checkpoint
from pack.model_loaders.kinds import FileKind
from pack.model_loaders.strict import load_strict
from safetensors.torch import save_file
from torch import Tensor, nn

KIND = FileKind(what="a test network", prefix="first.", sample="first.weight", published="test.pth")


class Network(nn.Module):
    """Two layers, a saved buffer and one that follows from the configuration."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.second = nn.LayerNorm(4)
        self.register_buffer("places", torch.arange(5))
        self.register_buffer("table", torch.arange(3), persistent=False)


CONSTANTS = {"places": torch.arange(5), "table": torch.arange(3)}


def network() -> Network:
    with torch.device("meta"):
        return Network()


def weights() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {
        "first.weight": torch.randn(4, 3),
        "first.bias": torch.randn(4),
        "second.weight": torch.randn(4),
        "second.bias": torch.randn(4),
    }


def saved(folder: Path, tensors: dict[str, Tensor]) -> Checkpoint:
    save_file(tensors, folder / "weights.safetensors")
    return open_checkpoint(folder / "weights.safetensors")


def test_a_network_gets_exactly_the_files_values(tmp_path):
    loaded = load_strict(network(), saved(tmp_path, weights()), KIND, constants=CONSTANTS)
    for name, value in weights().items():
        assert torch.equal(loaded.state_dict()[name], value)
    assert loaded.places.tolist() == [0, 1, 2, 3, 4]
    assert loaded.table.tolist() == [0, 1, 2]
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_constants_in_the_file_are_not_believed(tmp_path):
    tensors = weights() | {"places": torch.zeros(9), "table": torch.zeros(2)}
    loaded = load_strict(network(), saved(tmp_path, tensors), KIND, constants=CONSTANTS)
    assert loaded.places.tolist() == [0, 1, 2, 3, 4]


def test_a_buffer_nobody_fills_is_an_error(tmp_path):
    with pytest.raises(RuntimeError, match=r"Network\.table has a value neither in the file nor of its own"):
        load_strict(network(), saved(tmp_path, weights()), KIND, constants={"places": torch.arange(5)})


def test_a_prefix_and_what_is_ignored_are_stated(tmp_path):
    tensors = {f"net.{name}": value for name, value in weights().items()} | {"other.weight": torch.zeros(2)}
    checkpoint = saved(tmp_path, tensors)
    loaded = load_strict(network(), checkpoint, KIND, prefix="net.", ignore=("other.",), constants=CONSTANTS)
    assert torch.equal(loaded.first.weight, weights()["first.weight"])
    with pytest.raises(ValueError, match=r"has no tensor named other\.weight"):
        load_strict(network(), checkpoint, KIND, prefix="net.", constants=CONSTANTS)


@pytest.mark.parametrize("name", weights())
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda tensors, name: tensors.pop(name), "{name}"),
        (
            lambda tensors, name: tensors.update({f"{name}.twin": tensors[name].clone()}),
            "no tensor named {name}.twin",
        ),
        (
            lambda tensors, name: tensors.update({name: torch.zeros(7)}),
            "tensor {name} is (7,), a test network",
        ),
        (
            lambda tensors, name: tensors.update({name: tensors[name].long()}),
            "tensor {name} is int64, expected float32",
        ),
        (
            lambda tensors, name: tensors.update({name: tensors[name].bool()}),
            "tensor {name} is bool, expected float32",
        ),
        (
            lambda tensors, name: tensors.update({name: tensors[name].double()}),
            "tensor {name} is float64, expected",
        ),
        (
            lambda tensors, name: tensors.update({name: tensors[name] * 1j}),
            "tensor {name} is complex64, expected",
        ),
    ],
    ids=["missing", "extra", "shape", "int64", "bool", "float64", "complex64"],
)
def test_what_does_not_fit_is_named(tmp_path, name, change, problem):
    tensors = weights()
    change(tensors, name)
    with pytest.raises(ValueError, match=r"^weights\.safetensors ") as caught:
        load_strict(network(), saved(tmp_path, tensors), KIND, constants=CONSTANTS)
    message = str(caught.value)
    assert problem.format(name=name) in message
    assert "\n" not in message


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("asked", [None, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_the_dtype_is_the_files_or_the_one_asked_for(tmp_path, stored, asked):
    tensors = {name: value.to(stored) for name, value in weights().items()}
    loaded = load_strict(network(), saved(tmp_path, tensors), KIND, dtype=asked, constants=CONSTANTS)
    assert {parameter.dtype for parameter in loaded.parameters()} == {asked or stored}
    assert loaded.places.dtype == torch.int64
    expected = tensors["first.weight"].to(asked or stored)
    assert torch.equal(loaded.first.weight.float(), expected.float())


@pytest.mark.parametrize("stored", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_8_bit_weights_become_bfloat16_unless_asked_for(tmp_path, stored):
    tensors = weights()
    tensors["first.weight"] = tensors["first.weight"].to(stored)
    checkpoint = saved(tmp_path, tensors)

    usual = load_strict(network(), checkpoint, KIND, constants=CONSTANTS)
    assert usual.first.weight.dtype == torch.bfloat16
    assert usual.first.bias.dtype == torch.float32
    assert torch.equal(usual.first.weight.float(), tensors["first.weight"].float())

    kept = load_strict(network(), checkpoint, KIND, dtype=stored, constants=CONSTANTS)
    assert {parameter.dtype for parameter in kept.parameters()} == {stored}


def test_a_value_outside_the_dtype_is_named(tmp_path):
    tensors = weights() | {"first.bias": torch.tensor([1.0, -70_000.0, 2.0, 3.0])}
    with pytest.raises(
        ValueError, match=r"first\.bias of weights\.safetensors reaches 70000, and float16 ends at"
    ):
        load_strict(network(), saved(tmp_path, tensors), KIND, dtype=torch.float16, constants=CONSTANTS)


def test_what_is_to_be_kept_stays_in_the_files_dtype(tmp_path):
    tensors = weights() | {"first.weight": weights()["first.weight"].to(torch.float8_e4m3fn)}
    loaded = load_strict(
        network(),
        saved(tmp_path, tensors),
        KIND,
        dtype=torch.float16,
        constants=CONSTANTS,
        keep={"first.weight"},
    )
    assert loaded.first.weight.dtype == torch.float8_e4m3fn
    assert loaded.first.bias.dtype == torch.float16


def test_a_renamed_checkpoint_reads_the_same_tensors(tmp_path):
    checkpoint = saved(tmp_path, {f"model.{name}": value for name, value in weights().items()})
    renamed = checkpoint.renamed(lambda name: name.removeprefix("model."))
    assert torch.equal(renamed["first.weight"], weights()["first.weight"])
    with pytest.raises(ValueError, match="holds a tensor under two names"):
        checkpoint.renamed(lambda _name: "same")
