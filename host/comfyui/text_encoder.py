"""CLAP as ComfyUI's own CLIP, for Foley Prompt and for core's text encode nodes.

Core encodes every prompt alone. The model was trained on both prompts padded together, which Foley Prompt
does through `encode`.
"""

from pathlib import Path
from typing import Any

import torch
from comfy import model_management
from comfy.sd import CLIP
from comfy.supported_models_base import ClipTarget
from torch import Tensor

from ...hunyuan.foley.text_encoder import TextEncoder
from ...model_loaders.encoders import load_text_encoder
from .memory import patcher

NAME = "clap"  # under which core carries the tokens

Tokens = dict[str, list[list[tuple[Any, ...]]]]


class HostedTextEncoder(TextEncoder):
    """The encoder as ComfyUI calls it."""

    dtypes = frozenset({torch.float32})
    manual_cast_dtype = None  # computes in the dtype of its weights

    def set_clip_options(self, options: dict[str, Any]) -> None:
        """Nothing of a CLIP's to choose from: one layer's states are used, unprojected."""

    def reset_clip_options(self) -> None:
        """As `set_clip_options`."""

    def encode_token_weights(self, tokens: Tokens) -> tuple[Tensor, None]:
        """States (1, n, d) of one prompt, and no pooled vector. Weights of words are not heard."""
        device = self.text_model.embeddings.word_embeddings.weight.device
        ids = torch.tensor([[token for token, *_ in tokens[NAME][0]]], device=device)
        states = self(ids, torch.ones_like(ids))
        return states.to(model_management.intermediate_device(), torch.float32), None

    def load_sd(self, state_dict: dict[str, Tensor]) -> tuple[list[str], list[str]]:
        return self.load_state_dict(state_dict, strict=False)


class HostedTokenizer:
    """The encoder's tokenizer as ComfyUI calls it."""

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **options: Any) -> Tokens:
        pair = self.encoder.tokenize(text, text)
        word = (0,) if return_word_ids else ()
        return {NAME: [[(token, 1.0, *word) for token in pair.ids[0].tolist()]]}

    def untokenize(self, tokens: list[tuple[Any, ...]]) -> list[tuple[Any, str]]:
        return [(token, str(token[0])) for token in tokens]

    def state_dict(self) -> dict[str, Tensor]:
        """Nothing to save: a tokenizer is not tensors."""
        return {}


def foley_text_encoder(path: Path) -> CLIP:
    """A CLAP text encoder, file or folder, as CLIP."""
    loaded = load_text_encoder(path)
    encoder = HostedTextEncoder(loaded.text_model, loaded.tokenizer).eval()
    target = ClipTarget(lambda **_: HostedTokenizer(encoder), lambda **_: encoder)
    # Said to be nowhere, or core would load it at once, under a patcher that does not keep it whole.
    clip = CLIP(target, model_options={"initial_device": "meta", "dtype": torch.float32})
    clip.patcher = patcher(encoder)
    clip.patcher.is_clip = True
    return clip
