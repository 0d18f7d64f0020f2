"""Which form of Foley fits into a given amount of memory: arithmetic over bytes, nothing is tried.

What lies on the device at once is the transformer, whole or by blocks, and the smaller networks: all of them
together, or one after another. Forms are tried from the best downwards; the first that fits is taken.
`avatar_plan` does the same for Avatar.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, TypeVar

import torch
from torch import nn

from ...hunyuan.foley.config import FoleyConfig
from ...hunyuan.foley.transformer import FoleyTransformer
from ...hunyuan.layers.packed import use_packed
from ...hunyuan.layers.packing import Packing
from .activations import of_foley
from .streaming import BlockStream, byte_size
from .turns import Turns

GB = 2**30  # as the memory of graphics cards is counted
# A CUDA context with its libraries: 0.68 GB on an H100 with torch 2.11. What an allocator cannot use of what
# it holds comes on top, within what torch is limited to.
CONTEXT = int(0.7 * GB)
SLACK = 1.1  # of activations
PLACES = 2  # blocks on the device while streaming
MORE = "Give more."


@dataclass(frozen=True)
class Needs:
    """What a network takes on the device, in bytes."""

    weights: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + int(SLACK * self.activations)


@dataclass(frozen=True)
class BlockSizes:
    """The weights of a network whose blocks may be streamed, in bytes.

    rest:   of all that is in no block.
    blocks: of each, in the order in which they run.
    """

    rest: int
    blocks: tuple[int, ...]

    @classmethod
    def of(cls, network: nn.Module, blocks: Iterable[nn.Module]) -> "BlockSizes":
        sizes = tuple(byte_size(block) for block in blocks)
        return cls(byte_size(network) - sum(sizes), sizes)

    def on_device(self, streamed: Sequence[int]) -> int:
        """Bytes on the device while these blocks are streamed."""
        stay = self.rest + sum(self.blocks) - sum(self.blocks[number] for number in streamed)
        return stay + PLACES * max((self.blocks[number] for number in streamed), default=0)

    def told(self, streamed: Sequence[int]) -> str:
        """How many blocks are streamed, as people are told."""
        return f"{len(streamed)} of {len(self.blocks)} blocks streamed from host memory"

    def streamings(self) -> Iterator[tuple[int, ...]]:
        """Numbers of blocks to stream: as few as save anything, then more and more."""
        total = len(self.blocks)
        for count in range(PLACES + 1, total + 1):
            yield spread(count, total)


class Plan(Protocol):
    """A way to use networks. peak: bytes on the device at once, at most. how: as people are told."""

    @property
    def peak(self) -> int: ...
    @property
    def how(self) -> str: ...


AnyPlan = TypeVar("AnyPlan", bound=Plan)


def best_within(budget: int, plans: Iterable[AnyPlan], advice: str = MORE) -> tuple[AnyPlan, AnyPlan | None]:
    """The first plan that fits, and the one before it, if there is one.

    plans:  the best first. advice: what to do where none fits.
    Raises: ValueError naming the least that works.
    """
    tried: list[AnyPlan] = []
    for plan in plans:
        if plan.peak <= budget:
            return plan, tried[-1] if tried else None
        tried.append(plan)
    raise too_little(budget, min(tried, key=lambda plan: plan.peak), advice)


def too_little(budget: int, least: Plan, advice: str) -> ValueError:
    """What to raise where less than the least is given."""
    return ValueError(
        f"{budget / GB:.3g} GB are too little: the least that works is {in_gb(least.peak)}, with {least.how}."
        f" {advice}"
    )


@dataclass(frozen=True, kw_only=True)
class FoleyForm:
    """The transformer in one form.

    name:     as people are told.
    packing:  what its loader is told.
    packings: of the packed layers, none in the plain form.
    """

    name: str
    packing: str | None
    config: FoleyConfig
    packings: Mapping[str, Packing]
    dtype: torch.dtype
    rows: int
    seconds: float

    @cached_property
    def network(self) -> FoleyTransformer:
        """Without values."""
        network = FoleyTransformer(self.config, dtype=self.dtype, device="meta")
        use_packed(network, self.packings)
        return network

    @cached_property
    def weights(self) -> BlockSizes:
        return BlockSizes.of(self.network, blocks_of(self.network))

    @cached_property
    def activations(self) -> int:
        return int(SLACK * of_foley(self.config, self.packings, self.dtype, self.rows, self.seconds))


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """A form that fits, and how it is used.

    streamed: numbers of the blocks that wait in host memory.
    together: whether all networks stay on the device; else they take turns.
    peak:     bytes on the device at once, at most, by arithmetic.
    better:   the plan that would have come next and did not fit.
    """

    form: FoleyForm
    streamed: tuple[int, ...]
    together: bool
    peak: int
    better: "MemoryPlan | None" = None

    def __str__(self) -> str:
        return f"{self.how}: {in_gb(self.peak)} by arithmetic{would_need(self.better)}"

    @property
    def how(self) -> str:
        name = f"weights as {self.form.name}"
        if self.streamed:
            return f"{name}, {self.form.weights.told(self.streamed)}"
        return f"{name}, {'all networks stay' if self.together else 'networks take turns'}"


def would_need(better: Plan | None) -> str:
    """Why not the plan that comes before the chosen one, if there is one."""
    return f" ({better.how} would need {in_gb(better.peak)})" if better else ""


def in_gb(size: int) -> str:
    """Rounded up: what is said to be needed is enough."""
    return f"{math.ceil(100 * size / GB) / 100:.2f} GB"


def plan_memory(budget: int, forms: Sequence[FoleyForm], others: Sequence[Needs]) -> MemoryPlan:
    """The best plan within `budget` bytes. forms: the best first. others: the smaller networks, by turns.

    Raises: ValueError naming the least that works.
    """
    advice = "Give more, or make less at once with --seconds or --batch."
    plan, better = best_within(budget, candidates(forms, others), advice)
    return replace(plan, better=better)


def candidates(forms: Sequence[FoleyForm], others: Sequence[Needs]) -> Iterator[MemoryPlan]:
    """The ways to use the forms, the best first: each whole, then the last by blocks, more and more."""
    for form in forms:
        whole = form.weights.on_device(())
        most = max([form.activations, *(other.total - other.weights for other in others)])
        together = whole + sum(other.weights for other in others) + most
        turns = max([whole + form.activations, *(other.total for other in others)])
        yield MemoryPlan(form=form, streamed=(), together=True, peak=CONTEXT + together)
        yield MemoryPlan(form=form, streamed=(), together=False, peak=CONTEXT + turns)
    form = forms[-1]
    beside = max([form.activations, *(other.total for other in others)])
    for streamed in form.weights.streamings():
        peak = CONTEXT + form.weights.on_device(streamed) + beside
        yield MemoryPlan(form=form, streamed=streamed, together=False, peak=peak)


def spread(count: int, total: int) -> tuple[int, ...]:
    """`count` of `total` numbers, as evenly as can be: between two copies there is time to compute."""
    return tuple(i * total // count for i in range(count))


def blocks_of(network: FoleyTransformer) -> list[nn.Module]:
    """The blocks in the order in which they run."""
    return [*network.triple_blocks, *network.single_blocks]


def carry_out(
    plan: MemoryPlan | None,
    transformer: FoleyTransformer,
    groups: Sequence[Sequence[nn.Module]],
    device: torch.device,
) -> None:
    """Put networks where the plan wants them, and all on the device where there is none.

    groups: the smaller ones, those together that work together.
    """
    if plan is None or plan.together:
        for network in (transformer, *(network for group in groups for network in group)):
            network.to(device)
    elif plan.streamed:
        blocks = blocks_of(transformer)
        BlockStream(transformer, [blocks[number] for number in plan.streamed], device)
        Turns(groups, device)
    else:
        Turns([[transformer], *groups], device)


def limit_cuda(budget: int, device: torch.device) -> None:
    """Have torch refuse what goes beyond the plan, rather than take what other programs need."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, (budget - CONTEXT) / total), device)
