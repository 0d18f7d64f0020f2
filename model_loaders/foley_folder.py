"""Which files of a folder make up Foley: recognised by their tensors, whatever they are called."""

from dataclasses import dataclass, fields
from pathlib import Path

from ..hunyuan.foley.config import XL, XXL
from .checkpoint import Checkpoint, open_checkpoint
from .kinds import AUDIO_VAE, CLAP, FOLEY_TRANSFORMER, SIGLIP, SYNCHFORMER, FileKind, identify

POCKET = Path(__file__).parent.parent / "pocket" / "foley"  # the tiny networks that come with the pack
SUFFIXES = {".safetensors", ".pth", ".pt", ".ckpt", ".bin"}
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
        """Tells one set of files from another without reading gigabytes: names, sizes and times of change."""
        parts = (getattr(self, field.name) for field in fields(self))
        paths = [path for part in parts for path in (sorted(part.iterdir()) if part.is_dir() else [part])]
        return "; ".join(f"{p.name} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in paths)


def find_foley(folder: Path, size: str | None = None) -> FoleyFiles:
    """The parts in `folder` and below it.

    size: "xl" or "xxl", where the folder holds both transformers.
    Raises: FileNotFoundError naming a missing part and its published file; ValueError for a part found twice.
    """
    inventory = Inventory(folder)
    return FoleyFiles(
        transformer=inventory.only(FOLEY_TRANSFORMER, size),
        audio_vae=inventory.only(AUDIO_VAE),
        synchformer=inventory.only(SYNCHFORMER),
        visual_encoder=inventory.only(SIGLIP),
        text_encoder=inventory.only(CLAP),
    )


def find_synchformer(folder: Path) -> Path:
    """The Synchformer in `folder` or below it. Raises as `find_foley`."""
    return Inventory(folder).only(SYNCHFORMER)


class Inventory:
    """The checkpoints below a folder. One that cannot be read matters only if its part is missing."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f"There is no folder {folder}. Give the folder that holds the weights.")
        self.folder = folder
        self.checkpoints: list[Checkpoint] = []
        self.unreadable: list[str] = []
        for path in sorted(folder.rglob("*")):
            if path.suffix in SUFFIXES and path.is_file():
                self._look_into(path)

    def _look_into(self, path: Path) -> None:
        try:
            self.checkpoints.append(open_checkpoint(path))
        except (ValueError, OSError) as error:
            self.unreadable.append(str(error))

    def only(self, kind: FileKind, size: str | None = None) -> Path:
        """The one file of a kind, or the folder that an encoder was published as."""
        paths = self._paths(kind, size)
        wanted = f"{kind.what} of size {size.upper()}" if size else kind.what
        if not paths:
            published = XL_FILE if size == "xl" else kind.published
            reasons = "".join(f" {reason}" for reason in self.unreadable)
            raise FileNotFoundError(
                f"No file in {self.folder} is {wanted}. The published one is {published}.{reasons}"
            )
        if len(paths) > 1:
            names = ", ".join(str(path.relative_to(self.folder)) for path in paths)
            choose = "choose with --size, or keep" if kind is FOLEY_TRANSFORMER and size is None else "keep"
            raise ValueError(
                f"{self.folder} holds {wanted} more than once ({names}): {choose} one of them there."
            )
        return paths[0]

    def _paths(self, kind: FileKind, size: str | None) -> list[Path]:
        matching = [c for c in self.checkpoints if identify(c) is kind]
        if size is not None:
            matching = [c for c in matching if c.shapes.get(WIDTH_TENSOR, (0,))[0] == SIZES[size]]
        # A published folder may hold its weights in two formats: it is one encoder all the same.
        return list(dict.fromkeys(_folder_of(c.path) for c in matching))


def _folder_of(path: Path) -> Path:
    return path.parent if (path.parent / "config.json").exists() else path
