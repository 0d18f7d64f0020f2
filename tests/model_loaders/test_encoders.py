"""The encoders from folders and files as they are published, with the goldens' tiny weights."""

import json
import logging
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pack.model_loaders.encoders import load_text_encoder, load_visual_encoder
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn

SIGLIP_CONFIG = {  # as published: the tower nested, and sparse
    "model_type": "siglip",
    "architectures": ["SiglipModel"],
    "text_config": {"hidden_size": 768, "model_type": "siglip_text_model", "num_attention_heads": 12},
    "vision_config": {
        "image_size": 64,
        "model_type": "siglip_vision_model",
        "num_attention_heads": 4,
        "torch_dtype": "float32",
    },
}
CLAP_CONFIG = {
    "model_type": "clap",
    "audio_config": {"num_attention_heads": [4, 8, 16, 32], "hidden_size": 768},
    "text_config": {"model_type": "clap_text_model", "num_attention_heads": 4, "pad_token_id": 1},
}


class Golden:
    """Weights in their published names, inputs and outputs of one of the recorded encoders."""

    def __init__(self, folder: Path, name: str) -> None:
        tensors = load_file(folder / "foley" / f"{name}.safetensors")
        self.tensors = {n: t for n, t in tensors.items() if not n.startswith("weights.")}
        self.weights = {n.removeprefix("weights."): t for n, t in tensors.items() if n.startswith("weights.")}
        self.tolerance = json.loads((folder / "foley" / f"{name}.json").read_text())["suggested_tolerance"]

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[f"case0.{name}"]


@pytest.fixture(scope="module")
def siglip(goldens) -> Golden:
    return Golden(goldens, "siglip_a")


@pytest.fixture(scope="module")
def clap(goldens) -> Golden:
    return Golden(goldens, "clap_a")


def whole_siglip(siglip: Golden) -> dict[str, Tensor]:
    text = {f"text_model.encoder.layers.{i}.mlp.fc1.weight": torch.zeros(4, 4) for i in range(2)}
    return siglip.weights | text | {"logit_scale": torch.zeros(1), "logit_bias": torch.zeros(1)}


def whole_clap(clap: Golden) -> dict[str, Tensor]:
    audio = {
        "audio_model.audio_encoder.norm.weight": torch.zeros(4),
        "audio_projection.linear1.bias": torch.zeros(4),
    }
    return clap.weights | audio | {"logit_scale_a": torch.tensor(1.0), "logit_scale_t": torch.tensor(1.0)}


def tokenizer_of(size: int) -> Tokenizer:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())[: size - 4]
    vocabulary = {token: i for i, token in enumerate(("<s>", "<pad>", "</s>", "<unk>", *letters))}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    tokenizer.add_special_tokens([AddedToken(token) for token in ("<s>", "<pad>", "</s>", "<unk>")])
    return tokenizer


def folder(
    path: Path, weights: dict[str, Tensor], config: dict | None, name: str = "model.safetensors"
) -> Path:
    path.mkdir(exist_ok=True)
    if name.endswith(".bin"):
        torch.save(weights, path / name)
    else:
        save_file(weights, path / name)
    if config is not None:
        (path / "config.json").write_text(json.dumps(config))
    return path


def text_folder(
    path: Path, weights: dict[str, Tensor], config: dict | None = CLAP_CONFIG, **how: str
) -> Path:
    folder(path, weights, config, **how)
    tokenizer_of(120).save(str(path / "tokenizer.json"))
    return path


@torch.no_grad()
def assert_sees(encoder: nn.Module, siglip: Golden) -> None:
    features = encoder(siglip["in.pixel_values"])
    torch.testing.assert_close(features, siglip["out.image_features"], **siglip.tolerance)


@torch.no_grad()
def assert_reads(encoder: nn.Module, clap: Golden) -> None:
    states = encoder(clap["in.input_ids"], clap["in.attention_mask"])
    torch.testing.assert_close(states, clap["out.last_hidden_state"], **clap.tolerance)


