"""The Foley transformer's blocks through `torch.compile`: one graph for each kind, for clips of any length.

All blocks of a kind run the same code on other weights, so that they share what was compiled for the first;
lengths are symbols in it. A joint block has two forms, since the visual stream ends in the last one.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .blocks import AudioBlock, JointBlock
from .transformer import RunBlock

OLDEST_TORCH = (2, 5)  # before, torch compiled each module anew


def compiled_blocks(backend: Any = "inductor") -> RunBlock:
    """What calls each block in the place of `run_block`: compiled at its first call, which takes a while.

    backend: as `torch.compile` takes it. "inductor" writes kernels, for a CPU with a C++ compiler.
    Raises: RuntimeError where torch is too old to share graphs between blocks.
    """
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if version < OLDEST_TORCH:
        raise RuntimeError(
            f"torch {torch.__version__} would compile every block by itself."
            " Compiling needs torch 2.5 or newer."
        )
    forwards: dict[str, Callable[..., Any]] = {
        kind: torch.compile(block.forward, dynamic=True, backend=backend)
        for kind, block in (("joint", JointBlock), ("audio", AudioBlock))
    }

    def run(kind: str, number: int, block: nn.Module, *inputs: Any, **options: Any) -> Any:
        return forwards[kind](block, *inputs, **options)

    return run
