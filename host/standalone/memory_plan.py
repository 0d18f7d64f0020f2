"""Which form of Foley fits into a given amount of memory: arithmetic over bytes, nothing is tried.

What lies on the device at once is the transformer, whole or by blocks, and the smaller networks: all of them
together, or one after another. Forms are tried from the best downwards; the first that fits is taken.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

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
# Assumed, not measured: a CUDA context with its libraries, and what an allocator cannot use of what it holds.
CONTEXT = int(0.6 * GB)
SLACK = 1.1  # of activations
PLACES = 2  # blocks on the device while streaming


@dataclass(frozen=True)
class Needs:
    """What a network takes on the device, in bytes."""

    weights: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + int(SLACK * self.activations)


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
    def blocks(self) -> list[int]:
        """Bytes of each block, in the order in which they run."""
        return [byte_size(block) for block in blocks_of(self.network)]

    @cached_property
    def rest(self) -> int:
        """Bytes of all that is in no block."""
        return byte_size(self.network) - sum(self.blocks)

    @cached_property
    def activations(self) -> int:
        return int(SLACK * of_foley(self.config, self.packings, self.dtype, self.rows, self.seconds))

    def on_device(self, streamed: Sequence[int]) -> int:
        """Bytes of weights on the device while these blocks are streamed."""
        if not streamed:
            return self.rest + sum(self.blocks)
        places = PLACES * max(self.blocks[number] for number in streamed)
        return self.rest + sum(self.blocks) - sum(self.blocks[number] for number in streamed) + places


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
        why = f" ({self.better.how} would need {_gb(self.better.peak)})" if self.better else ""
        return f"{self.how}: {_gb(self.peak)} by arithmetic{why}"

    @property
    def how(self) -> str:
        name = f"weights as {self.form.name}"
        if self.streamed:
            return f"{name}, {len(self.streamed)} of {len(self.form.blocks)} blocks streamed from host memory"
        return f"{name}, {'all networks stay' if self.together else 'networks take turns'}"


def _gb(size: int) -> str:
    """Rounded up: what is said to be needed is enough."""
    return f"{math.ceil(100 * size / GB) / 100:.2f} GB"


def plan_memory(budget: int, forms: Sequence[FoleyForm], others: Sequence[Needs]) -> MemoryPlan:
    """The best plan within `budget` bytes. forms: the best first. others: the smaller networks, by turns.

    Raises: ValueError naming the least that works.
    """
    tried: list[MemoryPlan] = []
    for plan in candidates(forms, others):
        if plan.peak <= budget:
            return replace(plan, better=tried[-1] if tried else None)
        tried.append(plan)
    least = min(tried, key=lambda plan: plan.peak)
    raise ValueError(
        f"{budget / GB:.3g} GB are too little: the least that works is {_gb(least.peak)}, with {least.how}."
        " Give more, or make less at once with --seconds or --batch."
    )


def candidates(forms: Sequence[FoleyForm], others: Sequence[Needs]) -> Iterator[MemoryPlan]:
    """The ways to use the forms, the best first: each whole, then the last by blocks, more and more."""
    for form in forms:
        whole = form.on_device(())
        most = max([form.activations, *(other.total - other.weights for other in others)])
        together = whole + sum(other.weights for other in others) + most
        turns = max([whole + form.activations, *(other.total for other in others)])
        yield MemoryPlan(form=form, streamed=(), together=True, peak=CONTEXT + together)
        yield MemoryPlan(form=form, streamed=(), together=False, peak=CONTEXT + turns)
    form = forms[-1]
    beside = max([form.activations, *(other.total for other in others)])
    for count in range(PLACES + 1, len(form.blocks) + 1):
        streamed = spread(count, len(form.blocks))
        peak = CONTEXT + form.on_device(streamed) + beside
        yield MemoryPlan(form=form, streamed=streamed, together=False, peak=peak)


def spread(count: int, total: int) -> tuple[int, ...]:
    """`count` of `total` numbers, as evenly as can be: between two copies there is time to compute."""
    return tuple(i * total // count for i in range(count))


def blocks_of(network: FoleyTransformer) -> list[nn.Module]:
    """The blocks in the order in which they run."""
    return [*network.triple_blocks, *network.single_blocks]


def carry_out(
    plan: MemoryPlan,
    transformer: FoleyTransformer,
    groups: Sequence[Sequence[nn.Module]],
    device: torch.device,
) -> None:
    """Put networks where the plan wants them. groups: the smaller ones, those together that work together."""
    if plan.together:
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
