import shutil
import sys
from pathlib import Path

import pytest
import torch
from pack.model_loaders.avatar_folder import POCKET, find_avatar
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from make_pocket_avatar import write_networks


@pytest.fixture
def folder(tmp_path) -> Path:
    return shutil.copytree(POCKET, tmp_path / "weights")


def test_parts_are_recognised_whatever_they_are_called(folder):
    (folder / "transformer.safetensors").rename(folder / "a.safetensors")
    (folder / "llava").rename(folder / "b")
    (folder / "face_detector.onnx").rename(folder / "b" / "c.onnx")
    files = find_avatar(folder)
    assert files.transformer == folder / "a.safetensors"
    assert files.llava == folder / "b"
    assert files.face_detector == folder / "b" / "c.onnx"
    assert (files.clip, files.whisper) == (folder / "clip", folder / "whisper")


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ("transformer.safetensors", r"is a HunyuanVideo-Avatar transformer\. .* mp_rank_00_model_states\.pt"),
        ("video_vae.safetensors", r"is a HunyuanVideo VAE\. The published one is vae/pytorch_model\.pt"),
        ("llava/model.safetensors", r"is a LLaVA-Llama-3 model\. The published one is llava_llama_image"),
        ("clip/model.safetensors", r"is a CLIP text encoder\. The published one is text_encoder_2"),
        ("whisper/model.safetensors", r"is a Whisper speech encoder\. The published one is whisper-tiny"),
    ],
)
def test_a_missing_part_is_named_with_its_published_file(folder, part, sentence):
    (folder / part).unlink()
    with pytest.raises(FileNotFoundError, match=sentence):
        find_avatar(folder)


def test_a_detector_need_not_be_there(folder):
    (folder / "face_detector.onnx").unlink()
    assert find_avatar(folder).face_detector is None


def test_of_two_forms_of_the_transformer_one_is_chosen(folder):
    full, narrow = folder / "transformer.safetensors", folder / "transformer_fp8.safetensors"
    tensors = load_file(full)
    name = "double_blocks.0.img_mod.linear.weight"
    save_file(tensors | {name: tensors[name].to(torch.float8_e4m3fn)}, narrow)
    with pytest.raises(ValueError, match=r"more than once .*: choose with --form"):
        find_avatar(folder)
    assert find_avatar(folder, "full").transformer == full
    assert find_avatar(folder, "fp8").transformer == narrow


def test_other_files_have_another_fingerprint(folder):
    before = find_avatar(folder).fingerprint
    (folder / "clip" / "model.safetensors").touch()
    assert find_avatar(folder).fingerprint != before


def test_the_pocket_weights_are_what_their_maker_writes(tmp_path):
    """So that whoever changes a network finds the files made anew with it."""
    write_networks(tmp_path)
    for path in tmp_path.rglob("*.safetensors"):
        made, kept = load_file(path), load_file(POCKET / path.relative_to(tmp_path))
        assert made.keys() == kept.keys()
        for name, value in kept.items():
            assert torch.equal(made[name], value), name
    for path in tmp_path.rglob("*.json"):
        assert path.read_text() == (POCKET / path.relative_to(tmp_path)).read_text()
