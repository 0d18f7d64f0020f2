"""LLaVA, CLIP-L and Whisper as transformers writes them, read back without transformers' loaders."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from pack.hunyuan.avatar.prompt_text import HEAD_TOKENS
from pack.model_loaders import avatar_encoders
from pack.model_loaders.avatar_encoders import (
    load_clip_text,
    load_llava,
    load_speech_encoder,
    load_text_encoder,
)
from pack.model_loaders.avatar_folder import POCKET
from pack.model_loaders.checkpoint import open_checkpoint
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    LlavaConfig,
    LlavaForConditionalGeneration,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

VISION = {
    "model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 3,
    "num_attention_heads": 2, "image_size": 28, "patch_size": 14, "projection_dim": 8,
}  # fmt: skip
LLAMA = {
    "model_type": "llama", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 4,
    "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 300, "rms_norm_eps": 1e-5,
    "rope_theta": 10_000.0,
}  # fmt: skip
CLIP_TEXT = {
    "vocab_size": 258, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2,
    "num_attention_heads": 2, "bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 257,
}  # fmt: skip
WHISPER = {
    "d_model": 8, "encoder_layers": 4, "encoder_attention_heads": 2, "encoder_ffn_dim": 8,
    "decoder_layers": 1,
    "decoder_attention_heads": 2, "decoder_ffn_dim": 8, "vocab_size": 8, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2, "decoder_start_token_id": 3,
}  # fmt: skip
IMAGE_TOKEN = 257


def randomised(model):
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def llava_model():
    config = LlavaConfig(vision_config=VISION, text_config=LLAMA, image_token_index=IMAGE_TOKEN)
    return randomised(LlavaForConditionalGeneration(config))


@pytest.fixture(scope="module")
def llava_folder(tmp_path_factory, llava_model) -> Path:
    folder = tmp_path_factory.mktemp("llava")
    llava_model.save_pretrained(folder, max_shard_size="16KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    return folder


def published_names(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder under transformers 4's names."""
    tensors = {}
    for shard in folder.glob("*.safetensors"):
        tensors |= load_file(shard)
    return {avatar_encoders.published_llava_name(name): value for name, value in tensors.items()}


def newest_names(tensors):
    """As transformers 5 calls them while they are in a module."""
    return {
        f"model.{n}".replace("vision_model.", "").replace("language_model.model.", "language_model.")
        if "lm_head" not in n
        else n.replace("language_model.", ""): t
        for n, t in tensors.items()
    }


@torch.no_grad()
def states_of(llava):
    generator = torch.Generator().manual_seed(2)
    pixels = torch.randn(1, 3, 28, 28, generator=generator)
    ids = torch.tensor([1, 5, IMAGE_TOKEN, 7, 8])
    return ids, pixels, llava(ids, llava.see(pixels))[0]


def check_states(llava, model):
    """The states are those of transformers' own LLaVA."""
    _, pixels, states = states_of(llava)
    expanded = torch.tensor([[1, 5, *[IMAGE_TOKEN] * 4, 7, 8]])
    with torch.no_grad():
        out = model(input_ids=expanded, pixel_values=pixels, output_hidden_states=True)
    torch.testing.assert_close(states, out.hidden_states[-3], atol=1e-4, rtol=1e-4)


def test_a_sharded_export_gives_transformers_own_states(llava_folder, llava_model):
    check_states(load_llava(llava_folder), llava_model)


def test_any_shard_stands_for_its_folder(llava_folder, llava_model):
    check_states(load_llava(sorted(llava_folder.glob("*.safetensors"))[2]), llava_model)


@pytest.mark.parametrize("rename", [lambda tensors: tensors, newest_names], ids=["transformers 4", "modules"])
def test_every_way_of_naming_gives_the_same_network(tmp_path, llava_folder, rename):
    tensors = rename(published_names(llava_folder))
    save_file(tensors, tmp_path / "model.safetensors")
    shutil.copy(llava_folder / "config.json", tmp_path)
    assert torch.equal(states_of(load_llava(tmp_path))[2], states_of(load_llava(llava_folder))[2])


