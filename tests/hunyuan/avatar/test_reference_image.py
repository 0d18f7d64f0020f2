"""The portrait's size, and its values for each network."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from pack.hunyuan.avatar.reference_image import bucket, llava_pixels, reference_latents, resize, vae_pixels
from pack.hunyuan.avatar.video_vae import VideoVAE
from pack.hunyuan.avatar.video_vae_config import VideoVAEConfig
from torch import nn

SIDES = st.integers(40, 5000)


@pytest.mark.parametrize(
    ("width", "height", "size", "published"),
    [
        (1920, 1080, 704, (1216, 704)),
        (333, 777, 704, (576, 1408)),
        (1920, 1080, 512, (832, 448)),
        (1000, 400, 320, (640, 256)),
        (736, 704, 704, (768, 704)),  # 11.5 is rounded to 12
        (928, 704, 704, (896, 704)),  # and 14.5 to 14
    ],
)
def test_published_buckets_are_reproduced(width, height, size, published):
    assert bucket(height, width, size)[::-1] == published


@given(height=SIDES, width=SIDES, size=st.sampled_from([256, 320, 384, 512, 704]))
def test_buckets_are_multiples_of_64_of_about_the_same_shape_and_area(height, width, size):
    assume(1 / 4 < height / width < 4)
    found = bucket(height, width, size)
    assert all(side % 64 == 0 and side > 0 for side in found)
    budget = size * {704: 1216, 512: 768, 384: 576, 256: 384}.get(size, 1.5 * size)
    smaller = (max(found[0] - 32, 1)) * (max(found[1] - 32, 1))
    assert smaller <= budget
    exact = (found[0] - 33) / (found[1] + 33), (found[0] + 33) / (found[1] - 33)
    assert exact[0] < height / width < exact[1]


def test_an_image_too_narrow_is_refused():
    with pytest.raises(ValueError, match="10000 x 10 pixels is too narrow for size 704"):
        bucket(10, 10_000)


def test_resizing_goes_to_the_bucket():
    image = np.full((90, 70, 3), (10, 120, 250), np.uint8)
    resized = resize(image, 256)
    assert resized.shape == (320, 256, 3)
    assert (resized == (10, 120, 250)).all()


def test_each_network_reads_its_own_range():
    image = np.zeros((64, 128, 3), np.uint8)
    image[:, 64:] = (255, 51, 102)
    pixels = vae_pixels(image)
    assert pixels.shape == (1, 3, 1, 64, 128)
    torch.testing.assert_close(pixels[0, :, 0, 5, 100], torch.tensor([1.0, -0.6, -0.2]))
    assert pixels[0, :, 0, 5, 5].tolist() == [-1, -1, -1]

    seen = llava_pixels(image)
    assert seen.shape == (1, 3, 336, 336)
    expected = [(1 - 0.48145466) / 0.26862954, (0.2 - 0.4578275) / 0.26130258, (0.4 - 0.4082107) / 0.27577711]
    torch.testing.assert_close(seen[0, :, 100, 300], torch.tensor(expected))
    torch.testing.assert_close(seen[0, 0, 100, 30].item(), -0.48145466 / 0.26862954)


def test_latents_are_the_scaled_mean_or_a_scaled_draw():
    config = VideoVAEConfig(channels=(2, 2, 2, 2), latent_channels=3, norm_groups=2, layers_per_level=1)
    vae = VideoVAE(config).requires_grad_(False)
    for parameter in vae.parameters():
        nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(len(parameter)))
    pixels = vae_pixels(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    posterior = vae.encode(pixels)
    latents = reference_latents(vae, pixels)
    torch.testing.assert_close(latents, 0.476986 * posterior.mean)
    noise = torch.ones_like(latents)
    torch.testing.assert_close(
        reference_latents(vae, pixels, noise), 0.476986 * (posterior.mean + posterior.std)
    )
