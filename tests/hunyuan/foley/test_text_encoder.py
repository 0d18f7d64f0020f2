"""The text encoder over transformers' CLAP against the published states, and how it takes prompts."""

import json
import logging
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pack.hunyuan.foley.text_encoder import MAX_STATES, TextEncoder
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import ClapTextConfig, ClapTextModel


def byte_tokenizer() -> Tokenizer:
    """One token for each byte, between RoBERTa's start and end tokens."""
    tokens = ["<s>", "<pad>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer


def small_encoder(positions: int = 130) -> TextEncoder:
    torch.manual_seed(0)
    config = ClapTextConfig(
        vocab_size=259,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=positions,
    )
    model = ClapTextModel(config, add_pooling_layer=False).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return TextEncoder(model, byte_tokenizer())


ENCODER = small_encoder()


def golden(goldens: Path) -> tuple[TextEncoder, dict[str, Tensor], dict[str, float]]:
    sidecar = json.loads((goldens / "foley" / "clap_a.json").read_text())
    tensors = load_file(goldens / "foley" / "clap_a.safetensors")
    config = ClapTextConfig(**sidecar["config"])
    encoder = TextEncoder(ClapTextModel(config, add_pooling_layer=False).eval(), byte_tokenizer())
    weights = {
        n.removeprefix("weights."): t for n, t in tensors.items() if n.startswith("weights.text_model.")
    }
    missing, unexpected = encoder.load_state_dict(weights, strict=False)
    assert set(missing) <= {f"text_model.embeddings.{name}_ids" for name in ("position", "token_type")}
    assert set(unexpected) == {"text_model.pooler.dense.weight", "text_model.pooler.dense.bias"}
    return encoder, tensors, sidecar["suggested_tolerance"]


@torch.no_grad()
def test_states_are_the_published_ones_also_at_padding(goldens):
    encoder, tensors, tolerance = golden(goldens)
    states = encoder(tensors["case0.in.input_ids"], tensors["case0.in.attention_mask"])
    assert tensors["case0.in.attention_mask"].min() == 0
    torch.testing.assert_close(states, tensors["case0.out.last_hidden_state"], **tolerance)


def test_names_and_shapes_are_the_published_ones_without_the_pooler():
    published = json.loads((Path(__file__).parents[2] / "keys" / "clap_text_keys.json").read_text())
    with torch.device("meta"):
        encoder = TextEncoder(ClapTextModel(ClapTextConfig(), add_pooling_layer=False), byte_tokenizer())
    mine = {name: list(value.shape) for name, value in encoder.state_dict().items()}
    assert mine == {name: shape for name, shape in published.items() if ".pooler." not in name}
    assert encoder.max_tokens == 512


def test_prompts_are_padded_together_with_the_negative_one_first():
    pair = ENCODER.tokenize("", "rain")
    assert pair.ids.dtype == torch.int64
    assert pair.ids[0].tolist() == [0, 2, 1, 1, 1, 1]
    assert pair.ids[1, [0, -1]].tolist() == [0, 2]
    assert pair.mask.tolist() == [[1, 1, 0, 0, 0, 0], [1] * 6]


@torch.no_grad()
def test_both_states_have_the_length_of_the_longer_prompt():
    negative, positive = ENCODER.encode("noisy, harsh", "rain")
    assert negative.shape == positive.shape == (1, 14, 32)
    _, alone = ENCODER.encode("", "rain")
    torch.testing.assert_close(positive[:, :6], alone)  # padding is masked inside the encoder


@torch.no_grad()
def test_states_beyond_77_are_cut_after_the_encoder_has_seen_all():
    prompt = "x" * 78  # 80 tokens
    _, states = ENCODER.encode("", prompt)
    ids = torch.tensor([ENCODER.tokenizer.encode(prompt).ids])
    whole = ENCODER.text_model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    short = ENCODER.text_model(input_ids=ids[:, :77], attention_mask=torch.ones(1, 77)).last_hidden_state
    assert whole.shape[1] == 80
    assert states.shape == (1, MAX_STATES, 32)
    torch.testing.assert_close(states, whole[:, :77])
    assert (states - short).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("prompt", "cut"),
    [
        ("", ""),
        ("a" * 75, ""),  # 77 tokens
        ("a" * 76, ""),  # the end token alone falls away
        ("a" * 77, "a" * 77),
        ("a" * 70 + " rain", ""),
        ("a" * 70 + " rain on a roof", "on a roof"),
        ("a" * 70 + " rainy  night ", "night "),
        ("a" * 76 + " rain", "rain"),
        ("é" * 38 + " rain", "rain"),  # two tokens a letter
        ("é" * 37 + " é é", "é é"),
        ("a" * 76 + " \t", ""),
    ],
)
def test_the_words_that_are_not_heard_are_told(prompt, cut):
    assert ENCODER.cut_text(prompt) == cut


@given(prompt=st.text(st.characters(codec="utf-8"), max_size=120))
def test_the_cut_leaves_whole_words_that_fit(prompt):
    cut = ENCODER.cut_text(prompt)
    kept = prompt[: len(prompt) - len(cut)]
    assert prompt.endswith(cut)
    assert not kept or not cut or kept[-1].isspace()
    assert len(kept.rstrip().encode()) + 1 <= MAX_STATES
    assert cut == "" or len(prompt.encode()) + 1 > MAX_STATES


def test_a_long_prompt_is_reported_once_with_its_lost_words(caplog):
    with caplog.at_level(logging.WARNING):
        ENCODER.tokenize("noisy, harsh", "a" * 75)
        assert not caplog.records
        ENCODER.tokenize("noisy, harsh", "a" * 70 + " rain on a roof")
    (record,) = caplog.records
    assert record.getMessage() == 'Prompt too long: the model hears 77 tokens, so not "on a roof".'


@torch.no_grad()
def test_a_prompt_beyond_the_positions_is_cut_before_the_encoder(caplog):
    pair = ENCODER.tokenize("", "word " * 100)
    assert ENCODER.max_tokens == 128
    assert pair.ids.shape == (2, 128)
    assert "the model hears 77 tokens" in caplog.text
    assert ENCODER(pair.ids, pair.mask).shape == (2, MAX_STATES, 32)


def test_a_model_with_a_projection_gives_its_text_tower():
    tower = ENCODER.text_model
    wrapper = torch.nn.Module()
    wrapper.text_model = tower
    assert TextEncoder(wrapper, byte_tokenizer()).text_model is tower
