"""Foley's steps as CUDA graphs: what a step launches is recorded once, and each further step is one launch.

A step of the published networks launches some thousand small kernels, and a fast card waits for them to be
launched. A graph reads and writes at the places it was recorded with, so latents, time and conditions are
copied to theirs and the answer is copied out: the windows of a film, each with conditions of its own, share
one. What decides which kernels run stays with the host: there is a graph for each shape of the latents and
the conditions, with guidance and without.

Not for weights that come and go, streamed or by turns: a graph would read where they no longer are.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Protocol, TypeVar
from weakref import ref

import torch
from torch import Tensor, nn

from ..sampling.solvers import Velocity
from .velocity import GuidedPass, GuidedVelocity, time_at

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class Capture(Protocol):
    """Records what a function without arguments launches.

    What it gives computes anew from what the inputs hold then, into the same tensors each time.
    """

    def __call__(self, compute: Callable[[], Answer], /) -> Callable[[], Answer]: ...


# How far a graph's first answer may be from the plain one, relative L2: the same kernels give the same
# numbers, but a library may choose others for a step that is recorded.
ALLOWED = {torch.float32: 1e-4}
ALLOWED_IN_16_BITS = 2e-2


MOST_GRAPHS = 32  # at a time; each holds some MB, and a film's prompts and last windows have many lengths


class StepGraphs:
    """The recorded steps of one network. Calling them with a velocity of it is calling that velocity.

    The first call of a kind is computed as ever, and recorded; the recording's answer is held against it, and
    is what counts from then on. Where a recording fails, or answers something else, that is logged with the
    reason, and everything goes on without graphs.

    captured: how many were recorded. seconds: that this has taken. Graphs and their memory go when this goes.
    """

    def __init__(self, transformer: nn.Module, capture: Capture | None = None) -> None:
        """capture: in the place of CUDA's, for tests.

        Raises: ValueError for a network that is not on a CUDA device, or whose layers have hooks: they would
        run once, while the graph is recorded.
        """
        if layer := hooked_layer(transformer):
            raise ValueError(
                f"{layer} has hooks, as layers have whose weights come and go; a CUDA graph would not run"
                " them. Keep all weights on the device, or do without graphs."
            )
        self.captured, self.seconds = 0, 0.0
        self._capture = capture or cuda_capture(next(transformer.parameters()).device)
        self._graphs: OrderedDict[object, StepGraph] = OrderedDict()  # the last used last
        self._plain = False

    def of(self, velocity: GuidedVelocity) -> Velocity:
        """The velocity, its steps recorded here. Nothing is waited for, but at the first of a kind."""
        return partial(self, velocity)

    @torch.no_grad()
    def __call__(self, velocity: GuidedVelocity, latents: Tensor, sigma: float) -> Tensor:
        """As the velocity. The answer is the caller's own."""
        if self._plain:
            return velocity(latents, sigma)
        guided = velocity.guided_pass(latents.shape, velocity.branches_at(sigma))
        key = guided.kind, latents.shape, latents.dtype
        if key in self._graphs:
            self._graphs.move_to_end(key)
            return self._graphs[key](guided, latents, sigma)

        start = time.perf_counter()
        expected = velocity(latents, sigma)
        try:
            graph = StepGraph(guided, latents, sigma, self._capture)
            answer = graph(guided, latents, sigma)
            check_same(answer, expected, guided.dtype)
        except RuntimeError as error:
            self._go_on_plainly(error)
            return expected
        self._keep(key, graph)
        self.seconds += time.perf_counter() - start
        return answer

    def _keep(self, key: object, graph: "StepGraph") -> None:
        self.captured += 1
        self._graphs[key] = graph
        if len(self._graphs) > MOST_GRAPHS:
            self._graphs.popitem(last=False)

    def _go_on_plainly(self, error: RuntimeError) -> None:
        self._plain = True
        self._graphs.clear()
        reason = first_cause(error)
        logger.warning("Steps go on without CUDA graphs, at their ordinary speed: %s", reason)