def test_a_llava_may_be_half_precision(tmp_path, llava_folder):
    tensors = {name: value.half() for name, value in published_names(llava_folder).items()}
    save_file(tensors, tmp_path / "model.safetensors")
    shutil.copy(llava_folder / "config.json", tmp_path)
    assert {p.dtype for p in load_llava(tmp_path).parameters()} == {torch.float16}
    assert {p.dtype for p in load_llava(tmp_path, torch.float32).parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "name",
    [
        "multi_modal_projector.linear_1.weight",
        "vision_tower.vision_model.pre_layrnorm.weight",
        "vision_tower.vision_model.encoder.layers.1.mlp.fc2.bias",
        "language_model.model.layers.1.self_attn.k_proj.weight",
        "language_model.model.embed_tokens.weight",
    ],
)
def test_each_fault_of_a_llava_tensor_is_named(tmp_path, llava_folder, name):
    tensors, file = published_names(llava_folder), tmp_path / "model.safetensors"
    shutil.copy(llava_folder / "config.json", tmp_path)
    save_file({n: t for n, t in tensors.items() if n != name}, file)
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        load_llava(tmp_path)
    save_file(tensors | {"language_model.model.another": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match=r"no tensor named language_model\.model\.another"):
        load_llava(tmp_path)


@pytest.mark.parametrize(
    "text", ["[]", '{"text_config": 3}', '{"image_token_index": "x"}', '{"image_token_id": 0}']
)
def test_a_damaged_config_is_named(tmp_path, llava_folder, text):
    save_file(published_names(llava_folder), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        load_llava(tmp_path)


# --- shards


def test_a_missing_shard_is_named(tmp_path, llava_folder):
    folder = shutil.copytree(llava_folder, tmp_path / "llava")
    shard = sorted(folder.glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=f"there is no {shard.name}"):
        load_llava(folder)


def change_index(folder: Path, change) -> None:
    path = folder / "model.safetensors.index.json"
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda table: table["weight_map"].update(a="../secret.safetensors"), "is no file beside it"),
        (lambda table: table["weight_map"].update(a="/etc/passwd"), "is no file beside it"),
        (lambda table: table["weight_map"].update(a=3), "is not a table of file names"),
        (lambda table: table.pop("weight_map"), "is not a table of file names"),
    ],
)
def test_an_index_that_leads_elsewhere_is_refused(tmp_path, llava_folder, change, problem):
    folder = shutil.copytree(llava_folder, tmp_path / "llava")
    change_index(folder, change)
    with pytest.raises(ValueError, match=problem):
        load_llava(folder)


def test_a_tensor_that_its_shard_lacks_is_named(tmp_path, llava_folder):
    folder = shutil.copytree(llava_folder, tmp_path / "llava")
    shard = sorted(folder.glob("*.safetensors"))[0].name
    change_index(folder, lambda table: table["weight_map"].update(missing=shard))
    with pytest.raises(ValueError, match=f"{shard} is incomplete: by .* it holds missing"):
        load_llava(folder)


def test_an_empty_folder_says_what_was_expected(tmp_path):
    for load in (load_llava, load_clip_text, load_speech_encoder):
        with pytest.raises(FileNotFoundError, match=r"expected model\.safetensors or pytorch_model\.bin or"):
            load(tmp_path)


# --- the tokenizer


def test_the_pocket_encoders_read_a_prompt():
    encoder = load_text_encoder(POCKET / "llava", POCKET / "clip", torch.float32)
    with torch.no_grad():
        prompt = encoder.encode("A man talks.", encoder.see(torch.zeros(1, 3, 336, 336)))
    assert prompt.states.shape == (1, 256 + 35, 32)
    assert prompt.pooled.shape == (1, 32)
    assert prompt.mask.shape == prompt.states.shape[:2]


def test_a_tokenizer_that_reads_the_template_differently_is_refused(monkeypatch):
    monkeypatch.setattr(avatar_encoders, "LLAMA_TOKENS", 261)
    with pytest.raises(ValueError, match=rf"template as 424 tokens, Llama 3's as {HEAD_TOKENS}"):
        load_text_encoder(POCKET / "llava", POCKET / "clip")


def test_a_folder_without_a_tokenizer_is_named(tmp_path):
    folder = shutil.copytree(POCKET / "llava", tmp_path / "llava")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json\. It is published with llava_llama_image"):
        load_text_encoder(folder, POCKET / "clip")
    assert load_text_encoder(folder, POCKET / "clip", tokenizer=POCKET / "llava")


# --- CLIP-L


@pytest.fixture(scope="module")
def clip_model():
    return randomised(CLIPTextModel(CLIPTextConfig(**CLIP_TEXT)))


