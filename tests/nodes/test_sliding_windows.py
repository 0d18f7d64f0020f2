"""Sliding windows on pocket weights."""

import pytest
import torch
from pack import nodes
from pack.hunyuan.foley.features import FoleyFeatures
from pack.hunyuan.sampling.windows import rise

SECONDS = 14
# Of each window: latent frames, visual and sync tokens. They share the frames from 400 to 496.
WINDOWS = [((0, 496), (0, 80), (0, 240)), ((400, 700), (64, 112), (200, 336))]


@pytest.fixture(scope="module")
def long_conditioning(run, model, prompts):
    """positive, negative and latent for a clip of random features."""
    random = torch.Generator().manual_seed(3)
    config = model.diffusion_model.config
    frames = 25 * SECONDS
    features = FoleyFeatures(
        visual=torch.randn(1, 8 * SECONDS, config.visual_size, generator=random),
        sync=torch.randn(1, 8 * ((frames - 16) // 8 + 1), config.sync_size, generator=random),
        sync_frames=frames,
    )
    positive, negative = prompts
    return run(nodes.FoleyConditioning, positive=positive, negative=negative, features=features)


def sampled(run, model, conditioning, **settings):
    positive, negative, latent = conditioning
    inputs = {"model": model, "positive": positive, "negative": negative, "latent": latent, "steps": 2}
    return run(nodes.FoleySampler, **(inputs | settings))["samples"]


def test_windows_agree_after_every_step(run, model, long_conditioning):
    """An oracle with a loop of its own: two windows, their velocities averaged in the overlap."""
    made = sampled(run, run(nodes.SlidingWindows, model=model), long_conditioning, seed=4)

    transformer = model.diffusion_model
    (positive,), (negative,), _ = long_conditioning
    shared = rise(96)
    weights = [torch.cat([torch.ones(400), 1 - shared]), torch.cat([shared, torch.ones(204)])]
    x = torch.randn(1, 128, 700, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        for sigma in (1.0, 0.5):
            velocity, time = torch.zeros_like(x), torch.tensor([1000 * sigma])
            for (latents, *tokens), weight in zip(WINDOWS, weights, strict=True):
                here, visual, sync = (slice(*part) for part in (latents, *tokens))
                seen = positive[1]["foley_visual"][:, visual], positive[1]["foley_sync"][:, sync]
                guided, plain = (
                    transformer(x[..., here], time, transformer.prepare(text, *seen, drop))
                    for text, drop in ((positive[0], set()), (negative[0], {"visual", "sync"}))
                )
                velocity[..., here] += weight * (plain + 4.5 * (guided - plain))
            x = x - 0.5 * velocity
    torch.testing.assert_close(made, x, rtol=1e-4, atol=1e-4)


def test_what_fits_into_a_window_is_made_as_without(run, model, conditioning):
    windowed = run(nodes.SlidingWindows, model=model)
    assert torch.equal(sampled(run, windowed, conditioning), sampled(run, model, conditioning))


def test_a_long_sound_from_words_alone_is_made_in_any_windows(run, model, prompts):
    positive, negative = prompts
    latent = {"samples": torch.zeros(1, 128, 700)}
    windowed = run(nodes.SlidingWindows, model=model, window=9.0, overlap=0.5, join="switch")
    made = sampled(run, windowed, (positive, negative, latent), steps=1)
    assert made.shape == (1, 128, 700)
    assert made.std() > 0.1


def test_what_takes_windows_is_refused_without_them(run, model, prompts):
    latent = run(nodes.FoleyEmptyLatent, seconds=16.0)
    with pytest.raises(ValueError, match=r"16\.00 s long.*or give the model Sliding Windows"):
        sampled(run, model, (*prompts, latent), steps=1)
    windowed = run(nodes.SlidingWindows, model=model)
    assert sampled(run, windowed, (*prompts, latent), steps=1).shape == (1, 128, 800)


def test_windows_that_miss_the_clocks_of_a_video_are_refused(run, model, long_conditioning):
    windowed = run(nodes.SlidingWindows, model=model, window=9.0, overlap=0.5)
    with pytest.raises(ValueError, match=r"start every 8\.5 s.*choose an overlap of 1 s"):
        sampled(run, windowed, long_conditioning)


def test_the_model_that_goes_in_stays_as_it_is(run, model):
    assert run(nodes.SlidingWindows, model=model).windows
    assert model.windows is None
