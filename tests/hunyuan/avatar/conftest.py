"""A tiny Avatar transformer with random weights, and inputs that fit it."""

from dataclasses import replace

import pytest
import torch
from pack.hunyuan.avatar.conditions import AvatarPrompt, AvatarScene, Character, Motion
from pack.hunyuan.avatar.config import AvatarConfig
from pack.hunyuan.avatar.transformer import AvatarTransformer
from torch import nn

TINY = AvatarConfig(
    hidden_size=32, num_heads=2, double_depth=4, single_depth=2, rope_sizes=(4, 6, 6), latent_channels=4,
    text_size=10, pooled_size=6, audio_size=3, audio_hidden_size=12, adapter_size=8, mlp_ratio=2.0,
)  # fmt: skip
HEIGHT, WIDTH = 4, 6  # latents
FRAMES = 3  # latent frames


def random_weights(network: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        center = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        nn.init.normal_(parameter, mean=center, std=parameter[0].numel() ** -0.5 / 2, generator=generator)
    return network.eval().requires_grad_(False)


class Inputs:
    """Random inputs of one row; the same seed gives the same."""

    frames, height, width = FRAMES, HEIGHT, WIDTH

    def random(self, *shape: int, seed: int = 0) -> torch.Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    def latents(self, rows: int = 1, frames: int = FRAMES, seed: int = 0) -> torch.Tensor:
        return self.random(rows, TINY.latent_channels, frames, HEIGHT, WIDTH, seed=seed)

    def prompt(self, seed: int = 0, words: int = 2) -> AvatarPrompt:
        """Eight rows of states: words, two of the portrait that the mask leaves out, and four that it has."""
        mask = torch.tensor([[1] * words + [0] * (4 - words) + [1] * 4])
        states, pooled = self.random(1, 8, TINY.text_size, seed=seed), self.random(1, TINY.pooled_size)
        return AvatarPrompt(states=states, mask=mask, pooled=pooled)

    def scene(self, seed: int = 0, **options) -> AvatarScene:
        return AvatarScene(reference=self.latents(frames=1, seed=seed), motion=Motion.of(), **options)

    def audio(self, frames: int = FRAMES, seed: int = 0) -> torch.Tensor:
        return self.random(1, 4 * frames - 3, 10, 5, TINY.audio_size, seed=seed)

    def mask(self, rows: slice = slice(0, 2), columns: slice = slice(0, 4)) -> torch.Tensor:
        mask = torch.zeros(1, 1, 1, HEIGHT, WIDTH)
        mask[..., rows, columns] = 1
        return mask

    def character(self, seed: int = 0, frames: int = FRAMES, **options) -> Character:
        return Character(audio=self.audio(frames, seed), **{"mask": self.mask(), **options})


@pytest.fixture(scope="session")
def tiny_config():
    return TINY


@pytest.fixture(scope="session")
def randomised():
    return random_weights


@pytest.fixture(scope="session")
def transformer():
    return random_weights(AvatarTransformer(TINY))


@pytest.fixture(scope="session")
def emotional():
    """The same with an audio emotion module."""
    return random_weights(AvatarTransformer(replace(TINY, emotion=True)))


@pytest.fixture(scope="session")
def inputs():
    return Inputs()
