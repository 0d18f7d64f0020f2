"""The encoders published as transformers folders: that library's classes, files read here, no network.

Each loader takes a folder (config.json, weights, for text a tokenizer), or the weights alone, whose shapes
tell all sizes but the number of heads.
"""

import math
from pathlib import Path
from typing import Any

import torch

from ..hunyuan.foley.text_encoder import TextEncoder
from ..hunyuan.foley.visual_encoder import VisualEncoder
from ..hunyuan.layers.numbering import count_blocks
from .checkpoint import Checkpoint, open_checkpoint
from .json_file import read_table
from .kinds import CLAP, SIGLIP
from .strict import load_strict, reading_sizes, require
from .tokenizer import load_tokenizer

WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # as a folder's are looked for

VISION, TEXT = "vision_model.", "text_model."
NOT_VISION = (TEXT, "logit_")  # the rest of a complete SigLIP
NOT_TEXT = ("audio_model.", "audio_projection.", "text_projection.", "logit_scale_", f"{TEXT}pooler.")

PUBLISHED_HEAD_SIZE = 64

# What shapes do not tell, by transformers' names. The rest of a config.json follows from the shapes, or is
# about training or other models.
UNTOLD = {
    "num_attention_heads": (int,),
    "pad_token_id": (int,),
    "hidden_act": (str,),
    "layer_norm_eps": (float, int),
}


def load_visual_encoder(path: Path | str, dtype: torch.dtype = torch.float32) -> VisualEncoder:
    """SigLIP's vision tower, from a file or folder with the tower or with the complete model.

    Raises: FileNotFoundError, PermissionError; ValueError naming the file, the tensor and the expectation.
    """
    from transformers import SiglipVisionConfig, SiglipVisionModel

    checkpoint, stated = _open(Path(path), "vision_config")
    require(checkpoint, SIGLIP)
    with reading_sizes(checkpoint, SIGLIP):
        config = SiglipVisionConfig(**(siglip_sizes(checkpoint) | stated))
        with torch.device("meta"):
            encoder = VisualEncoder(SiglipVisionModel(config))

    places = checkpoint.shapes[f"{VISION}embeddings.position_embedding.weight"][0]
    constants = {f"{VISION}embeddings.position_ids": torch.arange(places)[None]}
    return load_strict(encoder, checkpoint, SIGLIP, ignore=NOT_VISION, dtype=dtype, constants=constants)


def load_text_encoder(
    path: Path | str, dtype: torch.dtype = torch.float32, *, tokenizer: Path | str | None = None
) -> TextEncoder:
    """CLAP's text tower without its pooler, from a file or folder with the tower or the complete model.

    tokenizer: a folder or tokenizer.json, where the files do not lie beside the weights.
    Raises:    FileNotFoundError, PermissionError; ValueError naming the file, the tensor and the expectation.
    """
    from transformers import ClapTextConfig, ClapTextModel

    checkpoint, stated = _open(Path(path), "text_config")
    require(checkpoint, CLAP)
    words = load_tokenizer(Path(tokenizer) if tokenizer else checkpoint.path.parent)
    with reading_sizes(checkpoint, CLAP):
        config = ClapTextConfig(**(clap_sizes(checkpoint) | stated))
        if (last := max(words.get_vocab().values())) >= config.vocab_size:
            raise ValueError(f"its tokenizer knows token {last}, the network {config.vocab_size} tokens.")
        with torch.device("meta"):
            encoder = TextEncoder(ClapTextModel(config, add_pooling_layer=False), words)

    places = torch.arange(config.max_position_embeddings)[None]
    constants = {
        f"{TEXT}embeddings.position_ids": places,
        f"{TEXT}embeddings.token_type_ids": torch.zeros_like(places),
    }
    return load_strict(encoder, checkpoint, CLAP, ignore=NOT_TEXT, dtype=dtype, constants=constants)


def siglip_sizes(checkpoint: Checkpoint) -> dict[str, Any]:
    """Arguments of a `SiglipVisionConfig`, from shapes. Raises KeyError with the name of a missing tensor."""
    shapes = checkpoint.shapes
    hidden_size, channels, patch_size, _ = shapes[f"{VISION}embeddings.patch_embedding.weight"]
    places = shapes[f"{VISION}embeddings.position_embedding.weight"][0]
    return _tower_sizes(checkpoint, hidden_size) | {
        "intermediate_size": shapes[f"{VISION}encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": count_blocks(shapes, f"{VISION}encoder.layers"),
        "num_channels": channels,
        "patch_size": patch_size,
        "image_size": math.isqrt(places) * patch_size,
    }


def clap_sizes(checkpoint: Checkpoint) -> dict[str, Any]:
    """Arguments of a `ClapTextConfig`, from shapes. Raises KeyError with the name of a missing tensor."""
    shapes = checkpoint.shapes
    vocab_size, hidden_size = shapes[f"{TEXT}embeddings.word_embeddings.weight"]
    return _tower_sizes(checkpoint, hidden_size) | {
        "intermediate_size": shapes[f"{TEXT}encoder.layer.0.intermediate.dense.weight"][0],
        "num_hidden_layers": count_blocks(shapes, f"{TEXT}encoder.layer"),
        "vocab_size": vocab_size,
        "max_position_embeddings": shapes[f"{TEXT}embeddings.position_embeddings.weight"][0],
        "type_vocab_size": shapes[f"{TEXT}embeddings.token_type_embeddings.weight"][0],
    }


def _tower_sizes(checkpoint: Checkpoint, hidden_size: int) -> dict[str, Any]:
    stated = checkpoint.stated("num_attention_heads") or checkpoint.stated("num_heads")
    return {
        "hidden_size": hidden_size,
        "num_attention_heads": stated or max(1, hidden_size // PUBLISHED_HEAD_SIZE),
    }


def _open(path: Path, part: str) -> tuple[Checkpoint, dict[str, Any]]:
    """The weights, and what their folder's config.json says about `part` of the model."""
    if not path.is_dir():
        return open_checkpoint(path), {}
    weights = next((path / name for name in WEIGHTS if (path / name).is_file()), None)
    if weights is None:
        raise FileNotFoundError(f"No weights in {path}: expected {' or '.join(WEIGHTS)}.")
    config = path / "config.json"
    return open_checkpoint(weights), _stated(config, part) if config.is_file() else {}


def _stated(config: Path, part: str) -> dict[str, Any]:
    table = read_table(config)
    table = table.get(part, table)
    if not isinstance(table, dict):
        raise ValueError(f"{config} is damaged: {part} is not a table. Download it again.")
    stated = {name: table[name] for name in UNTOLD if name in table}
    for name, value in stated.items():
        if type(value) not in UNTOLD[name]:
            raise ValueError(f"{config} is damaged: {name} is {value!r:.40}. Download it again.")
    return stated
