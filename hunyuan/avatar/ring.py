"""Videos of any length: a ring of latents that windows tile, elsewhere in every step.

Source: the time-aware position shift of Sonic, arXiv:2411.16331, which HunyuanVideo-Avatar uses. The windows
move on from step to step, so that no seam stays in one place. After its end the ring goes on at its start.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .timing import FRAMES_PER_LATENT, WINDOW_FRAMES, WINDOW_LATENTS

SHIFT = 10  # latents by which the windows move from one step to the next, as released; in the paper 3 to 7


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

    @property
    def heard(self) -> Tensor:
        """Indexes of the audio frames that each of its latents hears, (33, 4)."""
        return heard_frames(self.audio_frames)


def windows(ring_latents: int, step: int, shift: int = SHIFT, overlap: int = 0) -> list[Window]:
    """The windows of a step: around the ring, the last one reaching over the first.

    overlap: latents that each window shares with the next; as released, none.
    Raises:  ValueError if the ring is shorter than a window, or nothing new would be left for a window.
    """
    if ring_latents < WINDOW_LATENTS:
        raise ValueError(f"A ring of {ring_latents} latents is shorter than a window of {WINDOW_LATENTS}.")
    if not 0 <= overlap < WINDOW_LATENTS:
        raise ValueError(f"Windows of {WINDOW_LATENTS} latents overlap by less than that, not by {overlap}.")
    if ring_latents == WINDOW_LATENTS:  # one window that is the whole ring never moves
        return [Window(0, ring_latents)]
    stride = WINDOW_LATENTS - overlap
    offset = shift * step % stride
    return [Window((start - offset) % ring_latents, ring_latents) for start in range(0, ring_latents, stride)]


def heard_frames(frames: Tensor) -> Tensor:
    """The video frames that each latent of a window hears.

    As trained: the window's first latent hears its one video frame four times.

    frames: (4 f - 3,), the window's video frames. Returns (f, 4).
    """
    first = frames[:1].expand(FRAMES_PER_LATENT - 1)
    return torch.cat([first, frames]).unflatten(0, (-1, FRAMES_PER_LATENT))