def refusal(load: Callable[[Path], nn.Module], path: Path, error: type[Exception] = ValueError) -> str:
    with pytest.raises(error) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- SigLIP


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("whole", [False, True])
def test_a_siglip_folder_gives_the_published_features(tmp_path, siglip, name, whole):
    weights = whole_siglip(siglip) if whole else siglip.weights
    config = SIGLIP_CONFIG if whole else SIGLIP_CONFIG["vision_config"]
    encoder = load_visual_encoder(folder(tmp_path, weights, config, name=name))
    assert encoder.image_size == 64
    assert not encoder.training
    assert not any(p.requires_grad for p in encoder.parameters())
    assert_sees(encoder, siglip)


@pytest.mark.parametrize("metadata", [{"num_attention_heads": "4"}, {"config": '{"num_heads": 4}'}])
def test_a_siglip_file_tells_its_sizes(tmp_path, siglip, metadata):
    save_file(siglip.weights, tmp_path / "siglip.safetensors", metadata=metadata)
    assert_sees(load_visual_encoder(tmp_path / "siglip.safetensors"), siglip)


def test_position_ids_in_a_siglip_file_are_not_needed_and_not_believed(tmp_path, siglip):
    weights = siglip.weights | {"vision_model.embeddings.position_ids": torch.zeros(1, 16, dtype=torch.int64)}
    assert_sees(load_visual_encoder(folder(tmp_path, weights, SIGLIP_CONFIG)), siglip)


def test_an_encoder_has_the_dtype_asked_for(tmp_path, siglip):
    encoder = load_visual_encoder(folder(tmp_path, siglip.weights, SIGLIP_CONFIG), torch.bfloat16)
    assert {p.dtype for p in encoder.parameters()} == {torch.bfloat16}
    with torch.no_grad():
        features = encoder(siglip["in.pixel_values"]).float()
    assert (features - siglip["out.image_features"]).norm() < 0.03 * siglip["out.image_features"].norm()


def test_the_number_of_heads_is_published_as_64_wide(tmp_path):
    from pack.hunyuan.foley.visual_encoder import VisualEncoder
    from transformers import SiglipVisionConfig, SiglipVisionModel

    config = SiglipVisionConfig(
        hidden_size=128,
        intermediate_size=64,
        num_attention_heads=2,
        num_hidden_layers=1,
        image_size=32,
        patch_size=8,
    )
    save_file(VisualEncoder(SiglipVisionModel(config)).state_dict(), tmp_path / "siglip.safetensors")
    loaded = load_visual_encoder(tmp_path / "siglip.safetensors")
    assert loaded.vision_model.config.num_attention_heads == 2
    assert loaded.image_size == 32


# --- CLAP


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("whole", [False, True])
def test_a_clap_folder_gives_the_published_states(tmp_path, clap, name, whole):
    weights = whole_clap(clap) if whole else clap.weights
    config = CLAP_CONFIG if whole else CLAP_CONFIG["text_config"]
    encoder = load_text_encoder(text_folder(tmp_path, weights, config, name=name))
    assert_reads(encoder, clap)
    negative, positive = encoder.encode("noisy", "rain")
    assert negative.shape == positive.shape == (1, 7, 48)


def test_constant_ids_in_a_clap_file_are_not_needed_and_not_believed(tmp_path, clap):
    ids = {f"text_model.embeddings.{n}_ids": torch.full((1, 40), 9) for n in ("position", "token_type")}
    encoder = load_text_encoder(text_folder(tmp_path, clap.weights | ids))
    assert_reads(encoder, clap)
    assert encoder.text_model.embeddings.position_ids.tolist() == [list(range(40))]
    assert encoder.text_model.embeddings.token_type_ids.tolist() == [[0] * 40]


