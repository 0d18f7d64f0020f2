"""Latents as the sampler makes them, beside the sounds that they stand for."""

from itertools import pairwise

import pytest
import torch
from pack.hunyuan.foley.config import FoleyConfig
from pack.hunyuan.foley.transformer import FoleyTransformer
from pack.hunyuan.sampling.schedule import TIME_SCALE, flow_sigmas
from pack.training import generated, outline
from pack.training.initial import initialise
from pack.training.objective import conditions_of

WIDTH = 8
FOLEY = FoleyConfig(
    hidden_size=16, num_heads=2, joint_depth=1, audio_depth=1, mlp_ratio=1.0,
    latent_channels=outline.CHANNELS, text_size=WIDTH, visual_size=WIDTH, sync_size=WIDTH,
)  # fmt: skip


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def transformer():
    return initialise(FoleyTransformer(FOLEY), 3).eval()


@pytest.fixture
def batch():
    generator = seeded(2)
    return {
        "latents": torch.randn(2, outline.CHANNELS, 32, generator=generator),
        "sync": torch.randn(2, 16, WIDTH, generator=generator),
        "visual": torch.randn(2, 5, WIDTH, generator=generator),
        "text": torch.randn(2, 7, WIDTH, generator=generator),
        "drop_video": torch.zeros(2, dtype=torch.bool),
    }


@torch.no_grad()
def test_from_noise_alone_they_are_what_the_sampler_makes(transformer, batch):
    made = generated.make(transformer, batch, 1.0, seeded(4))
    x = torch.randn(batch["latents"].shape, generator=seeded(4))
    sigmas = flow_sigmas(generated.STEPS)
    for sigma, target in pairwise(sigmas):
        time = torch.full((2,), float(sigma) * TIME_SCALE)
        x = x + float(target - sigma) * transformer(x, time, conditions_of(transformer, batch))
    assert torch.allclose(made, x, atol=1e-5)


def test_the_lower_the_level_the_more_of_the_true_latents_is_left(transformer, batch):
    apart = [
        float((generated.make(transformer, batch, level, seeded(4)) - batch["latents"]).square().mean())
        for level in (1.0, 0.76, 0.2, 0.04)
    ]
    assert apart == sorted(apart, reverse=True)
    assert apart[-1] < 0.1 * apart[0]
