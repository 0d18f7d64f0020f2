"""What guides the sampler, in the form that does not depend on the step: encoded once per clip."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .positions import Positions
from .timing import TOKENS_PER_SEGMENT

VISUAL = "visual"
SYNC = "sync"


@dataclass(frozen=True, kw_only=True)
class FoleyConditions:
    """A clip and a prompt after everything that one generation needs to compute only once.

    text_kv: (b, blocks, 2, text tokens, hidden), each joint block's normalised and rotated keys, and values.
    visual:  (b, visual tokens, hidden), embedded frames.
    sync:    (b, sync tokens, hidden), float32, embedded before they are stretched to the latents' length.
    positions: of latents of one length; None where every call makes its own.
    sync_places: None where each row has sync tokens of its own. Rows that have one time can share them: then
        `sync` is (1, distinct tokens, hidden), and this, (b, sync tokens), which of them each of a row's is.
    """

    text_kv: Tensor
    visual: Tensor
    sync: Tensor
    positions: Positions | None = None
    sync_places: Tensor | None = None

    @property
    def rows(self) -> int:
        return self.visual.shape[0]

    @property
    def sync_tokens(self) -> int:
        """Of a row."""
        return (self.sync if self.sync_places is None else self.sync_places).shape[1]

    def expand(self, rows: int) -> "FoleyConditions":
        """The same single row for `rows` samples, without copying.

        Raises: ValueError where rows share sync tokens.
        """
        self._check_own()
        return replace(self, **{name: t.expand(rows, *t.shape[1:]) for name, t in self.tensors().items()})

    def stacks_with(self, other: "FoleyConditions") -> bool:
        """Whether both fit into one batch: prompts of unequal length do not."""
        mine, theirs = self.tensors(), other.tensors()
        return all(mine[name].shape[1:] == theirs[name].shape[1:] for name in mine)

    @staticmethod
    def stack(parts: Sequence["FoleyConditions"]) -> "FoleyConditions":
        """The rows of all parts, in order. Raises: ValueError where rows of a part share sync tokens."""
        for part in parts:
            part._check_own()
        rows = [part.tensors() for part in parts]
        return replace(parts[0], **{name: torch.cat([row[name] for row in rows]) for name in rows[0]})

    @staticmethod
    def share(parts: Sequence["FoleyConditions"], deaf: Sequence[bool], takes: int) -> "FoleyConditions":
        """`takes` rows of each part, in order, that share sync tokens.

        parts: of one clip, a single row each. deaf: which of them have the learned empty for sync features:
        its segments are all alike.
        """
        distinct = {
            empty: part.sync[:, :TOKENS_PER_SEGMENT] if empty else part.sync
            for part, empty in zip(parts, deaf, strict=True)
        }
        token = torch.arange(parts[0].sync_tokens, device=parts[0].sync.device)
        places, begin = {}, 0
        for empty, tokens in distinct.items():
            places[empty] = begin + token % tokens.shape[1]
            begin += tokens.shape[1]
        return replace(
            FoleyConditions.stack([part.expand(takes) for part in parts]),
            sync=torch.cat(list(distinct.values()), dim=1),
            sync_places=torch.stack([places[empty] for empty in deaf]).repeat_interleave(takes, dim=0),
        )

    def _check_own(self) -> None:
        if self.sync_places is not None:
            raise ValueError(
                "These rows share sync tokens, and cannot be put together with others."
                " Use what `FoleyTransformer.prepare` gives."
            )

    def tensors(self) -> dict[str, Tensor]:
        """What differs from clip to clip, by name: everything but the positions."""
        own = {"text_kv": self.text_kv, "visual": self.visual, "sync": self.sync}
        return own if self.sync_places is None else {**own, "sync_places": self.sync_places}
