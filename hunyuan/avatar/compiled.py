"""What Avatar's blocks do between their products and their attention, through `torch.compile`.

Products and attention stay as they are, and so do streamed, packed and patched weights: none is in here.
"""

from typing import Any

from torch import Tensor

from ..layers.compiling import INDUCTOR, Told, compiled
from ..layers.modulation import gated, modulate
from .tokenwise import EPS, Tokenwise, join, place


def compiled_tokenwise(backend: Any = INDUCTOR, told: Told | None = None) -> Tokenwise:
    """For `use_tokenwise`: each operation is compiled at its first call, and shared by all blocks.

    One for all networks of a program: torch compiles a function no more than eight times, whoever asks.

    backend, told, and what it raises: as in `compiled`.
    """
    norms = compiled(_modulate, "norms", backend, told)
    gates = compiled(gated, "gates", backend, told)
    return Tokenwise(
        # Cut out of one tensor, shifts, scales and gates begin each at another place, for which torch would
        # compile anew.
        modulate=lambda x, shift, scale: norms(x, shift.clone(), scale.clone()),
        place=compiled(place, "rotations", backend, told),
        join=compiled(join, "activations", backend, told),
        gated=lambda x, gate, change: gates(x, gate.clone(), change),
    )


def _modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return modulate(x, shift, scale, eps=EPS)
