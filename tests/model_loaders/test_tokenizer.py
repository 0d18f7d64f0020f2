"""The text encoder's tokenizer from its files, against transformers' RoBERTa tokenizer."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.model_loaders.tokenizer import SPECIAL, load_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import RobertaTokenizerFast

WORDS = """noisy harsh rain on a tin roof, footsteps on gravel; a dog barks twice, then thunder rolls.
High-quality sound: the waves break, the gulls cry and the wind sings in the ropes. It's the ship's bell!"""

PROMPTS = [
    "",
    "noisy, harsh",
    "  two  spaces ",
    "Déjà vu\n雨の音 🌧",
    "a</s>b c<pad>",
    "It's the ship's bell",
    "\x00\ud7ff",
]


def write_vocabulary(folder: Path) -> Path:
    """vocab.json and merges.txt of a small byte-level BPE, special tokens in RoBERTa's order."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trained.train_from_iterator(
        [WORDS], trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    )
    model = json.loads(trained.to_str())["model"]
    start, pad, end, unknown, mask = SPECIAL
    tokens = [start, pad, end, unknown, *sorted(model["vocab"], key=model["vocab"].get), mask]
    folder.mkdir(exist_ok=True)
    vocabulary = {token: i for i, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", "utf-8")
    return folder


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory) -> Path:
    return write_vocabulary(tmp_path_factory.mktemp("clap"))


@pytest.fixture(scope="module")
def oracle(vocabulary) -> RobertaTokenizerFast:
    return RobertaTokenizerFast.from_pretrained(vocabulary, local_files_only=True)


def test_vocabulary_and_merges_give_robertas_tokens(vocabulary, oracle):
    tokenizer = load_tokenizer(vocabulary)
    for prompt in PROMPTS:
        assert tokenizer.encode(prompt).ids == oracle(prompt)["input_ids"], prompt
    assert tokenizer.encode("").ids == [0, 2]
    assert len(tokenizer.encode("footsteps").ids) < len("footsteps") + 2


@settings(max_examples=60, deadline=None)
@given(prompt=st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_text_gives_robertas_tokens(vocabulary, oracle, prompt):
    assert load_tokenizer(vocabulary).encode(prompt).ids == oracle(prompt)["input_ids"]


def test_a_tokenizer_file_gives_the_same_tokens_and_neither_pads_nor_cuts(vocabulary, oracle, tmp_path):
    saved = Tokenizer.from_str(oracle.backend_tokenizer.to_str())
    saved.enable_truncation(5)
    saved.enable_padding(length=20, pad_id=1, pad_token="<pad>")
    saved.save(str(tmp_path / "tokenizer.json"))
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        tokenizer = load_tokenizer(path)
        for prompt in PROMPTS:
            assert tokenizer.encode(prompt).ids == load_tokenizer(vocabulary).encode(prompt).ids


def test_offsets_point_into_the_prompt(vocabulary):
    prompt = "Déjà vu, rain on 雨"
    encoding = load_tokenizer(vocabulary).encode(prompt)
    start, end = encoding.offsets[-2]
    assert prompt[start:end] == "雨"
    assert encoding.offsets[0] == encoding.offsets[-1] == (0, 0)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected tokenizer\.json, or vocab\.json and merges\.txt"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "[" * 100_000])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ValueError, match=r"tokenizer\.json is damaged"):
        load_tokenizer(tmp_path)


def test_another_models_tokenizer_is_refused(tmp_path):
    Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"is not a CLAP tokenizer: an empty prompt is tokens \[\] to it"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(ValueError, match=r"is not a CLAP vocabulary"):
        load_tokenizer(tmp_path)
