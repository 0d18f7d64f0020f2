"""`--memory` and `--weight-dtype`: in which form Foley's transformer is held, and where all networks lie."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..host.standalone.activations import of_module
from ..host.standalone.memory_plan import GB, FoleyForm, MemoryPlan, Needs, plan_memory
from ..host.standalone.streaming import byte_size
from ..hunyuan.foley.audio_vae import TILE, AudioVAE
from ..hunyuan.foley.features import BATCH
from ..hunyuan.foley.sync_encoder import SyncEncoder
from ..hunyuan.foley.text_encoder import TextEncoder
from ..hunyuan.foley.timing import LATENT_RATE, SEGMENT_FRAMES
from ..hunyuan.foley.transformer import FoleyTransformer
from ..hunyuan.foley.visual_encoder import VisualEncoder
from ..model_loaders.foley import load_transformer
from ..model_loaders.foley_packed import is_packed, load_packed_transformer, read_form
from .shared_options import add_memory, check_memory

FULL = "full"
WEIGHT_DTYPES = (FULL, "fp8", "int8")
SMALL = "int8"  # with a scale for each row it is nearer to the published weights than fp8, at the same size
TEXT_ACTIVATIONS = 128 << 20  # bytes; assumed for two prompts of 512 tokens


def add_memory_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("small memory")
    add_memory(group, "chooses the best form of the weights that fits, and says which")
    group.add_argument(
        "--weight-dtype", choices=WEIGHT_DTYPES,
        help="how the transformer's layers are stored: as they compute, or in a byte a weight (default: full,"
        " or what --memory chooses; a .gguf file stays packed)",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MemoryLimit:
    """What must fit. rows: samples made at once. branches: of guidance. seconds: made at once."""

    gigabytes: float
    rows: int
    branches: int
    seconds: float

    def __post_init__(self) -> None:
        check_memory(self.gigabytes)

    @property
    def bytes(self) -> int:
        return int(self.gigabytes * GB)


def transformer_of(path: Path, weight_dtype: str | None, dtype: torch.dtype) -> FoleyTransformer:
    """The transformer, packed as asked for or as its file is, else in the dtype it computes in."""
    if weight_dtype == FULL or not (weight_dtype or is_packed(path)):
        return load_transformer(path, dtype)
    return load_packed_transformer(path, weight_dtype, dtype)


def make_plan(
    path: Path,
    weight_dtype: str | None,
    dtype: torch.dtype,
    limit: MemoryLimit,
    others: Sequence[Needs],
    beside: int = 0,
) -> MemoryPlan:
    """The best plan for a transformer's file. beside: bytes of LoRAs. Raises ValueError if nothing fits."""
    return plan_memory(limit.bytes - beside, forms_of(path, weight_dtype, dtype, limit), others)


def forms_of(path: Path, weight_dtype: str | None, dtype: torch.dtype, limit: MemoryLimit) -> list[FoleyForm]:
    """The forms to choose from, the best first: only the one that is asked for, or that the file has."""
    rows = limit.rows * limit.branches

    def form(stored: str | None) -> FoleyForm:
        config, packings = read_form(path, None if stored == FULL else stored)
        packings = {} if stored == FULL else packings
        name = "/".join(sorted({packing.name for packing in packings.values()}))
        return FoleyForm(
            name=name or str(dtype).removeprefix("torch."), packing=stored, config=config, packings=packings,
            dtype=dtype, rows=rows, seconds=limit.seconds,
        )  # fmt: skip

    if weight_dtype or is_packed(path):
        return [form(weight_dtype)]
    return [form(FULL), form(SMALL)]


def needs_of(
    visual: VisualEncoder, sync: SyncEncoder, text: TextEncoder, vae: AudioVAE, limit: MemoryLimit
) -> list[Needs]:
    """What the smaller networks take, those together that work together; by count, on the meta device."""
    edge, side = visual.image_size, sync.image_size
    images = torch.empty(BATCH, 3, edge, edge, device="meta")
    segments = torch.empty(1, BATCH, SEGMENT_FRAMES, 3, side, side, device="meta")
    watching = max(of_module(visual, images), of_module(sync, segments))
    return [
        Needs(byte_size(visual) + byte_size(sync), watching),
        Needs(byte_size(text), TEXT_ACTIVATIONS),
        Needs(byte_size(vae), _tile_bytes(vae, limit)),
    ]


def _tile_bytes(vae: AudioVAE, limit: MemoryLimit) -> int:
    """What decoding a tile takes, or encoding one where the VAE can."""
    config, build = vae.config, {"dtype": next(vae.parameters()).dtype, "device": "meta"}
    frames = max(1, min(int(limit.seconds * LATENT_RATE), TILE + 2 * config.decoder_reach))
    decoding = of_module(vae.decoder, torch.empty(limit.rows, config.latent_dim, frames, **build))
    if vae.part == "decoder":
        return decoding
    samples = (TILE + 2 * config.encoder_reach) * config.hop
    return max(decoding, of_module(vae.encoder, torch.empty(1, 1, samples, **build)))
