"""CLIP's tokenizer from its files, against transformers' own."""

import json
from pathlib import Path

import pytest
from pack.model_loaders.clip_tokenizer import END, START, WORD_END, load_clip_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import CLIPTokenizerFast

PROMPTS = ["", "A man talks.", "  Two  SPACES, 12 o'clock!  ", "Déjà vu\n雨の音 🌧", "it's the ship's bell"]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory) -> Path:
    """vocab.json and merges.txt in CLIP's order: bytes, bytes that end a word, merges, special tokens."""
    folder = tmp_path_factory.mktemp("clip")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = ["t h", "th e</w>", "m a", "ma n</w>", "s h"]
    tokens = [*letters, *(letter + WORD_END for letter in letters)]
    tokens += [merge.replace(" ", "") for merge in merges] + [START, END]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}), "utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", "utf-8")
    return folder


def test_vocabulary_and_merges_give_clips_tokens(vocabulary):
    oracle = CLIPTokenizerFast.from_pretrained(vocabulary, local_files_only=True)
    tokenizer = load_clip_tokenizer(vocabulary)
    for prompt in PROMPTS:
        assert tokenizer.encode(prompt).ids == oracle(prompt)["input_ids"], prompt
    assert len(tokenizer.encode("the man").ids) == 4


def test_a_tokenizer_file_gives_the_same_tokens_and_neither_pads_nor_cuts(vocabulary, tmp_path):
    oracle = CLIPTokenizerFast.from_pretrained(vocabulary, local_files_only=True)
    saved = Tokenizer.from_str(oracle.backend_tokenizer.to_str())
    saved.enable_truncation(5)
    saved.save(str(tmp_path / "tokenizer.json"))
    for prompt in PROMPTS:
        expected = load_clip_tokenizer(vocabulary).encode(prompt).ids
        assert load_clip_tokenizer(tmp_path).encode(prompt).ids == expected


def test_other_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected tokenizer\.json, or vocab\.json and merges\.txt"):
        load_clip_tokenizer(tmp_path)
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(ValueError, match=r"vocab\.json is not a CLIP vocabulary"):
        load_clip_tokenizer(tmp_path)
    Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"is not a CLIP tokenizer: an empty prompt is tokens \[\] to it"):
        load_clip_tokenizer(tmp_path)
