"""Which checkpoints a folder holds: recognised by their tensors, whatever they are called."""

from collections.abc import Iterable
from pathlib import Path

from .checkpoint import Checkpoint, open_checkpoint
from .kinds import FileKind, identify

SUFFIXES = {".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".gguf"}


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

    def only(self, kind: FileKind) -> Path:
        """The one file of a kind, or the folder that an encoder was published as."""
        return self.single(kind, self.of_kind(kind))

    def of_kind(self, kind: FileKind) -> list[Checkpoint]:
        return [checkpoint for checkpoint in self.checkpoints if identify(checkpoint) is kind]

    def single(
        self, kind: FileKind, found: Iterable[Checkpoint], form: str = "", published: str = "", choose="keep"
    ) -> Path:
        """The one of those that were found.

        form:   what is special about it, to follow the kind's name. published: its file, if another.
        choose: how else to be left with one.
        Raises: FileNotFoundError for nothing, ValueError for more than one.
        """
        # A published folder may hold its weights in shards or in two formats: it is one network all the same.
        paths = list(dict.fromkeys(folder_of(c.path) if kind.is_folder else c.path for c in found))
        wanted = f"{kind.what}{form}"
        if not paths:
            reasons = "".join(f" {reason}" for reason in self.unreadable)
            raise FileNotFoundError(
                f"No file in {self.folder} is {wanted}. The published one is {published or kind.published}."
                f"{reasons}"
            )
        if len(paths) > 1:
            names = ", ".join(str(path.relative_to(self.folder)) for path in paths)
            raise ValueError(
                f"{self.folder} holds {wanted} more than once ({names}): {choose} one of them there."
            )
        return paths[0]


def folder_of(path: Path) -> Path:
    """The folder of a network that was published with its config.json, else the file itself."""
    return path.parent if (path.parent / "config.json").exists() else path


def fingerprint(parts: Iterable[Path]) -> str:
    """Tells one set of files from another without reading gigabytes: names, sizes and times of change."""
    paths = [path for part in parts for path in (sorted(part.iterdir()) if part.is_dir() else [part])]
    return "; ".join(f"{p.name} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in paths)
