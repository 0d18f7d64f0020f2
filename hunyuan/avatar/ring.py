"""Videos of any length: a ring of latents that windows tile, elsewhere in every step.

Source: the time-aware position shift of Sonic, arXiv:2411.16331, which HunyuanVideo-Avatar uses. The windows
move on from step to step, so that no seam stays in one place. After its end the ring goes on at its start.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .timing import FRAMES_PER_LATENT, WINDOW_FRAMES, WINDOW_LATENTS

SHIFT = 10  # latents by which the windows move from one step to the next


@dataclass(frozen=True)
class Window:
    """Where a window lies: the ring's latent at which it starts, and the length of the ring."""

    start: int
    ring_latents: int

    @property
    def latents(self) -> Tensor:
        """Indexes of its latents in the ring, (33,)."""
        return (self.start + torch.arange(WINDOW_LATENTS)) % self.ring_latents

    @property
    def audio_frames(self) -> Tensor:
        """Indexes of its audio frames in the ring, (129,)."""
        first = FRAMES_PER_LATENT * self.start
        return (first + torch.arange(WINDOW_FRAMES)) % (FRAMES_PER_LATENT * self.ring_latents)


def windows(ring_latents: int, step: int, shift: int = SHIFT) -> list[Window]:
    """The windows of a step: end to end around the ring, the last one reaching over the first.

    Raises: ValueError if the ring is shorter than a window.
    """
    if ring_latents < WINDOW_LATENTS:
        raise ValueError(f"A ring of {ring_latents} latents is shorter than a window of {WINDOW_LATENTS}.")
    # One window that is the whole ring never moves.
    offset = shift * step % WINDOW_LATENTS if ring_latents > WINDOW_LATENTS else 0
    return [
        Window((start - offset) % ring_latents, ring_latents)
        for start in range(0, ring_latents, WINDOW_LATENTS)
    ]
