"""Sizes of the video autoencoder, and of the tiles that it works in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..layers.numbering import count_blocks

LEVELS = 4  # resolutions, from pixels to latents
SPACE_LEVELS = range(3)  # after which height and width are halved
TIME_LEVELS = range(1, 3)  # after which time is halved
SPACE_RATIO = 2 ** len(SPACE_LEVELS)  # pixels per latent, in height and in width
TIME_RATIO = 2 ** len(TIME_LEVELS)  # frames per latent, after the first frame, which is a latent of its own

SETTINGS = {  # what a published config.json says that shapes do not, and our names
    "norm_num_groups": "norm_groups",
    "sample_size": "tile_size",
    "sample_tsize": "tile_frames",
    "scaling_factor": "scaling_factor",
}


@dataclass(frozen=True, kw_only=True)
class VideoVAEConfig:
    """HunyuanVideo's causal 3-D autoencoder; the defaults are the published values."""

    channels: tuple[int, ...] = (128, 256, 512, 512)  # of the levels
    latent_channels: int = 16
    layers_per_level: int = 2  # residual blocks of the encoder; the decoder has one more
    norm_groups: int = 32
    tile_size: int = 256  # pixels
    tile_frames: int = 64
    scaling_factor: float = 0.476986  # brings the latents to the variance that the sampler works with

    def __post_init__(self) -> None:
        if len(self.channels) != LEVELS or any(width % self.norm_groups for width in self.channels):
            raise ValueError(
                f"A video VAE has {LEVELS} levels whose channels divide into {self.norm_groups} groups, "
                f"not {self.channels}."
            )
        if self.tile_size % (4 * SPACE_RATIO) or self.tile_frames % (4 * TIME_RATIO):
            raise ValueError(
                f"Tiles overlap by a quarter, so tile_size must be a multiple of {4 * SPACE_RATIO} and "
                f"tile_frames of {4 * TIME_RATIO}, not {self.tile_size} and {self.tile_frames}."
            )

    @property
    def tile_latents(self) -> int:
        """Height and width of a tile, in latents."""
        return self.tile_size // SPACE_RATIO

    @property
    def tile_latent_frames(self) -> int:
        return self.tile_frames // TIME_RATIO

    @property
    def tile_numbers(self) -> int:
        """Numbers that are alive at once while a tile is decoded, with room for convolutions to work.

        By count over all that is allocated, 7.4 tensors of the size of the last layer's input are at most.
        """
        return 10 * self.channels[0] * (self.tile_frames + 1) * self.tile_size**2

    @classmethod
    def from_shapes(
        cls, shapes: Mapping[str, Sequence[int]], settings: Mapping[str, Any] | None = None
    ) -> "VideoVAEConfig":
        """The configuration of a checkpoint.

        shapes:   of its tensors, by name.
        settings: the config.json beside it, for what no shape tells; without it, the published values.
        Raises:   KeyError with the missing name if this is no video VAE; ValueError for another kind of one.
        """
        settings = settings or {}
        if not settings.get("mid_block_causal_attn", True):
            raise ValueError(
                "Not Avatar's video VAE: by its config.json, mid_block_causal_attn is false, so frames see "
                "later ones. Choose the VAE from the Avatar folder."
            )
        return cls(
            channels=tuple(
                shapes[f"encoder.down_blocks.{level}.resnets.0.conv2.conv.weight"][0]
                for level in range(LEVELS)
            ),
            latent_channels=shapes["post_quant_conv.weight"][0],
            layers_per_level=count_blocks(shapes, "encoder.down_blocks.0.resnets"),
            **{ours: settings[name] for name, ours in SETTINGS.items() if name in settings},
        )
