"""CLIP's tokenizer, from the files published beside its weights. No network."""

from pathlib import Path
from typing import TYPE_CHECKING

from .json_file import read_table
from .tokenizer import read_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def load_clip_tokenizer(path: Path) -> "Tokenizer":
    """A CLIP tokenizer that adds the start and end tokens, and neither pads nor cuts.

    path: a tokenizer.json; or a folder that holds one, or else vocab.json and merges.txt.
    Raises: FileNotFoundError naming those files; ValueError for another kind of tokenizer.
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
            "They are published with clip-vit-large-patch14."
        )
    if len(ids := tokenizer.encode("").ids) != 2:
        raise ValueError(
            f"{source} is not a CLIP tokenizer: an empty prompt is tokens {ids} to it, not a start and end."
        )
    return tokenizer


def _assembled(vocabulary: Path, merges: Path) -> "Tokenizer":
    """Byte-level BPE over lower-case words whose ends are marked."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    ids = read_table(vocabulary)
    if not {START, END} <= ids.keys() or not all(type(value) is int for value in ids.values()):
        raise ValueError(f"{vocabulary} is not a CLIP vocabulary: {START} or {END} is not in it.")

    marks = {"continuing_subword_prefix": "", "end_of_word_suffix": WORD_END, "unk_token": END}
    try:
        tokenizer = Tokenizer(models.BPE.from_file(str(vocabulary), str(merges), **marks))
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"{merges} does not fit {vocabulary.name}. Download both again.") from error
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(
        (END, ids[END]), (START, ids[START]), trim_offsets=False, add_prefix_space=False
    )
    tokenizer.add_special_tokens([START, END])
    return tokenizer
