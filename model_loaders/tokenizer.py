"""The tokenizer of the text encoder, from the files published beside its weights. No network."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from .json_file import read_table

if TYPE_CHECKING:
    from tokenizers import Tokenizer

START, PAD, END, UNKNOWN, MASK = SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
EMPTY_PROMPT = [0, 2]  # the ids of start and end


def load_tokenizer(path: Path) -> "Tokenizer":
    """A RoBERTa tokenizer that adds the start and end tokens, and neither pads nor cuts.

    path: a tokenizer.json; or a folder that holds one, or else vocab.json and merges.txt.
    Raises: FileNotFoundError naming those files; ValueError for another model's tokenizer.
    """
    folder = path if path.is_dir() else path.parent
    whole = path / "tokenizer.json" if path.is_dir() else path
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"

    if whole.is_file():
        tokenizer, source = read_tokenizer(whole), whole
    elif vocabulary.is_file() and merges.is_file():
        tokenizer, source = _assembled(vocabulary, merges), vocabulary
    else:
        raise FileNotFoundError(
            f"No tokenizer in {folder}: expected tokenizer.json, or vocab.json and merges.txt. "
            "They are published with larger_clap_general."
        )
    if (ids := tokenizer.encode("").ids) != EMPTY_PROMPT:
        raise ValueError(
            f"{source} is not a CLAP tokenizer: an empty prompt is tokens {ids} to it, not {EMPTY_PROMPT}."
        )
    return tokenizer


def read_tokenizer(path: Path) -> "Tokenizer":
    """Any model's tokenizer from its tokenizer.json, made to neither pad nor cut. Raises ValueError."""
    from tokenizers import Tokenizer

    table = json.dumps(read_table(path))
    try:
        tokenizer = Tokenizer.from_str(table)
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"{path} is damaged: it is no tokenizer. Download it again.") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _assembled(vocabulary: Path, merges: Path) -> "Tokenizer":
    """Byte-level BPE as RoBERTa wraps it."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    ids = read_table(vocabulary)
    if not {START, END, PAD} <= ids.keys() or not all(type(value) is int for value in ids.values()):
        raise ValueError(f"{vocabulary} is not a CLAP vocabulary: {START}, {PAD} or {END} is not in it.")

    try:
        tokenizer = Tokenizer(models.BPE.from_file(str(vocabulary), str(merges)))
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"{merges} does not fit {vocabulary.name}. Download both again.") from error
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(
        (END, ids[END]), (START, ids[START]), trim_offsets=True, add_prefix_space=False
    )
    tokenizer.add_special_tokens([AddedToken(t, lstrip=t == MASK) for t in SPECIAL if t in ids])
    return tokenizer
