"""Foley's networks at their published sizes with random weights, and frames to watch, for benchmarks."""

from collections.abc import Iterator
from copy import deepcopy
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

import _pack  # noqa: F401 - makes hunyuan_av importable
from hunyuan_av.hunyuan.foley.audio_vae import AudioVAE, AudioVAEConfig
from hunyuan_av.hunyuan.foley.sync_encoder import SyncEncoder, SyncEncoderConfig
from hunyuan_av.hunyuan.foley.text_encoder import TextEncoder
from hunyuan_av.hunyuan.foley.visual_encoder import VisualEncoder
from hunyuan_av.model_loaders.encoders import load_text_encoder, load_visual_encoder
from hunyuan_av.model_loaders.foley import load_audio_vae, load_sync_encoder
from hunyuan_av.model_loaders.foley_folder import POCKET, find_foley
from hunyuan_av.model_loaders.tokenizer import load_tokenizer

FRAME_RATE = 25
WIDTH, HEIGHT = 1280, 720
SPREAD = 0.02  # of random weights
INT8_STEP = SPREAD / 64  # so that int8 weights are of that order too


class SmallNetworks(NamedTuple):
    """All but the transformer, in float32."""

    visual: VisualEncoder
    sync: SyncEncoder
    text: TextEncoder
    vae: AudioVAE


def small_networks(size: str, device: torch.device) -> SmallNetworks:
    """The pocket's own, or of published size and random; on the CPU. device: where numbers are drawn fast."""
    files = find_foley(POCKET)
    if size == "pocket":
        return SmallNetworks(
            load_visual_encoder(files.visual_encoder), load_sync_encoder(files.synchformer),
            load_text_encoder(files.text_encoder), load_audio_vae(files.audio_vae),
        )  # fmt: skip
    return SmallNetworks(
        random_visual_encoder(device).cpu(),
        filled(SyncEncoder(SyncEncoderConfig(), device="meta"), device),
        random_text_encoder(device).cpu(),
        filled(AudioVAE(AudioVAEConfig(), part="decoder", device="meta"), device),
    )


def random_visual_encoder(device: torch.device) -> VisualEncoder:
    """SigLIP 2 base at 512 pixels, as its library initialises it, on the device."""
    from transformers import SiglipVisionConfig, SiglipVisionModel

    with torch.device(device):  # not on the meta device: its table of positions would be lost
        return frozen(VisualEncoder(SiglipVisionModel(SiglipVisionConfig(image_size=512, patch_size=16))))


def random_text_encoder(device: torch.device) -> TextEncoder:
    """CLAP's text tower as its library initialises it, on the device, with the pocket's tokenizer."""
    from transformers import ClapTextConfig, ClapTextModel

    tokenizer = load_tokenizer(find_foley(POCKET).text_encoder)
    with torch.device(device):
        return frozen(TextEncoder(ClapTextModel(ClapTextConfig(), add_pooling_layer=False), tokenizer))


@torch.no_grad()
def filled(network: nn.Module, device: torch.device) -> nn.Module:
    """A network of the meta device as one of the CPU, with random weights that are drawn on `device`."""
    network = deepcopy(network).to_empty(device="cpu")
    for name, tensor in network.state_dict().items():
        drawn = torch.empty_like(tensor, device=device)
        if tensor.dtype == torch.int8:
            drawn.random_(-127, 128)
        elif name.endswith(".scale"):
            drawn.fill_(INT8_STEP)
        elif name.endswith(".alpha"):  # a frequency that is divided by
            drawn.fill_(1.0)
        else:
            drawn.normal_(std=SPREAD)
        tensor.copy_(drawn)
    return frozen(network)


def frozen(network: nn.Module) -> nn.Module:
    return network.eval().requires_grad_(False)


def moving_frames(
    seconds: float, width: int = WIDTH, height: int = HEIGHT
) -> Iterator[tuple[float, np.ndarray]]:
    """Coarse noise that drifts: (seconds, (h, w, 3) uint8)."""
    coarse = np.random.default_rng(0).integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    picture = np.ascontiguousarray(coarse.repeat(16, axis=0).repeat(16, axis=1))
    for number in range(round(seconds * FRAME_RATE)):
        yield number / FRAME_RATE, np.roll(picture, 4 * number, axis=1)
