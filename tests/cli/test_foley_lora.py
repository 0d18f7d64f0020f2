"""`--lora`: what it adds to the transformer, and that nothing made without it passes for the same."""

import pytest
import soundfile
import torch
from pack.cli import main
from pack.cli.foley_models import FoleyModels, Lora
from pack.host.standalone.memory import Placement
from pack.model_loaders.foley import load_transformer
from pack.model_loaders.foley_folder import POCKET, find_foley
from pack.model_loaders.lora import LowRank, lora_tensors
from safetensors.torch import save_file

LAYER = "single_blocks.0.linear_qkv.weight"


@pytest.fixture(scope="module")
def weight() -> torch.Tensor:
    return load_transformer(find_foley(POCKET).transformer, torch.float32).state_dict()[LAYER]


@pytest.fixture
def addition(weight) -> LowRank:
    generator = torch.Generator().manual_seed(0)
    down = torch.randn(2, weight.shape[1], generator=generator)
    return LowRank(down=down, up=torch.randn(weight.shape[0], 2, generator=generator), scale=0.5)


@pytest.fixture
def file(tmp_path, addition):
    path = tmp_path / "door.safetensors"
    save_file(lora_tensors({LAYER: addition}), path)
    return path


def load(*loras: object) -> FoleyModels:
    return FoleyModels.load(None, None, Placement.choose("cpu", "float32"), loras=map(str, loras))


def test_loras_are_added_with_their_strengths(weight, addition, file):
    models = load(file, f"{file}:-0.25")
    changed = models.transformer.state_dict()[LAYER]
    torch.testing.assert_close(changed, weight + 0.75 * addition.delta(), rtol=0, atol=1e-4)
    assert models.origin.endswith("with door.safetensors at 1, with door.safetensors at -0.25")


def test_a_lora_counts_among_the_weights(addition, file):
    found = {load().fingerprint, load(file).fingerprint, load(f"{file}:0.5").fingerprint}
    save_file(lora_tensors({LAYER: LowRank(down=addition.down, up=-addition.up, scale=0.5)}), file)
    found.add(load(file).fingerprint)
    assert len(found) == 4


def test_a_lora_changes_the_sound(tmp_path, file):
    sounds = []
    for name, lora in {"without": [], "none": ["--lora", f"{file}:0"], "with": ["--lora", str(file)]}.items():
        out = tmp_path / f"{name}.wav"
        arguments = ["foley", "--seconds", "1", "--steps", "1", "--device", "cpu", "--out", str(out), *lora]
        assert main(arguments) == 0
        sounds.append(soundfile.read(out)[0])
    without, none, changed = sounds
    assert (without == none).all()
    assert (without != changed).any()


def test_a_colon_may_belong_to_the_files_name(tmp_path, file):
    path = file.rename(tmp_path / "a:door.safetensors")
    assert Lora.parse(str(path)) == Lora(path, 1.0)
    assert Lora.parse(f"{path}:2") == Lora(path, 2.0)


@pytest.mark.parametrize(
    ("lora", "message"),
    [("nowhere.safetensors:0.5", "nowhere.safetensors"), ("a.safetensors:inf", "is no number")],
)
def test_what_cannot_be_added_is_one_sentence(tmp_path, capsys, lora, message):
    out = tmp_path / "o.wav"
    assert main(["foley", "--seconds", "1", "--out", str(out), "--lora", str(tmp_path / lora)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not out.exists()
