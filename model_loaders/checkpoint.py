"""Any checkpoint file -> names, shapes, and tensors on demand.

A file is recognised by its first bytes, not by its name. Nothing in it is executed, and one that is not what
it should be is refused in a sentence that says so.
"""

import stat
from pathlib import Path

from .contents import Checkpoint
from .gguf_file import MAGIC as GGUF_MAGIC
from .gguf_file import open_gguf
from .pickle_file import LEGACY_MAGIC, ZIP_MAGIC, open_legacy, open_zip
from .safetensors_file import open_safetensors

__all__ = ["Checkpoint", "open_checkpoint"]

FIRST_BYTES = 64

MISTAKES = {
    b"version https://git-lfs": "is a Git LFS pointer, not the file it points to. Download the file itself.",
    b"<!doctype html": "is a web page. Download the file itself.",
    b"<html": "is a web page. Download the file itself.",
}


def open_checkpoint(path: Path | str) -> Checkpoint:
    """The tensors of a safetensors, torch or GGUF file: validated first, read when they are asked for.

    Raises FileNotFoundError, PermissionError, or ValueError for a file that is damaged, foreign or unsafe.
    """
    path = Path(path)
    start = _first_bytes(path)

    if not start:
        raise ValueError(f"{path.name} is empty. Download it again.")
    for beginning, problem in MISTAKES.items():
        if start.lower().startswith(beginning.lower()):
            raise ValueError(f"{path.name} {problem}")
    if start.startswith(ZIP_MAGIC) or LEGACY_MAGIC in start:
        if path.suffix == ".safetensors":
            raise ValueError(f"{path.name} was written by torch.save, not as safetensors. Rename it to .pth.")
        return open_zip(path) if start.startswith(ZIP_MAGIC) else open_legacy(path)
    if start.startswith(GGUF_MAGIC):
        return open_gguf(path)
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return open_safetensors(path)
    raise ValueError(
        f"{path.name} is not a checkpoint: neither safetensors nor GGUF, nor written by torch.save."
    )


def is_gguf(path: Path | str) -> bool:
    """Told by its first bytes. Raises as `open_checkpoint` for what is no file that can be read."""
    return _first_bytes(Path(path)).startswith(GGUF_MAGIC)


def _first_bytes(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ValueError(f"{path.name} is a folder. Choose the checkpoint file in it.")
        if not stat.S_ISREG(mode):
            raise ValueError(f"{path.name} is not a regular file. Choose a checkpoint file.")
        with path.open("rb") as file:
            return file.read(FIRST_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(f"There is no checkpoint file {path}.") from error
    except PermissionError as error:
        raise PermissionError(f"{path.name} may not be read. Change its permissions.") from error
