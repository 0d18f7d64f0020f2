"""Sizes of LLaVA's parts, as published and as read from a checkpoint's shapes.

Only layers that are used count.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..layers.numbering import count_blocks

VISION = "vision_tower.vision_model."  # what stands before the vision tower's names
LLAMA = "language_model.model."

# As trained: the portrait's features leave the vision tower before its last layer, and the prompt's states
# leave the language model before its last two.
SKIPPED_VISION_LAYERS = 1
SKIPPED_TEXT_LAYERS = 2

VISION_HEAD_SIZE = 64  # as published; no shape tells it
TEXT_HEAD_SIZE = 128


@dataclass(frozen=True, kw_only=True)
class ClipVisionConfig:
    """CLIP ViT-L/14 at 336 pixels (arXiv:2103.00020), without its last layer."""

    hidden_size: int = 1024
    mlp_size: int = 4096
    depth: int = 23
    num_heads: int = 16
    image_size: int = 336  # pixels
    patch_size: int = 14

    @property
    def patches(self) -> int:
        return (self.image_size // self.patch_size) ** 2


@dataclass(frozen=True, kw_only=True)
class LlamaConfig:
    """Llama 3 8B (arXiv:2407.21783), without its last two layers."""

    hidden_size: int = 4096
    mlp_size: int = 14336
    depth: int = 30
    num_heads: int = 32
    num_kv_heads: int = 8
    vocabulary: int = 128_320
    rope_theta: float = 500_000.0

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.num_heads


@dataclass(frozen=True, kw_only=True)
class LlavaConfig:
    """LLaVA-Llama-3-8B (arXiv:2304.08485): a vision tower whose features are tokens of a language model."""

    vision: ClipVisionConfig = field(default_factory=ClipVisionConfig)
    text: LlamaConfig = field(default_factory=LlamaConfig)
    image_token: int = 128_257  # the place of the image in a prompt

    @classmethod
    def from_shapes(
        cls,
        shapes: Mapping[str, Sequence[int]],
        *,
        vision_heads: int | None = None,
        text_heads: int | None = None,
        image_token: int = image_token,
    ) -> "LlavaConfig":
        """The configuration that a complete checkpoint's tensor shapes imply.

        vision_heads, text_heads: no shape tells them; without, heads of 64 and 128 channels as published.
        Raises KeyError with the missing name if this is not LLaVA.
        """
        return cls(
            vision=_vision_sizes(shapes, vision_heads),
            text=_text_sizes(shapes, text_heads),
            image_token=image_token,
        )

    @property
    def unused(self) -> tuple[str, ...]:
        """Beginnings of the names in a published file that no state of ours depends on."""
        return (
            "language_model.lm_head.",
            f"{LLAMA}norm.",
            *(f"{LLAMA}layers.{self.text.depth + i}." for i in range(SKIPPED_TEXT_LAYERS)),
            f"{VISION}post_layernorm.",
            f"{VISION}embeddings.position_ids",
            *(f"{VISION}encoder.layers.{self.vision.depth + i}." for i in range(SKIPPED_VISION_LAYERS)),
        )


def _vision_sizes(shapes: Mapping[str, Sequence[int]], heads: int | None) -> ClipVisionConfig:
    hidden_size, _, patch_size, _ = shapes[f"{VISION}embeddings.patch_embedding.weight"]
    places = shapes[f"{VISION}embeddings.position_embedding.weight"][0]
    return ClipVisionConfig(
        hidden_size=hidden_size,
        mlp_size=shapes[f"{VISION}encoder.layers.0.mlp.fc1.weight"][0],
        depth=count_blocks(shapes, f"{VISION}encoder.layers") - SKIPPED_VISION_LAYERS,
        num_heads=heads or hidden_size // VISION_HEAD_SIZE,
        image_size=math.isqrt(places) * patch_size,
        patch_size=patch_size,
    )


def _text_sizes(shapes: Mapping[str, Sequence[int]], heads: int | None) -> LlamaConfig:
    vocabulary, hidden_size = shapes[f"{LLAMA}embed_tokens.weight"]
    heads = heads or hidden_size // TEXT_HEAD_SIZE
    return LlamaConfig(
        hidden_size=hidden_size,
        mlp_size=shapes[f"{LLAMA}layers.0.mlp.gate_proj.weight"][0],
        depth=count_blocks(shapes, f"{LLAMA}layers") - SKIPPED_TEXT_LAYERS,
        num_heads=heads,
        num_kv_heads=shapes[f"{LLAMA}layers.0.self_attn.k_proj.weight"][0] * heads // hidden_size,
        vocabulary=vocabulary,
    )
