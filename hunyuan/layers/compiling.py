"""`torch.compile`, and what a user is told where it does not work."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from .torch_version import torch_version

OLDEST_TORCH = (2, 5)  # before, torch compiled anew for each module that it was given
INDUCTOR = "inductor"  # writes kernels, for a CPU with a C++ compiler

Told = Callable[[str], None]


class CompileError(RuntimeError):
    """`torch.compile` does not work here; the message says why, and what to do."""


def check_compiling(device: torch.device | str, backend: Any = INDUCTOR) -> None:
    """Compile next to nothing on a device, before the work begins; this takes seconds.

    Raises: CompileError where that fails, or where torch is too old to share what was compiled.
    """
    check_torch()
    with failures_explained():
        torch.compile(lambda x: 2 * x + 1, backend=backend)(torch.ones(64, device=device))


def check_torch() -> None:
    if torch_version() < OLDEST_TORCH:
        raise CompileError(
            f"torch {torch.__version__} would compile every block by itself."
            " Compiling needs torch 2.5 or newer."
        )


def compiled(
    function: Callable[..., Any], what: str, backend: Any = INDUCTOR, told: Told | None = None
) -> Callable[..., Any]:
    """A function compiled at its first call, which takes a while; lengths are symbols in it.

    what:   its name in the plural, for people. backend: as `torch.compile` takes it.
    told:   is given a sentence for each graph that was compiled: what it is of, and the seconds that took.
    Raises: CompileError where torch is too old; a call, where it fails.
    """
    check_torch()
    chosen = backend if told is None else _telling(backend, what, told)
    compiling = torch.compile(function, dynamic=True, backend=chosen)

    def call(*inputs: Any, **options: Any) -> Any:
        with failures_explained():
            return compiling(*inputs, **options)

    return call


def _telling(backend: Any, what: str, told: Told) -> Callable[..., Any]:
    """A backend that tells of each graph how long it took."""

    def compile_and_tell(*graph: Any, **options: Any) -> Any:
        from torch._dynamo import lookup_backend

        started = time.perf_counter()
        compiling = lookup_backend(backend) if isinstance(backend, str) else backend
        done = compiling(*graph, **options)
        told(f"Compiled {what} in {time.perf_counter() - started:.1f} s")
        return done

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
