"""First weights of the audio autoencoder: a transform that already reconstructs sound, to be improved on.

Every strided convolution begins as a lapped transform (MDCT, Princen and Bradley 1987) of each of its
channels, turned to the principal axes of real sounds, of which it keeps as many as it has channels. The
decoder begins as the adjoint, so that both together are a projection. All else begins as an identity.

Axes: b batch, c channels, k kernel, t positions.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import Tensor, nn

from ..hunyuan.foley.audio_vae import AudioVAE

FIRST_ALPHA = 0.05  # of the periodic activations: nearly the identity
FIRST_LOGVAR = -7.0
WHITENING = 0.5  # 0 leaves the latents at the scales they have, 1 makes all as wide


def lapped_basis(bands: int) -> Tensor:
    """Orthonormal with its own shifts by `bands` samples: (bands, 2 bands)."""
    time = torch.arange(2 * bands) + 0.5
    window = torch.sin(math.pi * time / (2 * bands))
    phases = torch.outer(torch.arange(bands) + 0.5, time + bands / 2) * (math.pi / bands)
    return window * phases.cos() * math.sqrt(2 / bands)


def principal_kernels(x: Tensor, conv: nn.Conv1d) -> Tensor:
    """The kernels (c_out, c, k) that keep most of x (b, c, t), which the convolution is about to be shown."""
    channels, rate = x.shape[1], conv.stride[0]
    basis = torch.zeros(channels, rate, channels, 2 * rate)
    basis[torch.arange(channels), :, torch.arange(channels)] = lapped_basis(rate)
    basis = rearrange(basis, "c bands one k -> (c bands) one k")
    bands = rearrange(F.conv1d(x, basis, stride=rate, padding=conv.padding[0]), "b c t -> (b t) c")
    axes = torch.linalg.eigh(bands.T.double() @ bands.double()).eigenvectors.flip(1).float()
    return einsum(axes[:, : conv.out_channels], basis, "bands out, bands c k -> out c k")


@torch.no_grad()
def begin_lapped(vae: AudioVAE, sounds: Tensor) -> None:
    """Set all weights. sounds: (b, samples), a few real ones."""
    encoder: list[Any] = list(vae.encoder.block)
    decoder: list[Any] = list(vae.decoder.model)
    for name, parameter in vae.named_parameters():
        if name.endswith("alpha"):
            parameter.fill_(FIRST_ALPHA)
        elif name.endswith((".bias", ".block.3.weight")):  # the latter ends a residual unit
            parameter.zero_()

    pass_through(encoder[0])
    x = encoder[0](sounds[:, None])
    for level in range(1, len(encoder) - 2):
        block = encoder[level].block
        for layer in list(block)[:-1]:
            x = layer(x)
        kernels = principal_kernels(x, block[-1])
        block[-1].weight.copy_(kernels)
        decoder[len(encoder) - 2 - level].block[1].weight.copy_(kernels)
        x = block[-1](x)

    for conv in (encoder[-1], decoder[0], decoder[-1], vae.post_quant_conv):
        pass_through(conv)
    scale_latents(vae, rearrange(encoder[-1](encoder[-2](x)), "b c t -> (b t) c").std(0))


def pass_through(conv: nn.Conv1d) -> None:
    """Output i begins as input i."""
    conv.weight.mul_(0.1)
    same = torch.arange(min(conv.in_channels, conv.out_channels))
    conv.weight[same] = 0.0
    conv.weight[same, same, conv.kernel_size[0] // 2] = 1.0


def scale_latents(vae: AudioVAE, deviations: Tensor) -> None:
    """Bring latents of these deviations nearer to 1, and back before they are decoded."""
    channels = len(deviations)
    kept = deviations.clamp(min=1e-3 * float(deviations.max()))
    gains = kept**-WHITENING / (deviations * kept**-WHITENING).square().mean().sqrt()
    vae.quant_conv.weight.mul_(0.01)
    vae.quant_conv.weight[:channels, :, 0] = gains.diag()
    vae.quant_conv.bias[channels:] = FIRST_LOGVAR
    vae.post_quant_conv.weight[:, :, 0] = (1 / gains).diag()
