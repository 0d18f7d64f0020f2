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


@dataclass(frozen=True, kw_only=True)
class GuidedPass:
    """The guided velocity at the noise levels of one choice of branches, for latents of one shape.

    It is made of tensors alone, the time among them, so that what it launches depends on no number of the
    host's: a CUDA graph can record it (`graphed.py`).

    batches: what each call of the transformer is given, the rows of `branches` in order.
    links:   the scale of each link in the guidance chain.
    """

    transformer: FoleyTransformer
    branches: tuple[int, ...]
    batches: tuple[FoleyConditions, ...]
    links: tuple[float, float, float]
    dtype: torch.dtype
    run: RunBlock

    @property
    def kind(self) -> tuple[object, ...]:
        """What passes have in common that launch the same, and differ at most in what the tensors hold."""
        shapes = tuple((t.shape, t.dtype) for batch in self.batches for t in batch.tensors().values())
        return self.branches, self.links, self.dtype, self.run, shapes

    @property
    def nbytes(self) -> int:
        """Of the conditions."""
        return sum(tensor.nbytes for batch in self.batches for tensor in batch.tensors().values())

    def __call__(self, latents: Tensor, time: Tensor) -> Tensor:
        """latents: (b, c, n), float32. time: (1,), float32, in 0..1000. Returns latents' shape, float32."""
        return combine(self.branches, self._velocities(latents, time), self.links)

    def _velocities(self, latents: Tensor, time: Tensor) -> Iterator[Tensor]:
        rows = len(latents)
        for conditions in self.batches:
            x = latents.to(self.dtype).repeat(conditions.rows // rows, 1, 1)
            yield from self.transformer(x, time, conditions, run=self.run).float().split(rows)


class GuidedVelocity:
    """d latents / d sigma under guidance: what a solver asks for.

    Conditions are prepared here, once; a call is pure. Branches whose prompts are equally long share one
    batch, unconditional rows first, and rows of a batch the sync tokens that they have in common. Batches are
    put together at the first call and kept until one asks for others.
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
        self.branches = tuple(distinct_branches(needed_branches(self.links), prompt.drop))
        self.deaf = {branch: SYNC in prompt.dropped(branch) for branch in self.branches}
        self.conditions = {branch: prompt.prepare(transformer, branch, dtype) for branch in self.branches}
        self._kept: tuple[object, GuidedPass] | None = None

    def __call__(self, latents: Tensor, sigma: float) -> Tensor:
        """latents: (b, c, n), float32. Returns the same shape, float32."""
        time = torch.full((1,), time_at(sigma), device=latents.device)
        return self.guided_pass(latents.shape, self.branches_at(sigma))(latents, time)

    def branches_at(self, sigma: float) -> tuple[int, ...]:
        """The branches of the guidance chain that run at a noise level."""
        low, high = self.interval
        return self.branches if low <= sigma <= high else self.branches[-1:]

    def guided_pass(self, shape: Sequence[int], branches: tuple[int, ...]) -> GuidedPass:
        """What is computed for latents of a shape (b, c, n): the same in all steps of a clip."""
        rows, _, length = shape
        key = branches, rows, length
        if self._kept is None or self._kept[0] != key:
            self._kept = key, self._new_pass(branches, rows, length)
        return self._kept[1]

    @property
    def nbytes(self) -> int:
        """Of what it keeps from one call to the next, without positions, which are small."""
        passes = [self._kept[1]] if self._kept else []
        tensors = [t for conditions in self.conditions.values() for t in conditions.tensors().values()]
        return sum(tensor.nbytes for tensor in tensors) + sum(kept.nbytes for kept in passes)

    def _new_pass(self, branches: tuple[int, ...], rows: int, length: int) -> GuidedPass:
        first, *others = (self.conditions[branch] for branch in branches)
        together = all(first.stacks_with(other) for other in others)
        groups = [branches] if together else [(branch,) for branch in branches]
        batches = [
            FoleyConditions.share(
                [self.conditions[branch] for branch in group], [self.deaf[branch] for branch in group], rows
            )
            for group in groups
        ]
        return GuidedPass(
            transformer=self.transformer, branches=branches, links=self.links, dtype=self.dtype, run=self.run,
            batches=tuple(self.transformer.place(batch, length) for batch in batches),
        )  # fmt: skip


def time_at(sigma: float) -> float:
    """What the transformer is told of a noise level: 0..1000, but never time 0."""
    return max(sigma, SMALLEST_SIGMA) * TIME_SCALE
