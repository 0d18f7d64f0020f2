"""Foley's networks from their published files, and from the re-saved ones that keep the names.

All are read lazily and strictly: sizes from shapes, every expected tensor present, none unexpected. What a
file holds beyond the network is named here and not read.
"""

import logging
from pathlib import Path
from typing import Literal

import torch

from ..hunyuan.foley.audio_vae import AudioVAE, AudioVAEConfig, fold_weight_norm
from ..hunyuan.foley.desync import Synchformer, SynchformerConfig
from ..hunyuan.foley.sync_encoder import PREFIX, SyncEncoder, SyncEncoderConfig
from ..hunyuan.foley.transformer import FoleyTransformer
from ..hunyuan.foley.weight_norm import FORMS, fused_shapes
from .checkpoint import Checkpoint, open_checkpoint
from .dtypes import FLOAT8
from .foley_packed import open_transformer, wide_tensors
from .gguf_file import PackedCheckpoint
from .kinds import AUDIO_VAE, FOLEY_TRANSFORMER, SYNCHFORMER
from .strict import check_tensor, load_strict, reading_sizes, refuse_missing, require

logger = logging.getLogger(__name__)

VAE_ENCODER = ("encoder.", "quant_conv.")
NOT_VISUAL = ("afeat_extractor.", "vproj.", "aproj.", "transformer.")  # what measures offsets


def load_transformer(path: Path | str, dtype: torch.dtype | None = None) -> FoleyTransformer:
    """The transformer, of the size its tensors have, in eval mode on the CPU.

    dtype:  None keeps the file's, bfloat16 as published; 8-bit floats and a GGUF file's packed numbers become
            that unless asked for by name. An 8-bit dtype is that of the layers for which it is wide enough,
            see `packable_layers`; all else then becomes bfloat16.
    Raises: FileNotFoundError, PermissionError; ValueError naming the file, the tensor and the expectation.
    """
    transformer, checkpoint = open_transformer(path)
    if isinstance(checkpoint, PackedCheckpoint):
        dtype = dtype or torch.bfloat16
        logger.info("%s is unpacked to %s while it is read.", checkpoint.path.name, dtype)
    wide = wide_tensors(transformer) if dtype in FLOAT8 else ()
    return load_strict(transformer, checkpoint, FOLEY_TRANSFORMER, dtype=dtype, wide=wide)


def load_audio_vae(
    path: Path | str, part: Literal["decoder", "both"] = "decoder", dtype: torch.dtype = torch.float32
) -> AudioVAE:
    """The audio autoencoder with its weight norm folded, in eval mode on the CPU.

    part:   "decoder" leaves the encoder, four fifths of the file, unread.
    Raises: FileNotFoundError, PermissionError; ValueError naming the file, the tensor and the expectation.
    """
    checkpoint = open_checkpoint(path)
    require(checkpoint, AUDIO_VAE)
    folded, kwargs = _folded(checkpoint), checkpoint.config
    with reading_sizes(checkpoint, AUDIO_VAE):
        config = AudioVAEConfig.from_kwargs(kwargs) if kwargs else AudioVAEConfig.from_shapes(folded.shapes)
        vae = AudioVAE(config, part=part, device="meta")
    return load_strict(vae, folded, AUDIO_VAE, ignore=VAE_ENCODER if part == "decoder" else (), dtype=dtype)


def load_sync_encoder(path: Path | str, dtype: torch.dtype = torch.float32) -> SyncEncoder:
    """Synchformer's visual branch, in eval mode on the CPU. The rest of a complete Synchformer is not read.

    Raises: FileNotFoundError, PermissionError; ValueError naming the file, the tensor and the expectation.
    """
    checkpoint = open_checkpoint(path)
    require(checkpoint, SYNCHFORMER)
    shapes = {n.removeprefix(PREFIX): s for n, s in checkpoint.shapes.items() if n.startswith(PREFIX)}
    with reading_sizes(checkpoint, SYNCHFORMER, PREFIX):
        num_heads = checkpoint.stated("visual_heads") or checkpoint.stated("num_heads")
        config = SyncEncoderConfig.from_shapes(shapes, num_heads)
        encoder = SyncEncoder(config, device="meta")
    return load_strict(encoder, checkpoint, SYNCHFORMER, prefix=PREFIX, ignore=NOT_VISUAL, dtype=dtype)


def load_synchformer(path: Path | str, dtype: torch.dtype = torch.float32) -> Synchformer:
    """Synchformer complete, which measures how far sound and picture are apart, in eval mode on the CPU.

    Raises: FileNotFoundError, PermissionError; ValueError naming the file, the tensor and the expectation.
    """
    checkpoint = open_checkpoint(path)
    require(checkpoint, SYNCHFORMER)
    heads = {name: checkpoint.stated(name) for name in ("num_heads", "audio_heads", "visual_heads")}
    with reading_sizes(checkpoint, SYNCHFORMER):
        synchformer = Synchformer(SynchformerConfig.from_shapes(checkpoint.shapes, **heads), device="meta")
    return load_strict(synchformer, checkpoint, SYNCHFORMER, dtype=dtype)


def _folded(checkpoint: Checkpoint) -> Checkpoint:
    """The file under the network's names: each pair of length and direction is seen as its weight."""
    _check_pairs(checkpoint)
    shapes = fused_shapes(checkpoint.shapes)
    parts = {name: _parts(checkpoint, name) for name in shapes}
    return Checkpoint(
        checkpoint.path,
        shapes,
        dtypes={name: checkpoint.dtypes[made_from[-1]] for name, made_from in parts.items()},
        metadata=checkpoint.metadata,
        read=lambda name: fold_weight_norm({part: checkpoint[part].float() for part in parts[name]})[name],
    )


def _parts(checkpoint: Checkpoint, name: str) -> tuple[str, ...]:
    layer = name.removesuffix(".weight")
    pairs = ((layer + length, layer + direction) for length, direction in FORMS)
    return next((pair for pair in pairs if pair[1] in checkpoint), (name,))


def _check_pairs(checkpoint: Checkpoint) -> None:
    """Raises ValueError unless every length has its direction, every direction its length, and they fit."""
    for name in checkpoint:
        for length, direction in FORMS:
            if not name.endswith((length, direction)):
                continue
            layer = name.removesuffix(length).removesuffix(direction)
            for part in (layer + length, layer + direction):
                if part not in checkpoint:
                    refuse_missing(part, checkpoint, AUDIO_VAE)
            outputs, *rest = checkpoint.shapes[layer + direction]
            check_tensor(checkpoint, layer + length, (outputs, *(1 for _ in rest)), AUDIO_VAE)
