"""Which files of a folder make up Foley: recognised by their tensors, whatever they are called."""

from dataclasses import dataclass, fields
from pathlib import Path

from ..hunyuan.foley.config import XL, XXL
from .inventory import Inventory, fingerprint
from .kinds import AUDIO_VAE, CLAP, FOLEY_TRANSFORMER, SIGLIP, SYNCHFORMER

POCKET = Path(__file__).parent.parent / "pocket" / "foley"  # the tiny networks that come with the pack
WIDTH_TENSOR = "audio_embedder.proj.bias"  # as long as the transformer is wide
XL_FILE = "hunyuanvideo_foley_xl.pth"
SIZES = {"xl": XL.hidden_size, "xxl": XXL.hidden_size}


@dataclass(frozen=True, kw_only=True)
class FoleyFiles:
    """The five parts: a file each, and for the two encoders published as folders possibly the folder."""

    transformer: Path
    audio_vae: Path
    synchformer: Path
    visual_encoder: Path
    text_encoder: Path

    @property
    def fingerprint(self) -> str:
        """Changes when the files do."""
        return fingerprint(getattr(self, field.name) for field in fields(self))


def find_foley(folder: Path, size: str | None = None) -> FoleyFiles:
    """The parts in `folder` and below it.

    size: "xl" or "xxl", where the folder holds both transformers.
    Raises: FileNotFoundError naming a missing part and its published file; ValueError for a part found twice.
    """
    inventory = Inventory(folder)
    return FoleyFiles(
        transformer=find_transformer(inventory, size),
        audio_vae=inventory.only(AUDIO_VAE),
        synchformer=inventory.only(SYNCHFORMER),
        visual_encoder=inventory.only(SIGLIP),
        text_encoder=inventory.only(CLAP),
    )


def find_transformer(inventory: Inventory, size: str | None) -> Path:
    """The transformer of a size, or the only one. Raises as `find_foley`."""
    kind, found = FOLEY_TRANSFORMER, inventory.of_kind(FOLEY_TRANSFORMER)
    if size is None:
        return inventory.single(kind, found, choose="choose with --size, or keep")
    found = [c for c in found if c.shapes.get(WIDTH_TENSOR, (0,))[0] == SIZES[size]]
    return inventory.single(kind, found, f" of size {size.upper()}", XL_FILE if size == "xl" else "")


def find_synchformer(folder: Path) -> Path:
    """The Synchformer in `folder` or below it. Raises as `find_foley`."""
    return Inventory(folder).only(SYNCHFORMER)
