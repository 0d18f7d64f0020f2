"""Checkpoints that are published in several files, with an index that says which tensor lies where."""

from pathlib import Path
from typing import Any

from .checkpoint import Checkpoint, open_checkpoint
from .json_file import read_table

WHOLE = ("model.safetensors", "pytorch_model.bin")  # as a folder's weights are looked for
INDEXES = tuple(f"{name}.index.json" for name in WHOLE)
MAX_SHARDS = 1000


def open_folder(path: Path) -> Checkpoint:
    """The weights of a folder as transformers publishes them: one file, or several with an index.

    path:   the folder, or a file by itself.
    Raises: FileNotFoundError naming what is not there; ValueError for what is damaged, foreign or unsafe.
    """
    if not path.is_dir():
        return open_checkpoint(path)
    for name in WHOLE:
        if (path / name).is_file():
            return open_checkpoint(path / name)
    for name in INDEXES:
        if (path / name).is_file():
            return open_sharded(path / name)
    raise FileNotFoundError(f"No weights in {path}: expected {' or '.join((*WHOLE, *INDEXES))}.")


def whole(path: Path) -> Path:
    """The folder, where a file is only one of those that an index beside it names; else the path itself."""
    for name in INDEXES:
        index = path.with_name(name)
        if path.is_file() and index.is_file() and path.name in _places(index).values():
            return path.parent
    return path


def open_sharded(index: Path) -> Checkpoint:
    """All tensors of the files that an index names. They are read when they are asked for."""
    places = _places(index)
    shards = {name: open_checkpoint(index.parent / name) for name in sorted(set(places.values()))}
    for tensor, name in places.items():
        if tensor not in shards[name]:
            raise ValueError(f"{name} is incomplete: by {index.name} it holds {tensor}. Download it again.")
    return Checkpoint(
        index.parent,
        shapes={tensor: shards[name].shapes[tensor] for tensor, name in places.items()},
        dtypes={tensor: shards[name].dtypes[tensor] for tensor, name in places.items()},
        metadata={},
        read=lambda tensor: shards[places[tensor]][tensor],
    )


def _places(index: Path) -> dict[str, str]:
    """Tensor -> file name in the same folder."""
    places: Any = read_table(index).get("weight_map")
    if not isinstance(places, dict) or not all(type(name) is str for name in places.values()):
        raise ValueError(f"{index} is damaged: weight_map is not a table of file names. Download it again.")
    for name in (names := set(places.values())):
        if Path(name).name != name or len(names) > MAX_SHARDS:
            raise ValueError(f"{index} is refused: {name!r:.80} is no file beside it.")
        if not (index.parent / name).is_file():
            raise FileNotFoundError(f"{index.parent} is incomplete: there is no {name}. Download it.")
    return places
