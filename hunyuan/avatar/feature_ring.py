"""The step cache: what the last full step left at each latent of the ring.

Windows move between steps, so features are kept by place in the ring, not by window.
"""

from dataclasses import replace

import torch
from torch import Tensor

from .conditions import Features


class FeatureRing:
    """Features of all windows of one full step, to be read by windows that lie elsewhere."""

    def __init__(self, ring_latents: int, device: torch.device | str | None = None) -> None:
        """device: where features wait; None is where they were computed."""
        self.device = device
        self.video: Tensor | None = None  # (b, ring latents, n, hidden)
        self.owners: list[tuple[Tensor, Tensor] | None] = [None] * ring_latents

    def write(self, places: Tensor, features: Features) -> None:
        """Keep a window's features; where windows overlap, the later one's.

        places: (frames,), the window's latents in the ring.
        """
        if self.video is None or self.video.shape[0] != features.tokens.shape[0]:
            rows, _, *rest = features.video.shape
            self.video = features.tokens.new_empty(rows, len(self.owners), *rest, device=self.device)
        self.video[:, places.to(self.video.device)] = features.video.to(self.video.device)
        # Views would hold the whole window's tokens.
        owner = features.prefix.to(self.video, copy=True), features.text.to(self.video, copy=True)
        for place in places.tolist():
            self.owners[place] = owner

    def read(self, places: Tensor, device: torch.device | str | None = None) -> Features:
        """The features of a window, on a device.

        As released: reference and text come from the owner of its first latent.

        Raises: ValueError if no full step has written there.
        """
        owner = self.owners[int(places[0])]
        if self.video is None or owner is None:
            raise ValueError("A cached step needs a full step before it.")
        prefix, text = owner
        features = Features.join(prefix, self.video[:, places.to(self.video.device)], text)
        return replace(features, tokens=features.tokens.to(device))
