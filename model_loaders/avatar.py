"""Avatar's transformer and video autoencoder from their published files, and from re-saved ones.

Both are read lazily and strictly, like Foley's networks: sizes from shapes, every expected tensor present,
none unexpected.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..hunyuan.avatar.config import AvatarConfig
from ..hunyuan.avatar.transformer import AvatarTransformer
from ..hunyuan.avatar.video_vae import VideoVAE, VideoVAEConfig
from ..hunyuan.avatar.video_vae_config import SETTINGS
from ..hunyuan.layers.float8 import FLOAT8, use_float8
from .avatar_float8 import SCALE, restored, scales_of, stored, without_scales
from .checkpoint import Checkpoint, open_checkpoint
from .json_file import read_table
from .kinds import AVATAR_TRANSFORMER, VIDEO_VAE
from .strict import load_strict, reading_sizes, require

BLOCKS = ("double_blocks.", "single_blocks.")  # where the linear layers are that have an 8-bit form
VAE_FILES = ("pytorch_model.pt", "diffusion_pytorch_model.safetensors", "model.safetensors")
VAE_PREFIX = "vae."


def load_transformer(
    path: Path | str,
    dtype: torch.dtype | None = None,
    *,
    scales: Path | str | None = None,
    rest: torch.dtype | None = None,
) -> AvatarTransformer:
    """The transformer, of the size its tensors have, in eval mode on the CPU.

    dtype:  None keeps the file's. float8_e4m3fn gives the blocks' linear layers at a byte for each weight,
            with a scale (`Float8Linear`); so does an 8-bit file of which no dtype is asked. Any other dtype
            multiplies an 8-bit file's scales in.
    scales: the map of a published 8-bit file; without, the one beside it that is named like it.
    rest:   the dtype of all else where layers are 8 bits wide; None keeps the file's.
    Raises: FileNotFoundError, PermissionError; ValueError naming the file, the tensor and the expectation.
    """
    if dtype == torch.float8_e5m2:
        raise ValueError("Avatar's 8-bit layers are float8_e4m3fn, not float8_e5m2. Choose that.")
    transformer, checkpoint = _open_transformer(path)
    plain = without_scales(checkpoint)

    layers = block_layers(transformer)
    found = scales_of(checkpoint, layers, scales)
    if dtype == FLOAT8 or (found and dtype is None):
        return _load_float8(transformer, stored(plain, found, layers), layers, rest)
    source = restored(plain, found, dtype) if found and dtype is not None else plain
    return load_strict(transformer, source, AVATAR_TRANSFORMER, dtype=dtype)


def sized_transformer(path: Path | str, dtype: torch.dtype, rest: torch.dtype) -> AvatarTransformer:
    """What `load_transformer` gives, without values, on the meta device. Raises as it does."""
    transformer, _ = _open_transformer(path)
    transformer.to(rest)
    if dtype == FLOAT8:
        _use_float8(transformer)
    return transformer


def _open_transformer(path: Path | str) -> tuple[AvatarTransformer, Checkpoint]:
    """The transformer of the size that a file's tensors have, without values, and the file."""
    checkpoint = open_checkpoint(path)
    require(checkpoint, AVATAR_TRANSFORMER)
    plain = without_scales(checkpoint)
    with reading_sizes(plain, AVATAR_TRANSFORMER):
        return AvatarTransformer(AvatarConfig.from_shapes(plain.shapes), device="meta"), checkpoint


def block_layers(transformer: AvatarTransformer) -> list[str]:
    """Names of the linear layers in blocks: 320 as published."""
    return [
        name
        for name, module in transformer.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(BLOCKS)
    ]


def _load_float8(
    transformer: AvatarTransformer, checkpoint: Checkpoint, layers: list[str], rest: torch.dtype | None
) -> AvatarTransformer:
    _use_float8(transformer)
    keep = {f"{layer}{part}" for layer in layers for part in (".weight", SCALE)}
    return load_strict(transformer, checkpoint, AVATAR_TRANSFORMER, dtype=rest, keep=keep)


def _use_float8(transformer: AvatarTransformer) -> None:
    use_float8(transformer.double_blocks)
    use_float8(transformer.single_blocks)


def load_video_vae(path: Path | str, dtype: torch.dtype = torch.float32) -> VideoVAE:
    """The video autoencoder, in eval mode on the CPU.

    path:   the file, or its published folder. What no shape tells is in the config.json beside it, or in the
            file's own metadata.
    Raises: FileNotFoundError, PermissionError; ValueError naming the file, the tensor and the expectation.
    """
    vae, checkpoint = _open_video_vae(path)
    return load_strict(vae, checkpoint, VIDEO_VAE, dtype=dtype)


def sized_video_vae(path: Path | str, dtype: torch.dtype = torch.float32) -> VideoVAE:
    """What `load_video_vae` gives, without values, on the meta device. Raises as it does."""
    return _open_video_vae(path)[0].to(dtype)


def _open_video_vae(path: Path | str) -> tuple[VideoVAE, Checkpoint]:
    """The autoencoder of the size that a file's tensors have, without values, and the file."""
    checkpoint = open_checkpoint(_vae_file(Path(path)))
    checkpoint = checkpoint.renamed(lambda name: name.removeprefix(VAE_PREFIX))
    require(checkpoint, VIDEO_VAE)
    settings = _vae_settings(checkpoint)
    with reading_sizes(checkpoint, VIDEO_VAE):
        return VideoVAE(VideoVAEConfig.from_shapes(checkpoint.shapes, settings), device="meta"), checkpoint


def _vae_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = next((path / name for name in VAE_FILES if (path / name).is_file()), None)
    if found is None:
        raise FileNotFoundError(f"No video VAE in {path}: expected {' or '.join(VAE_FILES)}.")
    return found


def _vae_settings(checkpoint: Checkpoint) -> dict[str, Any]:
    """What is said beside the tensors. A folder of many models may hold another one's config.json."""
    beside = checkpoint.path.with_name("config.json")
    stated = read_table(beside) if beside.is_file() else {}
    if not any(name in stated for name in ("sample_tsize", "mid_block_causal_attn")):
        stated = checkpoint.config
    for name in SETTINGS:
        if name in stated and type(stated[name]) not in (int, float):
            raise ValueError(f"{beside} is damaged: {name} is {stated[name]!r:.40}. Download it again.")
    return stated
