"""The audio autoencoder: 48 kHz mono waveforms to 50 latent frames per second, and back.

Strided convolutions with snake activations, after the Descript Audio Codec with its quantizer replaced by a
continuous Gaussian latent ("DAC-VAE"). Sources: arXiv:2306.06546 (codec), arXiv:2508.16930 (this model).

Axis letters: b batch, c channels, t latent frames. A latent frame is `hop` samples.
"""

import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.posterior import Posterior
from .audio_vae_config import DILATIONS, AudioVAEConfig, padding
from .weight_norm import fold_weight_norm, published_shapes

__all__ = ["AudioVAE", "AudioVAEConfig", "Posterior", "fold_weight_norm", "published_shapes"]

TILE = 250  # latent frames decoded at once when tiling: 5 s


class AudioVAE(nn.Module):
    """Waveform <-> latents. Generating sound needs only the decoder, one fifth of the published file.

    part: "decoder" leaves out the encoder and its projection.

    Inputs are cast to the weights' dtype, which is also the dtype of what comes out.
    """

    def __init__(
        self,
        config: AudioVAEConfig,
        *,
        part: Literal["decoder", "both"] = "decoder",
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        operations: Any = nn,
    ) -> None:
        super().__init__()
        made: dict[str, Any] = {"dtype": dtype, "device": device}
        latent_dim = config.latent_dim
        self.config = config
        self.part = part
        if part == "both":
            self.encoder = Encoder(config, operations=operations, **made)
            self.quant_conv = operations.Conv1d(latent_dim, 2 * latent_dim, 1, **made)
        self.post_quant_conv = operations.Conv1d(latent_dim, latent_dim, 1, **made)
        self.decoder = Decoder(config, operations=operations, **made)

    def encode(self, waveform: Tensor) -> Posterior:
        """The distribution of a waveform's latents.

        waveform: (b, 1, samples) at `config.sample_rate`; zeros complete its last latent frame.
        Raises:   ValueError for another number of channels, no samples, or a VAE without its encoder.
        """
        self._check_waveform(waveform)
        return Posterior(self._moments(waveform))

    def decode(self, latents: Tensor) -> Tensor:
        """The waveform of some latents: (b, c, t) -> (b, 1, t * hop), in [-1, 1].

        Raises: ValueError if the channels are not the VAE's or there is no frame.
        """
        self._check_latents(latents)
        return self.decoder(self.post_quant_conv(latents.to(self.post_quant_conv.weight.dtype)))

    def decode_tiles(self, latents: Tensor, tile: int = TILE, context: int | None = None) -> Iterator[Tensor]:
        """The waveform of `decode` in consecutive pieces (b, 1, n * hop), at most `tile` latent frames each.

        context: latent frames decoded and thrown away on each side of a piece. The default is the decoder's
            reach, the least with which nothing can be heard or measured of the seams.
        """
        self._check_latents(latents)
        context = self.config.decoder_reach if context is None else context
        hop = self.config.hop
        for start, stop, first, last in tiles(latents.shape[-1], tile, context):
            waveform = self.decode(latents[..., first:last])
            yield waveform[..., (start - first) * hop : (stop - first) * hop]

    def decode_tiled(self, latents: Tensor, tile: int = TILE, context: int | None = None) -> Tensor:
        """`decode` in the memory of one tile; see `decode_tiles`."""
        return torch.cat(list(self.decode_tiles(latents, tile, context)), dim=-1)

    def encode_tiled(self, waveform: Tensor, tile: int = TILE, context: int | None = None) -> Posterior:
        """`encode` in the memory of one tile; lengths in latent frames, `context` by default the reach."""
        self._check_waveform(waveform)
        context = self.config.encoder_reach if context is None else context
        hop = self.config.hop
        moments = []
        for start, stop, first, last in tiles(math.ceil(waveform.shape[-1] / hop), tile, context):
            window = self._moments(waveform[..., first * hop : last * hop])
            moments.append(window[..., start - first : stop - first])
        return Posterior(torch.cat(moments, dim=-1))

    def _moments(self, waveform: Tensor) -> Tensor:
        waveform = F.pad(waveform, (0, -waveform.shape[-1] % self.config.hop))
        return self.quant_conv(self.encoder(waveform.to(self.quant_conv.weight.dtype)))

    def _check_waveform(self, waveform: Tensor) -> None:
        if self.part != "both":
            raise ValueError(
                "This audio VAE was loaded without its encoder. Load both parts to encode sound."
            )
        if waveform.ndim != 3 or waveform.shape[1] != 1 or waveform.shape[2] == 0:
            raise ValueError(
                f"The audio VAE encodes mono sound (batch, 1, samples), not {tuple(waveform.shape)}. "
                "Mix the channels into one first."
            )

    def _check_latents(self, latents: Tensor) -> None:
        if latents.ndim != 3 or latents.shape[1] != self.config.latent_dim or latents.shape[2] == 0:
            raise ValueError(
                f"The audio VAE decodes latents (batch, {self.config.latent_dim}, frames), "
                f"not {tuple(latents.shape)}. Connect latents of a Foley sampler."
            )


