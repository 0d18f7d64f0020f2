"""Avatar's encoders from the folders they are published as: LLaVA and CLIP-L for text, Whisper for speech.

CLIP-L and Whisper are transformers' classes; LLaVA is a network of ours. Each loader takes a folder, whole
or in shards, or a file with the weights. transformers 4 and 5 name tensors differently: both are read.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..hunyuan.avatar.clip_text import ClipText
from ..hunyuan.avatar.config import AUDIO_STATES
from ..hunyuan.avatar.llava import Llava
from ..hunyuan.avatar.llava_config import LlamaConfig, LlavaConfig
from ..hunyuan.avatar.log_mel import BANDS
from ..hunyuan.avatar.prompt_text import HEAD_TOKENS
from ..hunyuan.avatar.speech_encoder import BLOCK_ROWS, SpeechEncoder
from ..hunyuan.avatar.text_encoder import TextEncoder
from ..hunyuan.layers.numbering import count_blocks
from .checkpoint import Checkpoint
from .clip_tokenizer import load_clip_tokenizer
from .json_file import read_table
from .kinds import CLIP, LLAVA, WHISPER, FileKind, identify
from .sharded import open_folder, whole
from .strict import load_strict, reading_sizes, require
from .tokenizer import read_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LLAMA_TOKENS = LlamaConfig().vocabulary  # a network that knows so many has Llama 3's tokenizer
PUBLISHED_HEAD_SIZE = 64  # of CLIP-L's and Whisper's attention; no shape tells it

TEXT = "text_model."
NOT_TEXT = ("vision_model.", "visual_projection.", "text_projection", "logit_scale")  # the rest of a CLIP
ENCODER = "encoder."
NOT_SPEECH = ("decoder.", "proj_out.")  # the rest of a Whisper


def load_text_encoder(
    llava: Path | str,
    clip: Path | str,
    dtype: torch.dtype | None = None,
    *,
    tokenizer: Path | str | None = None,
    clip_tokenizer: Path | str | None = None,
) -> TextEncoder:
    """LLaVA and CLIP-L with their tokenizers; arguments as in `load_llava` and `load_clip_text`.

    tokenizer, clip_tokenizer: folders or files, where the tokenizers do not lie beside the weights.
    Raises: FileNotFoundError, PermissionError; ValueError naming the file and the expectation.
    """
    network = load_llava(llava, dtype)
    words = load_llava_tokenizer(tokenizer or llava)
    encoder = TextEncoder(network, words, load_clip_text(clip, tokenizer=clip_tokenizer))
    _check_head(encoder, Path(tokenizer or llava))
    return encoder


def _check_head(encoder: TextEncoder, path: Path) -> None:
    """Raises ValueError for a tokenizer that reads the template differently from the one trained with."""
    found, text = encoder.tokenize.head_tokens, encoder.llava.config.text
    if text.vocabulary >= LLAMA_TOKENS and found != HEAD_TOKENS:
        raise ValueError(
            f"The tokenizer in {path} reads the prompt's template as {found} tokens, Llama 3's as"
            f" {HEAD_TOKENS}. Use the tokenizer from the folder of the weights."
        )


# --- LLaVA --------------------------------------------------------------------------------------------------


def load_llava(path: Path | str, dtype: torch.dtype | None = None) -> Llava:
    """LLaVA without the layers that no state of ours depends on, in eval mode on the CPU.

    dtype:  None keeps the file's, float16 as published.
    Raises: FileNotFoundError, PermissionError; ValueError naming the file, the tensor and the expectation.
    """
    llava, checkpoint = _open_llava(path)
    return load_strict(llava, checkpoint, LLAVA, ignore=llava.config.unused, dtype=dtype)


def sized_llava(path: Path | str, dtype: torch.dtype | None = None) -> Llava:
    """What `load_llava` gives, without values, on the meta device. Raises as it does.

    Of a file whose tensors differ in dtype, all are taken to be as wide as the widest.
    """
    llava, checkpoint = _open_llava(path)
    found = (kind for kind in checkpoint.dtypes.values() if kind.is_floating_point)
    return llava.to(dtype or max(torch.bfloat16, *found, key=lambda kind: kind.itemsize))


def _open_llava(path: Path | str) -> tuple[Llava, Checkpoint]:
    """LLaVA of the size that a file's tensors have, without values, and the file."""
    path = whole(Path(path))
    checkpoint = _open(path, LLAVA, published_llava_name)
    require(checkpoint, LLAVA)
    with reading_sizes(checkpoint, LLAVA):
        return Llava(_llava_config(checkpoint, path / "config.json"), device="meta"), checkpoint


