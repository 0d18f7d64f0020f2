"""The files that loader nodes offer."""

import pytest
from pack.host.model_files import PACK, PLACES, ModelFiles
from pack.host.standalone import folder_paths


@pytest.fixture
def models(tmp_path, monkeypatch):
    """An empty models folder, and the files found in it."""
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    folders = {kind: ([str(tmp_path / kind)], set()) for kind in ("diffusion_models", "vae", "clip_vision")}
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", folders)
    return ModelFiles(folder_paths)


def put(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


def test_with_no_weights_at_all_the_pocket_file_is_proposed_and_there(models):
    for places in PLACES.values():
        assert (PACK / places.pocket).is_file()
    assert models.names("foley_model") == ["pocket/foley/transformer.safetensors"]
    assert models.path("foley_model", "pocket/foley/transformer.safetensors").is_file()


def test_a_file_with_the_published_name_is_proposed_and_the_rest_is_in_order(models, tmp_path):
    for name in (
        "diffusion_models/a.safetensors",
        "foley/hunyuanvideo_foley.pth",
        "foley/x/z.pth",
        "foley/readme.md",
    ):
        put(tmp_path / name)
    expected = ["hunyuanvideo_foley.pth", "a.safetensors", "x/z.pth", "pocket/foley/transformer.safetensors"]
    assert models.names("foley_model") == expected
    assert models.path("foley_model", "x/z.pth") == tmp_path / "foley" / "x" / "z.pth"


def test_packed_transformers_are_offered_and_no_other_packed_files(models, tmp_path):
    for name in ("foley/hunyuanvideo_foley_q8_0.gguf", "vae/vae_128d.gguf"):
        put(tmp_path / name)
    assert models.names("foley_model")[0] == "hunyuanvideo_foley_q8_0.gguf"
    assert models.names("foley_vae") == ["pocket/foley/audio_vae.safetensors"]


@pytest.mark.parametrize(
    "name", ["absent.pth", "../../secret.pth", "pocket/foley/clap/tokenizer.json", "/etc/hostname"]
)
def test_a_name_that_is_not_offered_is_not_found(models, tmp_path, name):
    put(tmp_path.parent / "secret.pth")
    with pytest.raises(FileNotFoundError, match=r"models/diffusion_models or models/foley"):
        models.path("foley_model", name)


def test_weights_beside_their_config_stand_for_the_folder(models, tmp_path):
    for name in (
        "siglip/model.safetensors",
        "siglip/config.json",
        "siglip/other.safetensors",
        "bare/model.safetensors",
    ):
        put(tmp_path / "clip_vision" / name)
    assert models.path("siglip", "siglip/model.safetensors") == tmp_path / "clip_vision" / "siglip"
    assert models.path("siglip", "siglip/other.safetensors").name == "other.safetensors"
    assert models.path("siglip", "bare/model.safetensors").name == "model.safetensors"


def test_of_weights_in_several_files_the_first_stands_for_the_folder(models, tmp_path):
    folder = tmp_path / "text_encoders" / "llava_llama_image"
    for i in range(1, 12):
        put(folder / f"model-{i:05}-of-00011.safetensors")
    put(folder / "config.json")
    folder_paths.folder_names_and_paths["text_encoders"] = ([str(tmp_path / "text_encoders")], set())
    first = "llava_llama_image/model-00001-of-00011.safetensors"
    assert models.names("llava") == [first, "pocket/avatar/llava/model.safetensors"]
    assert models.path("llava", first) == folder


def test_detectors_are_onnx_files_and_networks_are_not(models, tmp_path):
    for name in ("insightface/models/buffalo_l/det_10g.onnx", "insightface/weights.pth"):
        put(tmp_path / name)
    names = ["models/buffalo_l/det_10g.onnx", "pocket/avatar/face_detector.onnx"]
    assert models.names("face_detector") == names