class Encoder(nn.Module):
    """Waveform (b, 1, t * hop) -> hidden (b, latent_dim, t)."""

    def __init__(self, config: AudioVAEConfig, *, operations: Any = nn, **made: Any) -> None:
        super().__init__()
        channels = config.encoder_dim
        layers: list[nn.Module] = [operations.Conv1d(1, channels, 7, padding=3, **made)]
        for rate in config.encoder_rates:
            layers.append(EncoderBlock(channels, rate, operations=operations, **made))
            channels *= 2
        layers.append(Snake(channels, **made))
        layers.append(operations.Conv1d(channels, config.latent_dim, 3, padding=1, **made))
        self.block = nn.Sequential(*layers)

    def forward(self, waveform: Tensor) -> Tensor:
        return self.block(waveform)


class EncoderBlock(nn.Module):
    """Residual units, then `rate` times fewer positions of twice the channels."""

    def __init__(self, channels: int, rate: int, *, operations: Any = nn, **made: Any) -> None:
        super().__init__()
        self.block = nn.Sequential(
            *[ResidualUnit(channels, dilation, operations=operations, **made) for dilation in DILATIONS],
            Snake(channels, **made),
            operations.Conv1d(channels, 2 * channels, 2 * rate, stride=rate, padding=padding(rate), **made),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class Decoder(nn.Module):
    """Hidden (b, latent_dim, t) -> waveform (b, 1, t * hop) in [-1, 1]."""

    def __init__(self, config: AudioVAEConfig, *, operations: Any = nn, **made: Any) -> None:
        super().__init__()
        channels = config.decoder_dim
        layers: list[nn.Module] = [operations.Conv1d(config.latent_dim, channels, 7, padding=3, **made)]
        for rate in config.decoder_rates:
            layers.append(DecoderBlock(channels, rate, operations=operations, **made))
            channels //= 2
        layers.append(Snake(channels, **made))
        layers.append(operations.Conv1d(channels, 1, 7, padding=3, **made))
        self.model = nn.Sequential(*layers)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.model(hidden).tanh_()


class DecoderBlock(nn.Module):
    """`rate` times more positions of half the channels, then residual units."""

    def __init__(self, channels: int, rate: int, *, operations: Any = nn, **made: Any) -> None:
        super().__init__()
        half = channels // 2
        self.block = nn.Sequential(
            Snake(channels, **made),
            operations.ConvTranspose1d(
                channels,
                half,
                2 * rate,
                stride=rate,
                padding=padding(rate),
                output_padding=rate
                % 2,  # completes odd rates, so that the output is exactly rate times longer
                **made,
            ),
            *[ResidualUnit(half, dilation, operations=operations, **made) for dilation in DILATIONS],
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class ResidualUnit(nn.Module):
    """x + two convolutions, the first of which looks 3 * dilation positions to each side."""

    def __init__(self, channels: int, dilation: int, *, operations: Any = nn, **made: Any) -> None:
        super().__init__()
        self.block = nn.Sequential(
            Snake(channels, **made),
            operations.Conv1d(channels, channels, 7, dilation=dilation, padding=3 * dilation, **made),
            Snake(channels, **made),
            operations.Conv1d(channels, channels, 1, **made),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x).add_(x)


class Snake(nn.Module):
    """x + sin(alpha x)^2 / alpha, a periodic activation with one frequency per channel (arXiv:2006.08195)."""

    def __init__(self, channels: int, **made: Any) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1, **made))

    def forward(self, x: Tensor) -> Tensor:
        # In place on the product alone: one temporary at the full sample rate, and autograd stays right.
        return (x * self.alpha.to(x)).sin_().square_().mul_(self._inverse_alpha(x)).add_(x)

    def _inverse_alpha(self, x: Tensor) -> Tensor:
        # In float16 the epsilon vanishes, or its inverse overflows: a channel with alpha = 0 would be NaN.
        alpha = self.alpha.to(x.device, torch.promote_types(x.dtype, torch.float32))
        largest = torch.finfo(x.dtype).max
        return (alpha + 1e-9).reciprocal().clamp(-largest, largest).to(x.dtype)


def tiles(length: int, tile: int, context: int) -> Iterator[tuple[int, int, int, int]]:
    """Tiles [start, stop) that cover `length`, each with the window [first, last) to compute it from."""
    if tile < 1 or context < 0:
        raise ValueError(f"A tile needs at least 1 frame and a context of 0, not {tile} and {context}.")
    for start in range(0, length, tile):
        stop = min(start + tile, length)
        yield start, stop, max(0, start - context), min(length, stop + context)
