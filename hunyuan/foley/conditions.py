"""What guides the sampler, in the form that does not depend on the step: encoded once per clip."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .positions import Positions

VISUAL = "visual"
SYNC = "sync"


@dataclass(frozen=True, kw_only=True)
class FoleyConditions:
    """A clip and a prompt after everything that one generation needs to compute only once.

    text_kv: (b, blocks, 2, text tokens, hidden), each joint block's normalised and rotated keys, and values.
    visual:  (b, visual tokens, hidden), embedded frames.
    sync:    (b, sync tokens, hidden), float32, embedded before they are stretched to the latents' length.
    positions: of latents of one length; None where every call makes its own.
    """

    text_kv: Tensor
    visual: Tensor
    sync: Tensor
    positions: Positions | None = None

    @property
    def rows(self) -> int:
        return self.visual.shape[0]

    def expand(self, rows: int) -> "FoleyConditions":
        """The same single row for `rows` samples, without copying."""
        return replace(self, **{name: t.expand(rows, *t.shape[1:]) for name, t in self.tensors().items()})

    def stacks_with(self, other: "FoleyConditions") -> bool:
        """Whether both fit into one batch: prompts of unequal length do not."""
        mine, theirs = self.tensors(), other.tensors()
        return all(mine[name].shape[1:] == theirs[name].shape[1:] for name in mine)

    @staticmethod
    def stack(parts: Sequence["FoleyConditions"]) -> "FoleyConditions":
        """The rows of all parts, in order."""
        rows = [part.tensors() for part in parts]
        return replace(parts[0], **{name: torch.cat([row[name] for row in rows]) for name in rows[0]})

    def tensors(self) -> dict[str, Tensor]:
        """What differs from clip to clip, by name: everything but the positions."""
        return {"text_kv": self.text_kv, "visual": self.visual, "sync": self.sync}
