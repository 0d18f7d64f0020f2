"""A tiny transformer with random weights, and inputs that fit it."""

import pytest
import torch
from pack.hunyuan.foley.config import FoleyConfig
from pack.hunyuan.foley.transformer import FoleyTransformer
from torch import nn

TINY = FoleyConfig(
    hidden_size=32, num_heads=2, joint_depth=2, audio_depth=2,
    latent_channels=6, text_size=10, visual_size=12, sync_size=14,
)  # fmt: skip


def random_weights(network: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5, generator=generator)
    return network.eval().requires_grad_(False)


def random_features(seed: int = 0, *, text: int = 5, visual: int = 8, segments: int = 3):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((1, text, TINY.text_size), (1, visual, TINY.visual_size), (1, 8 * segments, TINY.sync_size))
    return tuple(torch.randn(shape, generator=generator) for shape in shapes)


def random_latents(rows: int = 1, length: int = 50, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, TINY.latent_channels, length, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="session")
def tiny_config():
    return TINY


@pytest.fixture(scope="session")
def transformer():
    return random_weights(FoleyTransformer(TINY))


@pytest.fixture(scope="session")
def randomised():
    return random_weights


@pytest.fixture(scope="session")
def features():
    return random_features


@pytest.fixture(scope="session")
def latents():
    return random_latents
