"""An entry's conditions as core carries them to the model: all of them in one, which knows how to batch."""

from collections.abc import Sequence
from typing import Any

import torch
from comfy.conds import CONDRegular
from torch import Tensor

from ...hunyuan.avatar.conditions import AvatarConditions, Speaker
from ...hunyuan.avatar.timing import FRAMES_PER_LATENT

AVATAR_KEY = "avatar"  # under which the network is handed them


class AvatarCond(CONDRegular):
    """Conditions of one row, and who speaks throughout the video.

    cond: where a window has been chosen, with its voices; else without.
    """

    def __init__(self, cond: AvatarConditions, speakers: Sequence[Speaker] = ()) -> None:
        super().__init__(cond)
        self.speakers = tuple(speakers)

    def at(self, latents: Tensor, heard: Tensor) -> "AvatarCond":
        """In a window; arguments as in `Speaker.at`."""
        return AvatarCond(self.cond.hearing(self.speakers, latents, heard, self.cond.text))

    def process_cond(self, batch_size: int, **kwargs: Any) -> "AvatarCond":
        return AvatarCond(self.cond.expand(batch_size))

    def can_concat(self, other: "AvatarCond") -> bool:
        return self.cond.stacks_with(other.cond)

    def concat(self, others: Sequence["AvatarCond"]) -> AvatarConditions:
        return AvatarConditions.stack([self.cond, *(other.cond for other in others)])

    def size(self) -> list[int]:
        """Of what takes the most room, as core estimates it."""
        return list(self.cond.reference.shape)


def conds_at(cond: AvatarCond, frames: Sequence[int]) -> AvatarCond:
    """In a window of another node's making, which lies at these latents."""
    latents = torch.tensor(list(frames))
    last = FRAMES_PER_LATENT * latents  # of the video frames that a latent holds
    heard = (last[:, None] + torch.arange(1 - FRAMES_PER_LATENT, 1)).clamp(min=0)
    heard[0] = last[0]  # as trained: a window's first latent hears one video frame four times
    return cond.at(latents, heard)
