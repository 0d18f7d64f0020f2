"""What guides the sampler, in the form that does not depend on the step: encoded once per clip."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

VISUAL = "visual"
SYNC = "sync"


@dataclass(frozen=True, kw_only=True)
class FoleyConditions:
    """A clip and a prompt after everything that one generation needs to compute only once.

    text_kv: (b, blocks, 2, text tokens, hidden), each joint block's normalised and rotated keys, and values.
    visual:  (b, visual tokens, hidden), embedded frames.
    sync:    (b, sync tokens, hidden), embedded before they are stretched to the latents' length.
    """

    text_kv: Tensor
    visual: Tensor
    sync: Tensor

    @property
    def rows(self) -> int:
        return self.visual.shape[0]

    def expand(self, rows: int) -> "FoleyConditions":
        """The same single row for `rows` samples, without copying."""
        return FoleyConditions(**{name: t.expand(rows, *t.shape[1:]) for name, t in self._tensors().items()})

    def stacks_with(self, other: "FoleyConditions") -> bool:
        """Whether both fit into one batch: prompts of unequal length do not."""
        mine, theirs = self._tensors(), other._tensors()
        return all(mine[name].shape[1:] == theirs[name].shape[1:] for name in mine)

    @staticmethod
    def stack(parts: Sequence["FoleyConditions"]) -> "FoleyConditions":
        """The rows of all parts, in order."""
        columns = {f.name: [getattr(part, f.name) for part in parts] for f in fields(FoleyConditions)}
        return FoleyConditions(**{name: torch.cat(tensors) for name, tensors in columns.items()})

    def _tensors(self) -> dict[str, Tensor]:
        return {f.name: getattr(self, f.name) for f in fields(self)}
