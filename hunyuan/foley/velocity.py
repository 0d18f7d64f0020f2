"""The guided velocity of a clip: the transformer run once for each branch of the guidance chain."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..sampling.denoise import SMALLEST_SIGMA
from ..sampling.guidance import ALWAYS, GuidanceScales, combine, needed_branches
from ..sampling.schedule import TIME_SCALE
from .conditions import SYNC, VISUAL, FoleyConditions
from .transformer import FoleyTransformer, RunBlock, run_block

# What each branch of the guidance chain is not shown: everything, then sync, then nothing.
HIDDEN = (frozenset({VISUAL, SYNC}), frozenset({SYNC}), frozenset(), frozenset())


ALL = 3  # the branch that also hears the prompt


def distinct_branches(branches: Sequence[int], drop: Collection[str]) -> list[int]:
    """The branches without those that see what the next one sees, `drop` hiding the difference."""
    kept = []
    for branch, following in zip(branches, [*branches[1:], ALL], strict=True):
        differs = frozenset(drop) | HIDDEN[branch] != frozenset(drop) | HIDDEN[following]
        if branch == branches[-1] or following == ALL or differs:
            kept.append(branch)
    return kept


@dataclass(frozen=True, kw_only=True)
class FoleyPrompt:
    """Encoded clip and prompts, before the transformer has seen them.

    positive, negative: (1, text tokens, text size).
    visual: (1, frames, visual size). sync: (1, tokens, sync size).
    drop: modalities that no branch shall see; for sound from text alone, both.
    """

    positive: Tensor
    negative: Tensor
    visual: Tensor
    sync: Tensor
    drop: frozenset[str] = frozenset()

    def prepare(self, transformer: FoleyTransformer, branch: int, dtype: torch.dtype) -> FoleyConditions:
        """Branch 0 is unconditional, 1 sees the video, 2 also sync, 3 the prompt in the negative's place."""
        text = self.positive if branch == ALL else self.negative
        return transformer.prepare(text.to(dtype), self.visual, self.sync, self.dropped(branch))

    def dropped(self, branch: int) -> frozenset[str]:
        return self.drop | HIDDEN[branch]


class GuidedVelocity:
    """d latents / d sigma under guidance: what a solver asks for.

    Conditions are prepared here, once; a call is pure. Branches whose prompts are equally long share one
    batch, unconditional rows first. Batches are put together at the first call and kept until one asks for
    others.
    """

    def __init__(
        self,
        transformer: FoleyTransformer,
        prompt: FoleyPrompt,
        scales: GuidanceScales,
        *,
        interval: tuple[float, float] = ALWAYS,
        dtype: torch.dtype = torch.float32,
        run: RunBlock = run_block,
    ) -> None:
        """interval: noise levels, inclusive, at which guidance acts; elsewhere the last branch runs alone.

        dtype: what the transformer computes in; features and latents may come in any.
        run:   calls each of the transformer's blocks, see `FoleyTransformer.forward`.
        """
        self.transformer, self.interval, self.dtype, self.run = transformer, interval, dtype, run
        self.links = scales.chain
        self.branches = distinct_branches(needed_branches(self.links), prompt.drop)
        self.conditions = {branch: prompt.prepare(transformer, branch, dtype) for branch in self.branches}
        self._kept: tuple[object, list[FoleyConditions]] = None, []

    def __call__(self, latents: Tensor, sigma: float) -> Tensor:
        """latents: (b, c, n), float32. Returns the same shape, float32."""
        low, high = self.interval
        branches = self.branches if low <= sigma <= high else self.branches[-1:]
        return combine(branches, self._velocities(latents, sigma, branches), self.links)

    def _velocities(self, latents: Tensor, sigma: float, branches: Sequence[int]) -> Iterator[Tensor]:
        rows, _, length = latents.shape
        time = max(sigma, SMALLEST_SIGMA) * TIME_SCALE
        for conditions in self._batches(tuple(branches), rows, length):
            x = latents.to(self.dtype).repeat(conditions.rows // rows, 1, 1)
            t = torch.full((x.shape[0],), time, device=x.device)
            yield from self.transformer(x, t, conditions, run=self.run).float().split(rows)

    def _batches(self, branches: tuple[int, ...], rows: int, length: int) -> list[FoleyConditions]:
        """What each call of the transformer is given: the same in all steps of a clip."""
        key = branches, rows, length
        if self._kept[0] != key:
            batches = [self.conditions[branch].expand(rows) for branch in branches]
            if all(batches[0].stacks_with(other) for other in batches[1:]):
                batches = [FoleyConditions.stack(batches)]
            self._kept = key, [self.transformer.place(batch, length) for batch in batches]
        return self._kept[1]