def test_a_clap_file_finds_a_tokenizer_beside_it_or_where_it_is_told(tmp_path, clap):
    save_file(clap.weights, tmp_path / "clap.safetensors", metadata={"num_heads": "4"})
    assert "No tokenizer in" in refusal(load_text_encoder, tmp_path / "clap.safetensors", FileNotFoundError)

    elsewhere = tmp_path / "words.json"
    tokenizer_of(120).save(str(elsewhere))
    assert_reads(load_text_encoder(tmp_path / "clap.safetensors", tokenizer=elsewhere), clap)

    elsewhere.rename(tmp_path / "tokenizer.json")
    assert_reads(load_text_encoder(tmp_path / "clap.safetensors"), clap)


def test_a_tokenizer_with_more_tokens_than_the_network_is_refused(tmp_path, clap):
    path = text_folder(tmp_path, clap.weights)
    tokenizer_of(130).save(str(tmp_path / "tokenizer.json"))
    assert "its tokenizer knows token 129, the network 120 tokens" in refusal(load_text_encoder, path)


# --- both


def test_nothing_goes_over_the_network(tmp_path, siglip, clap, monkeypatch):
    def no_network(*_args: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    load_visual_encoder(folder(tmp_path / "siglip", siglip.weights, SIGLIP_CONFIG))
    load_text_encoder(text_folder(tmp_path / "clap", clap.weights))


def test_a_wrong_file_is_sent_to_its_loader(tmp_path, siglip, clap):
    seen, read = (
        folder(tmp_path / "siglip", whole_siglip(siglip), None),
        text_folder(tmp_path / "clap", clap.weights),
    )
    assert "Choose it in the Foley Text Encoder Loader." in refusal(load_visual_encoder, read)
    assert "Choose it in the Foley Video Encoder Loader" in refusal(load_text_encoder, seen)


@pytest.mark.parametrize("load", [load_visual_encoder, load_text_encoder])
def test_a_folder_without_weights_is_named(tmp_path, load):
    assert "expected model.safetensors or pytorch_model.bin" in refusal(load, tmp_path, FileNotFoundError)


def test_each_fault_of_a_tensor_is_named(tmp_path, siglip, clap):
    for load, golden, config, ignored in (
        (load_visual_encoder, siglip, SIGLIP_CONFIG, "logit_"),
        (load_text_encoder, clap, CLAP_CONFIG, ("text_projection.", "text_model.pooler.")),
    ):
        for name in [n for n in golden.weights if not n.startswith(ignored)]:
            path = text_folder(tmp_path, {n: t for n, t in golden.weights.items() if n != name}, config)
            assert name in refusal(load, path)
        path = text_folder(tmp_path, golden.weights | {name: golden.weights[name].long()}, config)
        assert f"{name} is int64" in refusal(load, path)
        path = text_folder(tmp_path, golden.weights | {name: torch.zeros(3, 1, 4)}, config)
        assert f"{name} is (3, 1, 4)" in refusal(load, path)
        path = text_folder(tmp_path, golden.weights | {"another.weight": torch.zeros(1)}, config)
        assert "another.weight" in refusal(load, path)


@pytest.mark.parametrize(
    "config",
    ["{", "[]", '{"vision_config": 3, "text_config": 3}', '{"num_attention_heads": "4"}', '{"hidden_act": 1}',
     '{"layer_norm_eps": true}', '{"num_attention_heads": 7}', '{"num_attention_heads": 0}'],
)  # fmt: skip
def test_a_config_that_cannot_be_is_refused(tmp_path, siglip, clap, config):
    for load, golden in ((load_visual_encoder, siglip), (load_text_encoder, clap)):
        path = text_folder(tmp_path, golden.weights)
        (path / "config.json").write_text(config)
        refusal(load, path)


def test_loading_logs_nothing(tmp_path, siglip, clap, caplog):
    with caplog.at_level(logging.INFO):
        load_visual_encoder(folder(tmp_path / "siglip", siglip.weights, SIGLIP_CONFIG))
        load_text_encoder(text_folder(tmp_path / "clap", clap.weights))
    assert not caplog.records
