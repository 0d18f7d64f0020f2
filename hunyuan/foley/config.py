"""Sizes of the Foley transformer, as published and as read from a checkpoint's shapes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..layers.mlp import gated_hidden_size
from ..layers.numbering import count_blocks


@dataclass(frozen=True, kw_only=True)
class FoleyConfig:
    """HunyuanVideo-Foley's MMDiT (arXiv:2508.16930)."""

    hidden_size: int
    num_heads: int
    joint_depth: int  # blocks where audio and visual tokens attend together
    audio_depth: int  # blocks over audio tokens alone
    latent_channels: int = 128
    text_size: int = 768
    visual_size: int = 768
    sync_size: int = 768
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError(
                f"A hidden size of {self.hidden_size} does not split into {self.num_heads} heads of even size"
            )

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.num_heads

    @property
    def mlp_size(self) -> int:
        return round(self.hidden_size * self.mlp_ratio)

    @property
    def audio_mlp_size(self) -> int:
        return gated_hidden_size(self.mlp_size)

    @property
    def sync_mlp_size(self) -> int:
        # As trained: the sync branch keeps a ratio of 4 whatever the blocks use.
        return gated_hidden_size(4 * self.hidden_size)

    @classmethod
    def from_shapes(cls, shapes: Mapping[str, Sequence[int]]) -> "FoleyConfig":
        """The configuration that a checkpoint's tensor shapes imply.

        Raises KeyError with the missing name if this is not a Foley transformer.
        """
        hidden_size, latent_channels = shapes["audio_embedder.proj.weight"][:2]
        return cls(
            hidden_size=hidden_size,
            num_heads=hidden_size // shapes["triple_blocks.0.audio_self_q_norm.weight"][0],
            joint_depth=count_blocks(shapes, "triple_blocks"),
            audio_depth=count_blocks(shapes, "single_blocks"),
            latent_channels=latent_channels,
            text_size=shapes["cond_in.linear_1.weight"][1],
            visual_size=shapes["visual_proj.w1.weight"][1],
            sync_size=shapes["sync_in.0.weight"][1],
            mlp_ratio=shapes["triple_blocks.0.audio_mlp.fc1.weight"][0] / hidden_size,
        )


XL = FoleyConfig(hidden_size=1408, num_heads=11, joint_depth=12, audio_depth=24)
XXL = FoleyConfig(hidden_size=1536, num_heads=12, joint_depth=18, audio_depth=36)
