"""What a checkpoint file holds, whatever its format."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

MAX_TENSORS = 10_000  # the largest published file has about a thousand
MAX_NAME = 200  # characters


def check_name(path: Path, name: Any) -> None:
    """Raises ValueError unless this can be a tensor's name, and be shown in a sentence."""
    if type(name) is not str or len(name) > MAX_NAME or not name.isprintable():
        raise ValueError(f"{path.name} is damaged: {name!r:.60} is no name of a tensor.")


class Checkpoint(Mapping[str, Tensor]):
    """A checkpoint's tensors by name. Shapes and dtypes are known; a tensor is read when it is asked for.

    metadata: what the file says about itself; text only in safetensors, any plain values in torch files.
    """

    def __init__(
        self,
        path: Path,
        shapes: Mapping[str, tuple[int, ...]],
        dtypes: Mapping[str, torch.dtype],
        metadata: Mapping[str, Any],
        read: Callable[[str], Tensor],
    ) -> None:
        if not shapes:
            raise ValueError(f"{path.name} holds no tensors. Choose a checkpoint file.")
        if len(shapes) > MAX_TENSORS:
            raise ValueError(f"{path.name} names {len(shapes)} tensors, more than any network here has.")
        self.path = path
        self.shapes = shapes
        self.dtypes = dtypes
        self.metadata = metadata
        self._read = read

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.shapes:
            raise KeyError(name)
        return self._read(name)

    def __contains__(self, name: object) -> bool:
        return name in self.shapes

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def renamed(self, rename: Callable[[str], str]) -> "Checkpoint":
        """The same tensors under other names. Raises ValueError if two of them would have the same."""
        names = {rename(name): name for name in self.shapes}
        if len(names) < len(self.shapes):
            raise ValueError(f"{self.path.name} is damaged: it holds a tensor under two names.")
        return Checkpoint(
            self.path,
            shapes={new: self.shapes[old] for new, old in names.items()},
            dtypes={new: self.dtypes[old] for new, old in names.items()},
            metadata=self.metadata,
            read=lambda name: self[names[name]],
        )

    @property
    def config(self) -> dict[str, Any]:
        """The numbers that shapes do not tell, where the file states them.

        Torch files keep them in `metadata["kwargs"]`, safetensors as JSON in the metadata entry `config`.
        """
        stated = self.metadata.get("config", self.metadata.get("kwargs", {}))
        if isinstance(stated, str):
            try:
                stated = json.loads(stated)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{self.path.name}: its metadata entry config is not JSON.") from error
        if not isinstance(stated, dict):
            raise ValueError(f"{self.path.name}: its metadata entry config is not a table.")
        return stated

    def stated(self, name: str) -> int | None:
        """A whole number that the file states, in its config or beside it; None if it does not."""
        value = self.config.get(name, self.metadata.get(name))
        if value is None:
            return None
        try:
            return int(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.path.name}: its metadata says {name} is {value!r:.40}.") from error
