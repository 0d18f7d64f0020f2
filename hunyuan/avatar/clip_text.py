"""CLIP-L's pooled vector of a prompt: the state of its end token. Source: CLIP, arXiv:2103.00020.

The text tower is transformers' own class.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Encoding(Protocol):
    """Token ids of a text."""

    @property
    def ids(self) -> list[int]: ...


class Tokenizer(Protocol):
    """What is used of a `tokenizers.Tokenizer` that adds start and end tokens, and pads and cuts nothing."""

    def encode(self, sequence: str) -> Encoding: ...


class ClipText(nn.Module):
    """CLIP's text tower and its tokenizer; parameters are named as published, `text_model.*`.

    model: a transformers `CLIPTextModel`. Version 4 wraps the tower once more than version 5.
    """

    def __init__(self, model: nn.Module, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.text_model: Any = getattr(model, "text_model", model)
        self.tokenizer = tokenizer

    def forward(self, ids: Tensor) -> Tensor:
        """The normed state of the last token, which is the end token: (b, n) int64 -> (b, d).

        The tower is causal: the padding to 77 tokens that it was trained with comes after and has no effect.
        """
        return self.text_model(input_ids=ids).last_hidden_state[:, -1]

    def encode(self, prompt: str) -> Tensor:
        """The pooled vector of a prompt, (1, d); one longer than the tower's 77 positions is cut."""
        embeddings = self.text_model.embeddings
        ids = self.tokenizer.encode(prompt).ids
        ids = ids[:-1][: embeddings.position_embedding.num_embeddings - 1] + ids[-1:]
        return self(torch.tensor([ids], device=embeddings.token_embedding.weight.device))