def published_llava_name(name: str) -> str:
    """A tensor's name in transformers 4, which the published files have, from that of any later export."""
    name = re.sub(r"^model\.(?=vision_tower|multi_modal_projector|language_model)", "", name)
    name = re.sub(r"^lm_head\.", "language_model.lm_head.", name)
    name = re.sub(r"^vision_tower\.(?!vision_model\.)", "vision_tower.vision_model.", name)
    return re.sub(r"^language_model\.(?=layers\.|embed_tokens\.|norm\.)", "language_model.model.", name)


def _llava_config(checkpoint: Checkpoint, path: Path) -> LlavaConfig:
    """Sizes from shapes, and from config.json what no shape tells: it may be absent, or sparse."""
    stated = read_table(path) if path.is_file() else {}
    vision, text = (_part(path, stated, name) for name in ("vision_config", "text_config"))
    image_token = _number(path, stated, "image_token_index") or _number(path, stated, "image_token_id")
    config = LlavaConfig.from_shapes(
        checkpoint.shapes,
        vision_heads=_number(path, vision, "num_attention_heads"),
        text_heads=_number(path, text, "num_attention_heads"),
        image_token=image_token or LlavaConfig.image_token,
    )
    theta = _number(path, {**text, **_part(path, text, "rope_parameters")}, "rope_theta", float)
    return replace(config, text=replace(config.text, rope_theta=theta)) if theta else config


def load_llava_tokenizer(path: Path | str) -> "Tokenizer":
    """The tokenizer of the folder, or of the file's folder. Raises FileNotFoundError, ValueError."""
    path = Path(path)
    file = path if path.suffix == ".json" else (path if path.is_dir() else path.parent) / "tokenizer.json"
    if not file.is_file():
        raise FileNotFoundError(f"There is no {file}. It is published with {LLAVA.published}.")
    return read_tokenizer(file)


# --- CLIP-L -------------------------------------------------------------------------------------------------


def load_clip_text(
    path: Path | str, dtype: torch.dtype = torch.float32, *, tokenizer: Path | str | None = None
) -> ClipText:
    """CLIP's text tower, from a folder or file with the tower or the complete model.

    tokenizer: a folder or tokenizer.json, where the files do not lie beside the weights.
    Raises:    FileNotFoundError, PermissionError; ValueError naming the file, the tensor and the expectation.
    """
    encoder, checkpoint = _open_clip_text(path, tokenizer)
    places = encoder.text_model.embeddings.position_embedding.num_embeddings
    constants = {f"{TEXT}embeddings.position_ids": torch.arange(places)[None]}
    return load_strict(encoder, checkpoint, CLIP, ignore=NOT_TEXT, dtype=dtype, constants=constants)


def sized_clip_text(path: Path | str, dtype: torch.dtype = torch.float32) -> ClipText:
    """What `load_clip_text` gives, without values, on the meta device. Raises as it does."""
    return _open_clip_text(path, None)[0].to(dtype)


def _open_clip_text(path: Path | str, tokenizer: Path | str | None) -> tuple[ClipText, Checkpoint]:
    """The tower of the size that a file's tensors have, without values, and the file."""
    from transformers import CLIPTextConfig, CLIPTextModel

    path = whole(Path(path))
    checkpoint = _open(path, CLIP, published_clip_name)
    require(checkpoint, CLIP)
    words = load_clip_tokenizer(Path(tokenizer) if tokenizer else path if path.is_dir() else path.parent)
    with reading_sizes(checkpoint, CLIP):
        start, end = words.encode("").ids
        ends = {"bos_token_id": start, "eos_token_id": end, "pad_token_id": end}
        sizes: dict[str, Any] = clip_sizes(checkpoint) | _clip_stated(path) | ends
        config = CLIPTextConfig(**sizes)
        if (last := max(words.get_vocab().values())) >= config.vocab_size:
            raise ValueError(f"its tokenizer knows token {last}, the network {config.vocab_size} tokens.")
        with torch.device("meta"):
            return ClipText(CLIPTextModel(config), words), checkpoint


def published_clip_name(name: str) -> str:
    """A tensor's name as published; transformers 5 exports a tower by itself without the prefix."""
    return re.sub(r"^(?=embeddings\.|encoder\.|final_layer_norm\.)", TEXT, name)


