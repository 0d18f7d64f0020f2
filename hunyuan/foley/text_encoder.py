"""CLAP text states: what the sound should be, in words.

The text tower is transformers' own class; only its last hidden states are used.
Source: CLAP, arXiv:2211.06687.

Axes: n tokens, d channels.
"""

import logging
import re
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)

MAX_STATES = 77  # tokens whose states reach the transformer
NEGATIVE_PROMPT = "noisy, harsh"  # the published default
HIGH_QUALITY_TAG = "high-quality"  # how the training data marked full-bandwidth sound


def high_quality(prompt: str) -> str:
    """The prompt with the mark of full-bandwidth sound before it."""
    return f"{HIGH_QUALITY_TAG}, {prompt}" if prompt.strip() else HIGH_QUALITY_TAG


class Encoding(Protocol):
    """Token ids of a text, and the characters [start, end) each of them stands for."""

    @property
    def ids(self) -> list[int]: ...

    @property
    def offsets(self) -> list[tuple[int, int]]: ...


class Tokenizer(Protocol):
    """What is used of a `tokenizers.Tokenizer`; it must add start and end tokens, and neither pad nor cut."""

    def encode(self, sequence: str) -> Encoding: ...


@dataclass(frozen=True)
class TokenPair:
    """A negative and a positive prompt as one batch, the shorter padded on the right.

    ids:  (2, n) int64, the negative prompt first.
    mask: (2, n) int64, 0 at padding.
    """

    ids: Tensor
    mask: Tensor


class TextEncoder(nn.Module):
    """CLAP's text tower and its tokenizer; parameters are named as published, `text_model.*`.

    model: a transformers `ClapTextModel`, or a model that has one as `text_model`.
    """

    def __init__(self, model: nn.Module, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.text_model: Any = getattr(model, "text_model", model)
        self.tokenizer = tokenizer

    @property
    def max_tokens(self) -> int:
        """Tokens of the longest text that the tower has positions for; 512 as published."""
        config = self.text_model.config
        return config.max_position_embeddings - config.pad_token_id - 1  # positions begin after the padding's

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """States of the first 77 tokens, each of which has seen the whole text.

        ids, mask: (b, n) int64. Returns (b, min(n, 77), d).
        """
        states = self.text_model(input_ids=ids, attention_mask=mask).last_hidden_state
        # As trained: the cut may take the end token along, and states at padding are states like any other.
        return states[:, :MAX_STATES]

    def encode(self, negative: str, positive: str) -> tuple[Tensor, Tensor]:
        """States of both prompts, (1, n, d) each. Their common length follows from the longer prompt."""
        pair = self.tokenize(negative, positive)
        device = self.text_model.embeddings.word_embeddings.weight.device
        negative_states, positive_states = self(pair.ids.to(device), pair.mask.to(device)).split(1)
        return negative_states, positive_states

    def tokenize(self, negative: str, positive: str) -> TokenPair:
        """Both prompts as the batch that training saw: together, and padded no further than the longer needs.

        A text longer than the tower's positions is cut; words that will not be heard are logged.
        """
        rows = [torch.tensor(self._ids(prompt)) for prompt in (negative, positive)]
        pad_id = self.text_model.config.pad_token_id
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad_id)
        mask = nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        return TokenPair(ids, mask)

    def cut_text(self, prompt: str) -> str:
        """The end of a prompt that lies beyond 77 tokens, from the first word that is not heard in full."""
        lost = self.tokenizer.encode(prompt).offsets[MAX_STATES:-1]  # the last is the end token
        words = re.finditer(r"\S+", prompt)
        return next((prompt[word.start() :] for word in words if lost and word.end() > lost[0][0]), "")

    def _ids(self, prompt: str) -> list[int]:
        if cut := self.cut_text(prompt):
            logger.warning('Prompt too long: the model hears %d tokens, so not "%s".', MAX_STATES, cut)
        return self.tokenizer.encode(prompt).ids[: self.max_tokens]
