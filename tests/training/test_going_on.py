"""The transformer that is shipped can be trained further, by the commands in docs/pocket.md."""

import json
import sys

import pytest
import torch
from pack.model_loaders.encoders import load_text_encoder
from pack.model_loaders.foley import load_transformer
from pack.model_loaders.foley_folder import POCKET, find_foley
from pack.training import features, generated, outline, transformer
from pack.training.loop import trained_weights
from safetensors.torch import load_file

SHIPPED = POCKET / "transformer.safetensors"


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    """Features of a clip of each split, by the shipped encoders."""
    folder = tmp_path_factory.mktemp("features")
    encoders = features.Encoders.shipped()
    for split in ("train", "held-out"):
        features.build(folder, encoders, split, 7, 1, tuple(features.PARTS))
    return folder


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["transformer", *map(str, arguments)])
    transformer.main()


def test_it_goes_on_from_what_is_shipped(cached, tmp_path, monkeypatch):
    monkeypatch.setattr(transformer, "HELD_OUT_BATCHES", 4)
    run(
        monkeypatch, "--features", cached, "--out", tmp_path, "--begin", SHIPPED,
        "--repa", 0, "--steps", 1, "--tokens", 400, "--rate", 0.5,
    )  # fmt: skip
    reached, shipped = transformer.trained(tmp_path).state_dict(), load_file(SHIPPED)
    differences = [(reached[name] - tensor.float()).abs().max() for name, tensor in shipped.items()]
    assert 0 < float(max(differences)) < 0.01
    assert json.loads((tmp_path / "held_out.json").read_text())["held_out_velocity"] < 0.15
    alone = trained_weights(tmp_path / transformer.HEADS)
    assert all(torch.equal(alone[f"transformer.{name}"], tensor.float()) for name, tensor in shipped.items())
    assert any(name.startswith("clock.") for name in alone)


@pytest.mark.parametrize("dubbed", [0, 1])
def test_generated_latents_lie_beside_the_sound_that_was_to_be_made(cached, tmp_path, monkeypatch, dubbed):
    monkeypatch.setattr(generated, "DUBBED", float(dubbed))
    text = load_text_encoder(find_foley(POCKET, None).text_encoder)
    seen = features.Features(cached, text)
    network = load_transformer(SHIPPED, torch.float32)
    monkeypatch.setattr(generated, "STEPS", 2)
    generated.build(tmp_path, network, seen, 0, 1)
    (path,) = tmp_path.iterdir()
    kept = load_file(path)
    assert kept["made"].shape == kept["latents"].shape
    assert torch.equal(kept["latents"][0], seen.tables["latents"][0, dubbed])
    # The first two latents, and the last, know what is heard before and after.
    shown = outline.outline_latents(kept["waveform"].float())[..., 2:-1]
    torch.testing.assert_close(
        shown, kept["latents"][:, -outline.CHANNELS :, 2:-1].float(), atol=0.02, rtol=0.02
    )

    written = path.stat().st_mtime_ns
    generated.build(tmp_path, network, seen, 0, 1)
    assert path.stat().st_mtime_ns == written  # what is there is kept


def test_without_a_teacher_nothing_can_be_aligned(cached, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="--repa 0"):
        run(monkeypatch, "--features", cached, "--out", tmp_path, "--begin", SHIPPED)


def test_the_encoders_runs_and_the_clips_go_together(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["features", "--out", str(tmp_path), "--runs", str(tmp_path)])
    with pytest.raises(SystemExit):
        features.main()
    assert "--runs and --rendered go together" in capsys.readouterr().err
