"""The Foley transformer's blocks through `torch.compile`: one graph for each kind, for clips of any length.

All blocks of a kind run the same code on other weights, so that they share what was compiled for the first;
lengths are symbols in it. A joint block has two forms, since the visual stream ends in the last one.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from .blocks import AudioBlock, JointBlock
from .transformer import RunBlock

OLDEST_TORCH = (2, 5)  # before, torch compiled each module anew
INDUCTOR = "inductor"  # writes kernels, for a CPU with a C++ compiler


class CompileError(RuntimeError):
    """`torch.compile` does not work here; the message says why, and what to do."""


def check_compiling(device: torch.device | str, backend: Any = INDUCTOR) -> None:
    """Compile next to nothing on a device, before the work begins; this takes seconds.

    Raises: CompileError where that fails, or where torch is too old to share graphs between blocks.
    """
    check_torch()
    with failures_explained():
        torch.compile(lambda x: 2 * x + 1, backend=backend)(torch.ones(64, device=device))


def compiled_blocks(backend: Any = INDUCTOR, told: Callable[[str], None] | None = None) -> RunBlock:
    """What calls each block in the place of `run_block`: compiled at its first call, which takes a while.

    backend: as `torch.compile` takes it.
    told:    is given a sentence for each graph that was compiled: what it is of, and the seconds that took.
    Raises:  CompileError where torch is too old to share graphs between blocks; a call, where it fails.
    """
    check_torch()

    def forward_of(kind: str, block: type[nn.Module]) -> Callable[..., Any]:
        return torch.compile(
            block.forward, dynamic=True, backend=backend if told is None else telling(backend, kind, told)
        )

    forwards = {"joint": forward_of("joint", JointBlock), "audio": forward_of("audio", AudioBlock)}

    def run(kind: str, number: int, block: nn.Module, *inputs: Any, **options: Any) -> Any:
        with failures_explained():
            return forwards[kind](block, *inputs, **options)

    return run


def check_torch() -> None:
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if version < OLDEST_TORCH:
        raise CompileError(
            f"torch {torch.__version__} would compile every block by itself."
            " Compiling needs torch 2.5 or newer."
        )


def telling(backend: Any, kind: str, told: Callable[[str], None]) -> Callable[..., Any]:
    """A backend that tells of each graph how long it took."""

    def compile_and_tell(*graph: Any, **options: Any) -> Any:
        from torch._dynamo import lookup_backend

        started = time.perf_counter()
        compiling = lookup_backend(backend) if isinstance(backend, str) else backend
        compiled = compiling(*graph, **options)
        told(f"Compiled {kind} blocks in {time.perf_counter() - started:.1f} s")
        return compiled

    return compile_and_tell


@contextmanager
def failures_explained() -> Iterator[None]:
    """What goes wrong in compiling, as CompileError; what goes wrong in computing, as it is."""
    try:
        yield
    except RuntimeError as error:
        from torch._dynamo.exc import TorchDynamoException  # takes a second to import

        if not isinstance(error, TorchDynamoException):
            raise
        reason = str(getattr(error, "inner_exception", error)).strip().split("\n")[0].rstrip(".")
        raise CompileError(
            f"torch.compile does not work here: {reason}. It needs a C++ compiler (g++, clang++ or cl), and"
            " Triton on a GPU. Install what is missing, or go on without compiling."
        ) from error
