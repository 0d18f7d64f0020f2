"""A recorded case of the published programs: sidecar, tensors, and the comparison with this project's."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

COMPARED = (".out.", ".mid.", ".extra.")  # tensors with these parts must be compared, if they are in the file
WEIGHTS = {"weights.": "foley", "w.": "avatar"}  # whose weights these prefixes announce


@dataclass(frozen=True, kw_only=True)
class Row:
    """One compared value. status: "ok", "FAILED", or "info" where it only documents the original's defect."""

    file: str
    tensor: str
    error: float
    allowed: str
    status: str
    note: str = ""

    def __str__(self) -> str:
        line = (
            f"{self.file}  {self.tensor}  max error {self.error:.3g}  allowed {self.allowed}  {self.status}"
        )
        return f"{line}  ({self.note})" if self.note else line


Rows = Iterator[Row]


class Golden:
    """One `*.json` with a `kind`, and the tensors that belong to it."""

    def __init__(self, sidecar: Path) -> None:
        self.path = sidecar
        self.sidecar: dict[str, Any] = json.loads(sidecar.read_text())
        self.seen: set[str] = set()

    @property
    def kind(self) -> str:
        return self.sidecar["kind"]

    @property
    def name(self) -> str:
        return self.path.stem

    @cached_property
    def tensors_path(self) -> Path:
        return self.path.with_name(self.sidecar.get("file", f"{self.name}.safetensors"))

    @cached_property
    def names(self) -> list[str]:
        if not self.tensors_path.exists():
            return []
        with safe_open(self.tensors_path, "pt") as file:
            return sorted(file.keys())

    @cached_property
    def system(self) -> str:
        """Whose golden this is: told by its weights, else by the sidecar's manner."""
        for prefix, system in WEIGHTS.items():
            if any(name.startswith(prefix) for name in self.names):
                return system
        return "avatar" if {"tolerance", "rows", "runs"} & set(self.sidecar) else "foley"

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """The random weights in float32, without their prefix, from this file or from its shards."""
        prefix = next(prefix for prefix, system in WEIGHTS.items() if system == self.system)
        shards = [self.path.with_name(shard) for shard in self.sidecar.get("weight_shards", [])]
        merged = {}
        for path in shards or [self.tensors_path]:
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118 - safe_open is no mapping
                    if name.startswith(prefix):
                        tensor = file.get_tensor(name)
                        merged[name.removeprefix(prefix)] = (
                            tensor.float() if tensor.is_floating_point() else tensor
                        )
        return merged

    @cached_property
    def cases(self) -> list[str]:
        """The prefixes `caseN.` that occur, in order."""
        found = {name.split(".", 1)[0] for name in self.names if name.startswith("case")}
        return sorted((f"{case}." for case in found), key=lambda case: int(case[4:-1]))

    def has(self, name: str) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> Tensor:
        with safe_open(self.tensors_path, "pt") as file:
            return file.get_tensor(name)

    def tolerance(self, group: str | None = None) -> tuple[float, float]:
        """atol and rtol of a group of the sidecar's tolerances, or of all tensors."""
        stated = self.sidecar.get("suggested_tolerance") or self.sidecar["tolerance"]
        pair = stated[group] if group else stated
        return pair.get("atol", 0.0), pair.get("rtol", 0.0)

    def compare(self, name: str, mine: Tensor, tolerance: tuple[float, float], *, info: bool = False) -> Row:
        """|mine - recorded| <= atol + rtol |recorded|, for every element."""
        self.seen.add(name)
        return self.compare_values(name, mine, self[name], tolerance, info=info)

    def compare_values(
        self,
        name: str,
        mine: Tensor,
        reference: Tensor,
        tolerance: tuple[float, float],
        *,
        info: bool = False,
    ) -> Row:
        atol, rtol = tolerance
        allowed = f"{atol:g} + {rtol:g} |ref|" if rtol else f"{atol:g}"
        if mine.shape != reference.shape:
            note = f"shape {tuple(mine.shape)}, recorded {tuple(reference.shape)}"
            return self.row(name, float("inf"), allowed, passed=False, info=info, note=note)
        difference = (mine.double() - reference.double()).abs()
        within = bool((difference <= atol + rtol * reference.double().abs()).all())
        error = float(difference.max()) if difference.numel() else 0.0
        return self.row(name, error, allowed, passed=within, info=info)

    def equal(self, name: str, mine: object, recorded: object) -> Row:
        """A row for values that must be the same, like indexes and counts."""
        return self.row(name, 0.0 if mine == recorded else 1.0, "equal", passed=mine == recorded)

    def row(
        self, name: str, error: float, allowed: str, *, passed: bool, info: bool = False, note: str = ""
    ) -> Row:
        status = "info" if info else ("ok" if passed else "FAILED")
        return Row(file=self.name, tensor=name, error=error, allowed=allowed, status=status, note=note)

    def forgotten(self) -> Iterator[Row]:
        """A failed row for everything recorded that no runner compared."""
        for name in self.names:
            if name not in self.seen and any(part in f".{name}" for part in COMPARED):
                yield self.row(name, float("nan"), "-", passed=False, note="not compared")


def find_goldens(folders: Iterable[Path]) -> Iterator[Golden]:
    """Every golden in the folders, by name."""
    for folder in folders:
        for sidecar in sorted(folder.glob("*.json")):
            golden = Golden(sidecar)
            if isinstance(golden.sidecar, dict) and "kind" in golden.sidecar:
                yield golden


def relative_l2(mine: Tensor, reference: Tensor) -> float:
    return float(torch.linalg.vector_norm(mine.float() - reference) / torch.linalg.vector_norm(reference))


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def build(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a network, built on the meta device, its weights."""
    network.load_state_dict(weights, strict=True, assign=True)
    network.eval()


@contextmanager
def recording(modules: Mapping[str, nn.Module], outputs: dict[str, Tensor]) -> Iterator[None]:
    """Keep a copy of what the modules put out, under their names in the mapping."""

    def keep(name: str) -> Callable:
        return lambda _module, _inputs, out: outputs.update({name: out.clone()})

    hooks = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
