"""Sizes of the Avatar transformer, as published and as read from a checkpoint's shapes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..layers.numbering import count_blocks

PATCH = 2  # latent rows and columns in one token
MOTION_SCORES = 4  # numbers that describe one kind of motion

AUDIO_WINDOW = 10  # Whisper rows around one video frame, 20 ms each
AUDIO_STATES = 5  # Whisper states in one row: the embedding and four layers
DOUBLE_BLOCKS_PER_ADAPTER = 2  # speech is heard after double blocks 1, 3, 5, ...


@dataclass(frozen=True, kw_only=True)
class AvatarConfig:
    """HunyuanVideo-Avatar's video MMDiT (arXiv:2505.20156). The defaults are what every released file has."""

    hidden_size: int
    num_heads: int
    double_depth: int  # blocks where video and text tokens have their own weights
    single_depth: int  # blocks over all tokens alike
    rope_sizes: tuple[int, int, int]  # channels of a head that carry time, row and column
    latent_channels: int = 16
    text_size: int = 4096
    pooled_size: int = 768
    refiner_depth: int = 2
    audio_size: int = 384  # channels of a Whisper state
    audio_hidden_size: int = 1024
    audio_tokens: int = 4  # for each video frame
    adapter_size: int = 1024
    mlp_ratio: float = 4.0
    emotion: bool = False  # whether there is an audio emotion module: no released file has one

    def __post_init__(self) -> None:
        if sum(self.rope_sizes) * self.num_heads != self.hidden_size or any(n % 2 for n in self.rope_sizes):
            raise ValueError(
                f"{self.num_heads} heads with even shares {self.rope_sizes} of time, row and column do not"
                f" make up a hidden size of {self.hidden_size}."
            )

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.num_heads

    @property
    def mlp_size(self) -> int:
        return int(self.hidden_size * self.mlp_ratio)

    @property
    def motion_size(self) -> int:
        """Channels of one embedded motion score; all scores together fill the modulation vector."""
        return self.hidden_size // MOTION_SCORES

    @property
    def audio_features(self) -> int:
        """Numbers that describe the sound of one video frame."""
        return AUDIO_WINDOW * AUDIO_STATES * self.audio_size

    @property
    def patch_channels(self) -> int:
        return self.latent_channels * PATCH**2

    @property
    def num_adapters(self) -> int:
        return self.double_depth // DOUBLE_BLOCKS_PER_ADAPTER

    @classmethod
    def from_shapes(cls, shapes: Mapping[str, Sequence[int]]) -> "AvatarConfig":
        """The configuration that a checkpoint's tensor shapes imply.

        Raises KeyError with the missing name if this is not an Avatar transformer.
        """
        hidden_size, latent_channels = shapes["img_in.proj.weight"][:2]
        head_size = shapes["double_blocks.0.img_attn_q_norm.weight"][0]
        return cls(
            hidden_size=hidden_size,
            num_heads=hidden_size // head_size,
            double_depth=count_blocks(shapes, "double_blocks"),
            single_depth=count_blocks(shapes, "single_blocks"),
            rope_sizes=rope_sizes(head_size),
            latent_channels=latent_channels,
            text_size=shapes["txt_in.input_embedder.weight"][1],
            pooled_size=shapes["vector_in.in_layer.weight"][1],
            refiner_depth=count_blocks(shapes, "txt_in.individual_token_refiner.blocks"),
            audio_size=shapes["audio_proj.proj1.weight"][1] // (AUDIO_WINDOW * AUDIO_STATES),
            audio_hidden_size=shapes["audio_proj.proj1.weight"][0],
            audio_tokens=shapes["audio_proj.proj3.weight"][0] // hidden_size,
            adapter_size=shapes["audio_adapter_blocks.0.to_q.weight"][0],
            mlp_ratio=shapes["double_blocks.0.img_mlp.fc1.weight"][0] / hidden_size,
            emotion="emotion.proj.weight" in shapes,
        )


def rope_sizes(head_size: int) -> tuple[int, int, int]:
    """Shapes do not tell the rotary shares: rows and columns get the published 7/16, time what is left."""
    space = 7 * head_size // 32 * 2
    return head_size - 2 * space, space, space


PUBLISHED = AvatarConfig(
    hidden_size=3072, num_heads=24, double_depth=20, single_depth=40, rope_sizes=(16, 56, 56)
)
