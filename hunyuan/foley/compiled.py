"""The Foley transformer's blocks through `torch.compile`: one graph for each kind, for clips of any length.

All blocks of a kind run the same code on other weights, so that they share what was compiled for the first;
lengths are symbols in it. A joint block has two forms, since the visual stream ends in the last one.
"""

from typing import Any

from torch import nn

from ..layers.compiling import INDUCTOR, Told, compiled
from .blocks import AudioBlock, JointBlock
from .transformer import RunBlock


def compiled_blocks(backend: Any = INDUCTOR, told: Told | None = None) -> RunBlock:
    """What calls each block in the place of `run_block`: compiled at its first call, which takes a while.

    backend, told, and what it raises: as in `compiled`.
    """
    forwards = {
        kind: compiled(block.forward, f"{kind} blocks", backend, told)
        for kind, block in (("joint", JointBlock), ("audio", AudioBlock))
    }

    def run(kind: str, number: int, block: nn.Module, *inputs: Any, **options: Any) -> Any:
        return forwards[kind](block, *inputs, **options)

    return run
