"""LLaVA: a prompt and a portrait to states, one for each word and each patch of the portrait.

A small network of our own, so that a host can hold 16 GB of it in parts. Source: LLaVA, arXiv:2304.08485.

Axes: b batch, n tokens, d channels.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.attention import Attention, attention
from .clip_vision import ClipVision
from .llama import Llama
from .llava_config import LlavaConfig

PAD_POSITION = 1  # of every padding token, as trained


class Llava(nn.Module):
    """Vision tower, projector and language model; names are the published file's, less what is unused."""

    def __init__(
        self,
        config: LlavaConfig | None = None,
        *,
        dtype=None,
        device=None,
        operations=nn,
        attention: Attention = attention,
    ) -> None:
        super().__init__()
        self.config = config = config or LlavaConfig()
        build = {"dtype": dtype, "device": device, "operations": operations}
        self.vision_tower = nn.ModuleDict(
            {"vision_model": ClipVision(config.vision, attention=attention, **build)}
        )
        self.multi_modal_projector = Projector(config.vision.hidden_size, config.text.hidden_size, **build)
        self.language_model = nn.ModuleDict({"model": Llama(config.text, attention=attention, **build)})

    def see(self, pixel_values: Tensor) -> Tensor:
        """An image as tokens of the language model.

        pixel_values: (b, 3, 336, 336), from `llava_pixels`. Returns (b, 576, d), a row for each patch.
        """
        return self.multi_modal_projector(self.vision_tower["vision_model"](pixel_values))

    def forward(self, ids: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """States of a prompt with its image, and the state that every padding token after it has.

        As trained: a padding token is a zero vector at position 1. It sees the prompt but no padding, itself
        included, so all of them have the same state, and one is computed.

        ids:     (n,) int64 without padding, one of them the image token.
        image:   (1, 576, d), from `see`.
        Returns: (1, n + 575, d) and (1, 1, d).
        Raises:  ValueError unless there is exactly one image token.
        """
        x = F.pad(self._embed(ids, image), (0, 0, 0, 1))
        tokens = x.shape[1]
        positions = torch.arange(tokens, device=x.device)
        positions[-1] = PAD_POSITION
        visible = torch.ones(1, 1, tokens, tokens, dtype=torch.bool, device=x.device).tril()
        visible[..., -1, -1] = False

        states = self.language_model["model"](x, positions, visible)
        return states[:, :-1], states[:, -1:]

    def _embed(self, ids: Tensor, image: Tensor) -> Tensor:
        """Embedded tokens with the image in its place."""
        places = (ids == self.config.image_token).nonzero().flatten().tolist()
        if len(places) != 1:
            raise ValueError(
                f"A prompt for LLaVA shows one image (token {self.config.image_token}), not {len(places)}."
            )
        embed: Any = self.language_model["model"].embed_tokens
        before, after = embed(ids[: places[0]]), embed(ids[places[0] + 1 :])
        return torch.cat([before[None], image.to(before), after[None]], dim=1)


class Projector(nn.Module):
    """Features of the vision tower to tokens of the language model."""

    def __init__(self, size: int, text_size: int, *, dtype=None, device=None, operations=nn) -> None:
        super().__init__()
        self.linear_1 = operations.Linear(size, text_size, dtype=dtype, device=device)
        self.linear_2 = operations.Linear(text_size, text_size, dtype=dtype, device=device)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear_2(F.gelu(self.linear_1(features)))
