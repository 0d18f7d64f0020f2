"""Block streaming: weights of a network's blocks wait in host memory and come to the device one ahead.

Two places on the device, each as large as the largest block, take turns: while one block computes, the next
is copied into the other place, on a stream of its own where the device has streams. On a CPU the same is done
with plain copies.

A block comes when the first of its layers is called, whoever calls it, so that a network need not know.
Blocks are expected in the order they are given in, round and round; any other is brought when it is asked
for, and has to be waited for.
"""

import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

ALIGNMENT = 256  # bytes: where a tensor may begin in a place
REMEMBERED = 1000  # copies


@dataclass(frozen=True)
class Slot:
    """Where a module keeps one of its tensors."""

    owner: nn.Module
    name: str
    is_parameter: bool

    @property
    def tensor(self) -> Tensor:
        return getattr(self.owner, self.name)

    def put(self, tensor: Tensor) -> None:
        """Have another tensor there. (Its data alone cannot change to every device.)"""
        if self.is_parameter:
            self.owner._parameters[self.name] = nn.Parameter(tensor, requires_grad=False)
        else:
            self.owner._buffers[self.name] = tensor


def slots_of(network: nn.Module) -> list[Slot]:
    """All that the network's modules hold."""
    return [
        Slot(module, name, table is module._parameters)
        for module in network.modules()
        for table in (module._parameters, module._buffers)
        for name, tensor in table.items()
        if tensor is not None
    ]


def byte_size(network: nn.Module) -> int:
    """Bytes of all that the network holds, each tensor beginning where `ALIGNMENT` lets it."""
    return sum(-(-slot.tensor.nbytes // ALIGNMENT) * ALIGNMENT for slot in slots_of(network))


@dataclass(frozen=True)
class Span:
    """Where one tensor of a block lies in the block's bytes."""

    slot: Slot
    begin: int
    shape: torch.Size
    dtype: torch.dtype

    @property
    def end(self) -> int:
        return self.begin + self.shape.numel() * self.dtype.itemsize

    def within(self, place: Tensor) -> Tensor:
        """The tensor as it lies in a place, (bytes,) uint8."""
        return place[self.begin : self.end].view(self.dtype).view(self.shape)


class HostBlock:
    """A block whose tensors lie one after another in a piece of host memory, (bytes,) uint8."""

    def __init__(self, block: nn.Module, memory: Tensor) -> None:
        self.block, self.memory, self.spans, begin = block, memory, [], 0
        for slot in slots_of(block):
            tensor = slot.tensor.detach()
            span = Span(slot, begin, tensor.shape, tensor.dtype)
            span.within(self.memory).copy_(tensor)
            self.spans.append(span)
            begin = -(-span.end // ALIGNMENT) * ALIGNMENT
        self.bind(memory)

    def bind(self, place: Tensor) -> None:
        """Have the block's tensors lie in a place."""
        for span in self.spans:
            span.slot.put(span.within(place))


class PinnedMemory:
    """Host memory that a GPU copies from by itself, while the program goes on.

    It is registered where it lies: torch's own pinned memory comes in powers of two, up to twice as much.
    """

    def __init__(self, memory: Tensor) -> None:
        # Only CUDA's runtime knows; torch hands its functions on.
        start, runtime = memory.data_ptr(), cast(Any, torch.cuda.cudart())
        torch.cuda.check_error(int(runtime.cudaHostRegister(start, memory.nbytes, 0)))
        self.release = weakref.finalize(memory, runtime.cudaHostUnregister, start)
        self.release.atexit = False  # the driver lets go of everything then
        self.memory = memory


class BlockStream:
    """The streamed blocks of a network on a device; all of the network else is there to stay.

    copies: numbers of the blocks that were copied last, in that order, for those who want to know.
    """

    def __init__(self, network: nn.Module, blocks: Sequence[nn.Module], device: torch.device | str) -> None:
        """blocks: of the network, in the order in which they run."""
        self.device = torch.device(device)
        is_cuda = self.device.type == "cuda"
        sizes = [byte_size(block) for block in blocks]
        memory = torch.empty(sum(sizes), dtype=torch.uint8)
        self.blocks = [
            HostBlock(block, part) for block, part in zip(blocks, memory.split(sizes), strict=True)
        ]
        self._pinned = PinnedMemory(memory) if is_cuda else None
        self.copies: deque[int] = deque(maxlen=REMEMBERED)
        self._stay(network)

        size = max(sizes)
        self.places = [torch.empty(size, dtype=torch.uint8, device=self.device) for _ in range(2)]
        self._stream = torch.cuda.Stream(self.device) if is_cuda else None
        self._copied: list[Any] = [None, None]  # events: the copy into a place is complete
        self._held: list[int | None] = [None, None]  # which block lies in which place
        self._current: int | None = None  # the place of the block that runs
        self._hooks = [
            module.register_forward_pre_hook(self._hook(number))
            for number, block in enumerate(blocks)
            for module in block.modules()
            if module._parameters or module._buffers
        ]

    @property
    def device_bytes(self) -> int:
        """What both places take."""
        return sum(place.nbytes for place in self.places)

    def close(self) -> None:
        """Leave the blocks in host memory, as plain modules."""
        if self._stream is not None:
            self._stream.synchronize()  # a copy may still be under way into what is let go here
        for hook in self._hooks:
            hook.remove()
        for block in self.blocks:
            block.bind(block.memory)
        if self._pinned is not None:
            self._pinned.release()
        self._held[:] = None, None
        self._current, self.places = None, []

    def _stay(self, network: nn.Module) -> None:
        """Move what is not streamed to the device."""
        streamed = {span.slot for block in self.blocks for span in block.spans}
        for slot in slots_of(network):
            if slot not in streamed:
                slot.put(slot.tensor.detach().to(self.device))

    def _hook(self, number: int):
        def bring(module: nn.Module, inputs: Any) -> None:
            if self._current is None or self._held[self._current] != number:
                self._bring(number)

        return bring

    def _bring(self, number: int) -> None:
        """Have a block on the device now, and its successor on the way."""
        if number not in self._held:
            self._copy(number, self._spare())
        place, before = self._held.index(number), self._current
        if self._stream is not None:
            torch.cuda.current_stream(self.device).wait_event(self._copied[place])
        if before is not None and (left := self._held[before]) is not None:
            self.blocks[left].bind(self.blocks[left].memory)
        self.blocks[number].bind(self.places[place])
        self._current = place

        following = (number + 1) % len(self.blocks)
        if following not in self._held:
            self._copy(following, self._spare())

    def _spare(self) -> int:
        """The place of which no block computes."""
        return 0 if self._current is None else 1 - self._current

    def _copy(self, number: int, place: int) -> None:
        """Begin to copy a block; what runs on the device so far may still use the place, so it goes first."""
        block = self.blocks[number]
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._stream) if self._stream is not None else nullcontext():
            self.places[place][: block.memory.nbytes].copy_(block.memory, non_blocking=True)
            if self._stream is not None:
                self._copied[place] = self._stream.record_event()
        self._held[place] = number
        self.copies.append(number)