class StepGraph:
    """A recorded pass: its inputs, at places of their own, and what replays it."""

    def __init__(self, guided: GuidedPass, latents: Tensor, sigma: float, capture: Capture) -> None:
        # Made under inference mode, they could not be written to outside of it.
        with torch.inference_mode(False):
            inputs, at = room_for(latents), torch.empty(1, device=latents.device)
            own = [
                replace(batch, **{name: room_for(tensor) for name, tensor in batch.tensors().items()})
                for batch in guided.batches
            ]
        self.latents, self.time, self.conditions = inputs, at, own
        self.shown: Callable[[], GuidedPass | None] = lambda: None  # whose conditions are at their places
        self._put(guided, latents, sigma)
        recorded = replace(guided, batches=tuple(own))
        self._replay = capture(lambda: recorded(inputs, at))

    def __call__(self, guided: GuidedPass, latents: Tensor, sigma: float) -> Tensor:
        self._put(guided, latents, sigma)
        return self._replay().clone()  # the next replay overwrites it, and solvers keep several

    def _put(self, guided: GuidedPass, latents: Tensor, sigma: float) -> None:
        self.latents.copy_(latents)
        self.time.fill_(time_at(sigma))
        if guided is not self.shown():
            for mine, theirs in zip(self.conditions, guided.batches, strict=True):
                given = theirs.tensors()
                for name, tensor in mine.tensors().items():
                    tensor.copy_(given[name])
            self.shown = ref(guided)


def room_for(tensor: Tensor) -> Tensor:
    """An empty tensor of the same shape, its own even where rows are one row repeated."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)


def cuda_capture(device: torch.device, *, rehearse: bool = True) -> Capture:
    """Records CUDA graphs on a device, all in one pool of memory: none is replayed while another runs.

    rehearse: compute once before that, unrecorded; not for what may be done but once.
    Raises: ValueError for another device.
    """
    if device.type != "cuda":
        raise ValueError(f"CUDA graphs need a CUDA device, and the network is on {device}. Do without them.")
    pool = torch.cuda.graph_pool_handle()

    def capture(compute: Callable[[], Answer], /) -> Callable[[], Answer]:
        stream, graph = side_stream(device), torch.cuda.CUDAGraph()
        stream.wait_stream(torch.cuda.current_stream(device))
        # Torch leaves the stream that it records on only if recording went well; this one is always left.
        with torch.cuda.stream(stream):
            if rehearse:
                compute()  # what a library does at a stream's first use must not be recorded
            # What other threads do meanwhile is none of the recording's business.
            with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                answer = compute()
        torch.cuda.current_stream(device).wait_stream(stream)

        def replay() -> Answer:
            with torch.inference_mode():  # torch writes to what it made in the mode of the recording
                graph.replay()
            return answer

        return replay

    return capture


@cache
def side_stream(device: torch.device) -> torch.cuda.Stream:
    """Where graphs are recorded: one for all, since libraries keep memory for every stream they have seen."""
    return torch.cuda.Stream(device)


def hooked_layer(network: nn.Module) -> str | None:
    """The name of the first layer that does more than compute when it is called."""
    for name, module in network.named_modules():
        if module._forward_pre_hooks or module._forward_hooks:
            return name or type(network).__name__
    return None


def check_same(answer: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    """Raise RuntimeError if a graph answers something else than what was recorded. Waits for both."""
    allowed = ALLOWED.get(dtype, ALLOWED_IN_16_BITS)
    difference = float((answer - expected).norm() / expected.norm().clamp(min=1e-30))
    if not difference <= allowed:
        raise RuntimeError(f"the recorded step differs by {difference:.1e} from the plain one")


def first_cause(error: BaseException) -> str:
    """The first line of what went wrong first: ending a capture that failed fails too, and says less."""
    while error.__context__ is not None:
        error = error.__context__
    return (str(error).splitlines() or [type(error).__name__])[0]


def paced(states: Iterator[Tensor]) -> Iterator[Tensor]:
    """The states of a denoising loop, none before the one before it is computed.

    Graphs are launched much faster than they run, so that all steps would be under way before the first is
    done: progress would tell nothing, and cancelling stop nothing. One step ahead, the card never waits.
    """
    before: torch.cuda.Event | None = None
    for state in states:
        if state.is_cuda:
            done = torch.cuda.Event(blocking=True)
            done.record(torch.cuda.current_stream(state.device))
            if before is not None:
                before.synchronize()
            before = done
        yield state
