import shutil
from pathlib import Path

import pytest
from pack.model_loaders.foley_folder import POCKET, find_foley, find_synchformer


@pytest.fixture
def folder(tmp_path) -> Path:
    return shutil.copytree(POCKET, tmp_path / "weights")


def test_parts_are_recognised_whatever_they_are_called(folder):
    (folder / "transformer.safetensors").rename(folder / "a.safetensors")
    (folder / "deep").mkdir()
    (folder / "audio_vae.safetensors").rename(folder / "deep" / "b.safetensors")
    files = find_foley(folder)
    assert files.transformer == folder / "a.safetensors"
    assert files.audio_vae == folder / "deep" / "b.safetensors"
    assert files.text_encoder == folder / "clap"
    assert find_synchformer(folder) == folder / "synchformer.safetensors"


def test_a_missing_part_is_named_with_its_published_file(folder):
    (folder / "audio_vae.safetensors").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"is a Foley audio VAE\. The published one is vae_128d_48k\.pth"
    ):
        find_foley(folder)


def test_a_damaged_part_is_missing_and_says_why(folder):
    (folder / "audio_vae.safetensors").write_bytes(b"{}")
    with pytest.raises(FileNotFoundError, match=r"is a Foley audio VAE.* audio_vae\.safetensors"):
        find_foley(folder)


def test_a_file_of_something_else_does_not_matter(folder):
    (folder / "training.bin").write_bytes(b"not a checkpoint")
    assert find_foley(folder).transformer.name == "transformer.safetensors"


def test_a_part_found_twice_asks_for_a_choice(folder):
    shutil.copy(folder / "transformer.safetensors", folder / "again.safetensors")
    with pytest.raises(
        ValueError, match=r"more than once \(again\.safetensors, transformer\.safetensors\): choose"
    ):
        find_foley(folder)


def test_one_encoder_in_two_formats_is_one(folder):
    shutil.copy(folder / "clap" / "model.safetensors", folder / "clap" / "pytorch_model.safetensors")
    assert find_foley(folder).text_encoder == folder / "clap"


def test_a_size_that_is_not_there_is_named(folder):
    with pytest.raises(FileNotFoundError, match="a Foley transformer of size XXL"):
        find_foley(folder, "xxl")


def test_other_files_have_another_fingerprint(folder):
    before = find_foley(folder).fingerprint
    (folder / "audio_vae.safetensors").touch()
    assert find_foley(folder).fingerprint != before