def clip_sizes(checkpoint: Checkpoint) -> dict[str, Any]:
    """Arguments of a `CLIPTextConfig`, from shapes. Raises KeyError with the name of a missing tensor."""
    shapes = checkpoint.shapes
    vocabulary, size = shapes[f"{TEXT}embeddings.token_embedding.weight"]
    return {
        "vocab_size": vocabulary,
        "hidden_size": size,
        "intermediate_size": shapes[f"{TEXT}encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": count_blocks(shapes, f"{TEXT}encoder.layers"),
        "num_attention_heads": checkpoint.stated("num_attention_heads") or _heads(size),
        "max_position_embeddings": shapes[f"{TEXT}embeddings.position_embedding.weight"][0],
    }


def _clip_stated(path: Path) -> dict[str, Any]:
    config = path / "config.json"
    table = read_table(config) if config.is_file() else {}
    table = _part(config, table, "text_config") or table
    heads, activation = _number(config, table, "num_attention_heads"), table.get("hidden_act")
    stated: dict[str, Any] = {"num_attention_heads": heads} if heads else {}
    return stated | ({"hidden_act": activation} if isinstance(activation, str) else {})


# --- Whisper ------------------------------------------------------------------------------------------------


def load_speech_encoder(path: Path | str, dtype: torch.dtype = torch.float32) -> SpeechEncoder:
    """Whisper-tiny's encoder, from a folder or file with the encoder or the complete model.

    Raises: FileNotFoundError, PermissionError; ValueError naming the file, the tensor and the expectation,
        also for a Whisper of another size, whose states Avatar was not trained with.
    """
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    path = whole(Path(path))
    checkpoint = _open(path, WHISPER, lambda name: name.removeprefix("model."))
    require(checkpoint, WHISPER)
    with reading_sizes(checkpoint, WHISPER):
        sizes = whisper_sizes(checkpoint)
        config = path / "config.json"
        if config.is_file() and (heads := _number(config, read_table(config), "encoder_attention_heads")):
            sizes["encoder_attention_heads"] = heads
        with torch.device("meta"):
            encoder = SpeechEncoder(WhisperEncoder(WhisperConfig(**sizes)))
    return load_strict(encoder, checkpoint, WHISPER, ignore=NOT_SPEECH, dtype=dtype)


def whisper_sizes(checkpoint: Checkpoint) -> dict[str, Any]:
    """Arguments of a `WhisperConfig`, from shapes. Raises KeyError, and ValueError for another size."""
    shapes = checkpoint.shapes
    size, bands, _ = shapes[f"{ENCODER}conv1.weight"]
    layers, places = count_blocks(shapes, f"{ENCODER}layers"), shapes[f"{ENCODER}embed_positions.weight"][0]
    if (layers + 1, bands, places) != (AUDIO_STATES, BANDS, BLOCK_ROWS):
        raise ValueError(
            f"it has {layers} layers, {bands} bands and {places} positions. Avatar hears speech through"
            f" Whisper-tiny, which has {AUDIO_STATES - 1}, {BANDS} and {BLOCK_ROWS}."
        )
    return {
        "d_model": size,
        "num_mel_bins": bands,
        "max_source_positions": places,
        "encoder_layers": layers,
        "encoder_attention_heads": checkpoint.stated("encoder_attention_heads") or _heads(size),
        "encoder_ffn_dim": shapes[f"{ENCODER}layers.0.fc1.weight"][0],
    }


def _open(path: Path, kind: FileKind, rename: Callable[[str], str]) -> Checkpoint:
    """The weights under the published names; those of another kind as they are, so that it can be told."""
    checkpoint = open_folder(path)
    return checkpoint.renamed(rename) if identify(checkpoint) is kind else checkpoint


def _heads(size: int) -> int:
    return max(1, size // PUBLISHED_HEAD_SIZE)


# --- config.json --------------------------------------------------------------------------------------------


def _part(path: Path, table: dict[str, Any], name: str) -> dict[str, Any]:
    part = table.get(name) or {}
    if not isinstance(part, dict):
        raise ValueError(f"{path} is damaged: {name} is not a table. Download it again.")
    return part


def _number(path: Path, table: dict[str, Any], name: str, kind: type = int) -> Any:
    """A positive number, or None where nothing is said."""
    value = table.get(name)
    if value is None:
        return None
    if type(value) not in {int, kind} or value <= 0:
        raise ValueError(f"{path} is damaged: {name} is {value!r:.40}. Download it again.")
    return value