def clip_folder(folder: Path, model) -> Path:
    model.save_pretrained(folder)
    shutil.copy(POCKET / "clip" / "tokenizer.json", folder)
    return folder


def test_a_clip_folder_gives_transformers_own_pooled_vector(tmp_path, clip_model):
    clip = load_clip_text(clip_folder(tmp_path, clip_model))
    ids = torch.tensor([clip.tokenizer.encode("A man talks.").ids])
    with torch.no_grad():
        torch.testing.assert_close(clip.encode("A man talks."), clip_model(ids).pooler_output)


def test_published_names_and_a_complete_clip_are_read_as_well(tmp_path):
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 28, "patch_size": 14}
    config = CLIPConfig(text_config=CLIP_TEXT, vision_config=vision, projection_dim=8)
    whole = randomised(CLIPModel(config))
    clip = load_clip_text(clip_folder(tmp_path, whole))
    ids = torch.tensor([clip.tokenizer.encode("rain").ids])
    with torch.no_grad():
        expected = whole.text_model(ids).pooler_output
        torch.testing.assert_close(clip.encode("rain"), expected)


def test_a_clip_file_with_a_tokenizer_elsewhere(tmp_path, clip_model):
    folder = clip_folder(tmp_path / "clip", clip_model)
    save_file(
        load_file(folder / "model.safetensors"), tmp_path / "clip_l.safetensors", {"num_attention_heads": "2"}
    )
    with pytest.raises(FileNotFoundError, match="No tokenizer in"):
        load_clip_text(tmp_path / "clip_l.safetensors")
    clip = load_clip_text(tmp_path / "clip_l.safetensors", tokenizer=folder)
    assert torch.equal(clip.encode("rain"), load_clip_text(folder).encode("rain"))


def test_a_tokenizer_with_more_tokens_than_the_network_is_refused(tmp_path):
    model = CLIPTextModel(
        CLIPTextConfig(**(CLIP_TEXT | {"vocab_size": 200, "eos_token_id": 2, "bos_token_id": 1}))
    )
    with pytest.raises(ValueError, match="its tokenizer knows token 257, the network 200 tokens"):
        load_clip_text(clip_folder(tmp_path, model))


# --- Whisper


@pytest.fixture(scope="module")
def whisper_model():
    return randomised(WhisperForConditionalGeneration(WhisperConfig(**WHISPER)))


def test_a_whisper_folder_gives_transformers_own_states(tmp_path, whisper_model):
    whisper_model.save_pretrained(tmp_path)
    encoder = load_speech_encoder(tmp_path)
    mel = torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(0)).half().float()
    with torch.no_grad():
        expected = whisper_model.model.encoder(mel, output_hidden_states=True).hidden_states
        torch.testing.assert_close(encoder(mel), torch.stack(expected, dim=2))
    bare = {n.removeprefix("model."): t for n, t in load_file(tmp_path / "model.safetensors").items()}
    bare = {n: t for n, t in bare.items() if n.startswith("encoder.")}
    save_file(bare, tmp_path / "encoder.safetensors", {"encoder_attention_heads": "2"})
    with torch.no_grad():
        assert torch.equal(load_speech_encoder(tmp_path / "encoder.safetensors")(mel), encoder(mel))


def test_a_whisper_of_another_size_is_refused(tmp_path):
    model = WhisperForConditionalGeneration(WhisperConfig(**(WHISPER | {"encoder_layers": 6})))
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"it has 6 layers, 80 bands and 1500 positions\. Avatar hears"):
        load_speech_encoder(tmp_path)


def test_encoders_in_the_wrong_loader_are_sent_to_theirs():
    for load, path, loader in [
        (load_clip_text, POCKET / "whisper", "Avatar Speech Encoder Loader"),
        (load_speech_encoder, POCKET / "clip", r"Avatar Text Encoder Loader \(CLIP-L\)"),
        (load_speech_encoder, POCKET / "llava", r"Avatar Text Encoder Loader \(LLaVA\)"),
        (load_llava, POCKET / "clip", r"Avatar Text Encoder Loader \(CLIP-L\)"),
    ]:
        with pytest.raises(ValueError, match=f"Choose it in the {loader}"):
            load(path)


def test_all_pocket_files_say_that_they_are_untrained():
    for path in POCKET.rglob("*.safetensors"):
        assert open_checkpoint(path).metadata["trained"] == "false"
