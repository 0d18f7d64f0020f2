"""Prompts as tokens, and both text encoders together."""

import pytest
import torch
from pack.hunyuan.avatar.clip_text import ClipText
from pack.hunyuan.avatar.llava import Llava
from pack.hunyuan.avatar.llava_config import ClipVisionConfig, LlamaConfig, LlavaConfig
from pack.hunyuan.avatar.prompt_text import (
    HEAD,
    IMAGE,
    MAX_TOKENS,
    TAIL,
    PromptTokenizer,
    with_quality,
)
from pack.hunyuan.avatar.text_encoder import TextEncoder
from torch import nn

SPECIAL = ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", IMAGE]


def byte_tokenizer(special, template):
    """A byte-level tokenizer without merges: a token for each byte, then the special ones."""
    tokenizers = pytest.importorskip("tokenizers")
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    ids = {token: i for i, token in enumerate(alphabet)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=ids, merges=[]))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    known = [(token, tokenizer.token_to_id(token)) for token in special]
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single=template, special_tokens=known)
    return tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer(SPECIAL, f"{SPECIAL[0]} $A")


@pytest.fixture(scope="module")
def clip():
    transformers = pytest.importorskip("transformers")
    words = byte_tokenizer(["<s>", "</s>"], "<s> $A </s>")
    config = transformers.CLIPTextConfig(
        vocab_size=258, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        eos_token_id=words.token_to_id("</s>"), bos_token_id=words.token_to_id("<s>"), pad_token_id=257,
    )  # fmt: skip
    torch.manual_seed(0)
    return ClipText(transformers.CLIPTextModel(config).eval().requires_grad_(False), words)


@pytest.fixture(scope="module")
def llava(tokenizer):
    config = LlavaConfig(
        vision=ClipVisionConfig(
            hidden_size=8, mlp_size=8, depth=1, num_heads=2, image_size=28, patch_size=14
        ),
        text=LlamaConfig(hidden_size=16, mlp_size=16, depth=1, num_heads=2, num_kv_heads=1, vocabulary=261),
        image_token=tokenizer.token_to_id(IMAGE),
    )
    llava = Llava(config).requires_grad_(False)
    for parameter in llava.parameters():
        nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(len(parameter)))
    return llava


def test_a_prompt_stands_between_the_template_and_the_portrait(tokenizer):
    tokenize = PromptTokenizer(tokenizer)
    ids = tokenize("A man sings.")
    assert tokenizer.decode(ids, skip_special_tokens=False) == f"{SPECIAL[0]}{HEAD}A man sings.{TAIL}"
    assert tokenizer.decode(ids[tokenize.head_tokens :], skip_special_tokens=False) == f"A man sings.{TAIL}"
    assert ids[-1] == tokenizer.token_to_id(IMAGE)


def test_the_longest_prompt_is_not_cut(tokenizer, caplog):
    tokenize = PromptTokenizer(tokenizer)
    prompt = "a" * (MAX_TOKENS - len(tokenize.tail))
    assert tokenize(prompt) == tokenizer.encode(HEAD + prompt + TAIL).ids
    assert not caplog.records


def test_a_longer_prompt_loses_its_end_and_keeps_the_portrait(tokenizer, caplog):
    tokenize = PromptTokenizer(tokenizer)
    room = MAX_TOKENS - len(tokenize.tail)
    prompt = "a" * (room - 3) + " lost words"
    ids = tokenize(prompt)
    assert len(ids) == tokenize.head_tokens + MAX_TOKENS
    assert tokenizer.decode(ids, skip_special_tokens=False).endswith(f"a lo{TAIL}")
    assert f'reads {room} tokens, so not "lost words"' in caplog.text


def test_quality_is_asked_for_first():
    start = "Authentic, Realistic, Natural, High-quality, Lens-Fixed"
    assert with_quality("A man sings.") == f"{start}, A man sings."
    assert with_quality(" ") == f"{start}."


@pytest.mark.parametrize("prompt", ["", "A man sings.", "word " * 40])
def test_the_pooled_vector_is_that_of_the_padded_prompt(clip, prompt):
    ids = clip.tokenizer.encode(prompt).ids
    end = ids[-1]
    ids = ids[:77] if len(ids) <= 77 else [*ids[:76], end]
    padded = torch.tensor([ids + [end] * (77 - len(ids))])
    expected = clip.text_model(input_ids=padded).pooler_output
    torch.testing.assert_close(clip.encode(prompt), expected, rtol=1e-5, atol=1e-5)


def test_a_prompt_and_a_portrait_become_states_mask_and_pooled_vector(llava, tokenizer, clip):
    encoder = TextEncoder(llava, tokenizer, clip)
    image = encoder.see(torch.randn(1, 3, 28, 28))
    prompt = encoder.encode("A man sings.", image)
    assert prompt.states.shape == (1, 256 + 3, 16)
    assert prompt.pooled.shape == (1, 16)
    assert prompt.mask.sum() == len("A man sings.") + len(encoder.tokenize.tail) + 3
    other = encoder.encode("A man sings.", encoder.see(torch.randn(1, 3, 28, 28)))
    text = len("A man sings.") + len(encoder.tokenize.tail) - 1
    assert torch.equal(prompt.states[:, :text], other.states[:, :text])
    assert (prompt.states[:, text] - other.states[:, text]).abs().max() > 1e-4


def test_the_tokenizer_of_another_model_is_refused(llava, clip):
    stranger = byte_tokenizer(SPECIAL[::-1], f"{SPECIAL[0]} $A")
    with pytest.raises(ValueError, match=r"reads <image> as token \[256\], the network expects 260"):
        TextEncoder(llava, stranger, clip)
