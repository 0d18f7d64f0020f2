"""Sizes of the audio autoencoder, and what follows from them: its hop and how far its networks look."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import count
from typing import Any

from .timing import SAMPLE_RATE
from .weight_norm import fused_shapes

DILATIONS = (1, 3, 9)  # of the three residual units in every block
RESIDUAL_REACH = 3 * sum(DILATIONS)  # a kernel of 7 looks 3 * dilation positions to each side


@dataclass(frozen=True, kw_only=True)
class AudioVAEConfig:
    """Sizes of an audio autoencoder; the defaults are the published ones."""

    encoder_dim: int = 128  # channels after the encoder's first convolution, doubled by every block
    encoder_rates: tuple[int, ...] = (2, 3, 4, 5, 8)  # stride of every block
    latent_dim: int = 128
    decoder_dim: int = 2048  # channels after the decoder's first convolution, halved by every block
    decoder_rates: tuple[int, ...] = (8, 5, 4, 3, 2)
    sample_rate: int = SAMPLE_RATE

    def __post_init__(self) -> None:
        if math.prod(self.encoder_rates) != math.prod(self.decoder_rates):
            raise ValueError(
                f"Audio VAE rates disagree: the encoder's {self.encoder_rates} and the decoder's "
                f"{self.decoder_rates} must have the same product, the samples of one latent frame."
            )
        if self.decoder_dim % 2 ** len(self.decoder_rates):
            raise ValueError(
                f"decoder_dim {self.decoder_dim} cannot be halved once per rate of {self.decoder_rates}."
            )

    @classmethod
    def from_kwargs(cls, kwargs: Mapping[str, Any]) -> "AudioVAEConfig":
        """The sizes in a published file's metadata; names that describe the unused quantizer are ignored."""
        known: dict[str, Any] = {f.name: kwargs[f.name] for f in fields(cls) if f.name in kwargs}
        for name in known.keys() & {"encoder_rates", "decoder_rates"}:
            known[name] = tuple(known[name])
        return cls(**known)

    @classmethod
    def from_shapes(cls, shapes: Mapping[str, Sequence[int]]) -> "AudioVAEConfig":
        """The sizes of a file that has no metadata, from its tensors' names and shapes.

        shapes: weight norm folded or not. Without an encoder among them, its rates mirror the decoder's.
        Raises: ValueError naming the tensor that no audio VAE lacks.
        """
        shapes = fused_shapes(shapes)
        try:
            latent_dim = shapes["post_quant_conv.weight"][0]
            decoder_dim = shapes["decoder.model.0.weight"][0]
        except KeyError as missing:
            raise ValueError(f"Not a Foley audio VAE: no tensor named {missing.args[0]}.") from missing
        decoder_rates = _rates(shapes, "decoder.model.{}.block.1.weight")
        first_conv = shapes.get("encoder.block.0.weight")
        return cls(
            encoder_dim=first_conv[0] if first_conv else cls.encoder_dim,
            encoder_rates=_rates(shapes, "encoder.block.{}.block.4.weight") or decoder_rates[::-1],
            latent_dim=latent_dim,
            decoder_dim=decoder_dim,
            decoder_rates=decoder_rates,
        )

    @property
    def hop(self) -> int:
        """Samples per latent frame."""
        return math.prod(self.decoder_rates)

    @property
    def decoder_reach(self) -> int:
        """Latent frames on each side that a decoded frame depends on, at most: 10 as published.

        Walks from the samples back to the latents. Through a transposed convolution, `reach` positions past
        the end of a tile depend on the inputs up to floor((reach - 1 + padding) / rate); the start of a tile
        never needs more. Measured in latent frames the reach only grows on the way, so what suffices for the
        latents also keeps the zeros that every layer pads a window with out of the tile.
        """
        reach = 3
        for rate in reversed(self.decoder_rates):
            reach += RESIDUAL_REACH
            reach = (reach - 1 + padding(rate)) // rate + 1
        return reach + 3

    @property
    def encoder_reach(self) -> int:
        """Latent frames on each side whose samples an encoded frame depends on, at most: 8 as published.

        Walks from the latents back to the samples before the tile; an odd rate needs one fewer after it.
        """
        reach = 1
        for rate in reversed(self.encoder_rates):
            reach = reach * rate + padding(rate) + RESIDUAL_REACH
        return math.ceil((reach + 3) / self.hop)


def padding(rate: int) -> int:
    """Zeros on each side of a convolution whose stride is `rate` and whose kernel is twice that."""
    return math.ceil(rate / 2)


def _rates(shapes: Mapping[str, Sequence[int]], name: str) -> tuple[int, ...]:
    """The strides of the consecutive blocks whose resampling weight is called `name`: half of its kernel."""
    rates = []
    for block in count(1):
        if (weight := name.format(block)) not in shapes:
            break
        rates.append(shapes[weight][-1] // 2)
    return tuple(rates)
