"""The causal video autoencoder."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.hunyuan.avatar.video_vae import VideoVAE
from pack.hunyuan.avatar.video_vae_blocks import CausalConv3d, FrameCausalAttention, Upsample
from pack.hunyuan.avatar.video_vae_config import VideoVAEConfig
from pack.hunyuan.layers.attention import attention
from pack.hunyuan.layers.posterior import Posterior
from torch import nn

KEYS = Path(__file__).parent.parent.parent / "keys" / "hunyuan_vae_keys.json"
TINY = VideoVAEConfig(
    channels=(2, 2, 4, 4), latent_channels=3, norm_groups=2, tile_size=32, tile_frames=16, layers_per_level=1
)


def random_vae(config=TINY, dtype=torch.float64, **options):
    vae = VideoVAE(config, dtype=dtype, **options)
    generator = torch.Generator().manual_seed(1)
    for parameter in vae.parameters():
        nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5, generator=generator)
    return vae.requires_grad_(False)


VAE = random_vae()


def random_video(frames, height=16, width=16):
    return torch.rand(1, 3, frames, height, width, generator=torch.Generator().manual_seed(2)) * 2 - 1


def random_latents(frames, height=2, width=2):
    return torch.randn(1, 3, frames, height, width, generator=torch.Generator().manual_seed(3))


def test_published_size_has_the_published_names_and_shapes():
    shapes = {name: list(tensor.shape) for name, tensor in VideoVAE(device="meta").state_dict().items()}
    assert shapes == json.loads(KEYS.read_text())


def test_published_size_has_the_published_number_of_parameters():
    assert sum(p.numel() for p in VideoVAE(device="meta").parameters()) == 246_478_803


def test_sizes_are_read_from_the_shapes():
    shapes = {name: tensor.shape for name, tensor in VideoVAE(device="meta").state_dict().items()}
    assert VideoVAEConfig.from_shapes(shapes) == VideoVAEConfig()
    tiny = {name: tensor.shape for name, tensor in VAE.state_dict().items()}
    settings = {"norm_num_groups": 2, "sample_size": 32, "sample_tsize": 16, "mid_block_causal_attn": True}
    assert VideoVAEConfig.from_shapes(tiny, settings) == TINY


def test_a_vae_that_sees_later_frames_is_refused():
    shapes = {name: tensor.shape for name, tensor in VAE.state_dict().items()}
    with pytest.raises(ValueError, match="mid_block_causal_attn is false"):
        VideoVAEConfig.from_shapes(shapes, {"mid_block_causal_attn": False})


@pytest.mark.parametrize("wrong", [{"channels": (8, 8)}, {"norm_groups": 3}, {"tile_size": 40}])
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(ValueError, match=r"levels|multiple of"):
        VideoVAEConfig(**{"channels": (4, 4, 4, 4), "norm_groups": 2, **wrong})


@given(latent_frames=st.integers(1, 6), height=st.integers(1, 6), width=st.integers(1, 6))
@settings(max_examples=8, deadline=None)
def test_encoding_and_decoding_keep_the_length_tiled_or_not(latent_frames, height, width):
    frames = 4 * latent_frames - 3
    moments = VAE.encode_tiled(random_video(frames, 8 * height, 8 * width)).moments
    assert moments.shape == (1, 6, latent_frames, height, width)
    latents = random_latents(latent_frames, height, width)
    assert VAE.decode_tiled(latents).shape == (1, 3, frames, 8 * height, 8 * width)
    assert VAE.decode(latents).shape == (1, 3, frames, 8 * height, 8 * width)


def test_a_video_within_one_tile_is_the_same_tiled_and_not():
    video, latents = random_video(16, 32, 32), random_latents(4, 4, 4)
    assert torch.equal(VAE.encode_tiled(video).moments, VAE.encode(video).moments)
    assert torch.equal(VAE.decode_tiled(latents), VAE.decode(latents))


def test_a_larger_video_is_not():
    latents = random_latents(5, 5, 4)
    assert (VAE.decode_tiled(latents) - VAE.decode(latents)).abs().max() > 1e-3


@pytest.mark.parametrize("encode", [VAE.encode, VAE.encode_tiled])
def test_a_still_clip_has_the_moments_of_one_frame(encode):
    frame = random_video(1, 48, 40)
    still = encode(frame.expand(-1, -1, 29, -1, -1)).moments
    torch.testing.assert_close(still, encode(frame).moments.expand_as(still), rtol=0, atol=1e-12)


def test_tiles_are_decoded_only_when_asked_for():
    pieces = VAE.decode_tiles(random_latents(30_000, 1, 1))
    assert [next(pieces).shape[2] for _ in range(3)] == [13, 12, 12]


def test_frames_are_pictures_between_zero_and_one():
    latents = random_latents(2)
    video = VAE.decode_tiled(latents / TINY.scaling_factor)
    frames = torch.cat(list(VAE.decode_frames(latents)), dim=1)
    assert frames.dtype == torch.float32
    expected = (video[0, :, 3].permute(1, 2, 0) / 2 + 0.5).clamp(0, 1).float()
    torch.testing.assert_close(frames[0, 3], expected)


def test_attention_sees_its_own_and_earlier_frames():
    layer = FrameCausalAttention(4, 2, attention=attention, dtype=torch.float64).requires_grad_(False)
    x = torch.randn(2, 4, 3, 2, 3, dtype=torch.float64)

    tokens = layer.group_norm(x).flatten(2).transpose(1, 2)
    frame = torch.arange(3).repeat_interleave(6)
    scores = layer.to_q(tokens) @ layer.to_k(tokens).transpose(1, 2) / 4**0.5
    scores = scores.masked_fill(frame[None, :] > frame[:, None], -torch.inf)
    out = layer.to_out[0](scores.softmax(-1) @ layer.to_v(tokens))
    torch.testing.assert_close(layer(x), x + out.transpose(1, 2).unflatten(2, (3, 2, 3)))


def test_convolutions_repeat_the_border_and_the_first_frame():
    layer = CausalConv3d(2, 3, 3, stride=(2, 2, 2), dtype=torch.float64).requires_grad_(False)
    x = torch.randn(1, 2, 5, 4, 6, dtype=torch.float64)
    rows, columns = [0, *range(4), 3], [0, *range(6), 5]
    padded = x[:, :, [0, 0, *range(5)]][:, :, :, rows][..., columns]
    expected = F.conv3d(padded, layer.conv.weight, layer.conv.bias, stride=2)
    torch.testing.assert_close(layer(x), expected)


def test_the_first_frame_is_never_doubled():
    layer = Upsample(1, (2, 2, 2))
    layer.conv = nn.Identity()
    x = torch.rand(1, 1, 3, 2, 2)
    found = layer(x)
    assert found.shape == (1, 1, 5, 4, 4)
    for t, row, column in [(0, 3, 1), (1, 0, 0), (2, 2, 3), (3, 1, 1), (4, 3, 3)]:
        assert found[0, 0, t, row, column] == x[0, 0, (t + 1) // 2, row // 2, column // 2]


def test_every_norm_has_the_published_epsilon():
    norms = [module for module in VAE.modules() if isinstance(module, nn.GroupNorm)]
    assert {(norm.eps, norm.num_groups) for norm in norms} == {(1e-6, 2)}


def test_layers_and_attention_are_the_hosts():
    class HostConv3d(nn.Conv3d):
        pass

    class HostLinear(nn.Linear):
        pass

    class HostGroupNorm(nn.GroupNorm):
        pass

    used = []

    def host_attention(q, k, v, mask=None):
        used.append(k.shape[2])
        return attention(q, k, v, mask)

    operations = SimpleNamespace(Conv3d=HostConv3d, Linear=HostLinear, GroupNorm=HostGroupNorm)
    vae = random_vae(operations=operations, attention=host_attention)
    leaves = {type(module) for module in vae.modules() if any(True for _ in module.parameters(recurse=False))}
    assert leaves == {HostConv3d, HostLinear, HostGroupNorm}
    vae.decode(random_latents(3))
    assert used == [4, 8, 12]


@pytest.mark.parametrize("shape", [(1, 4, 1, 16, 16), (1, 3, 16, 16), (1, 3, 1, 20, 16), (1, 3, 0, 16, 16)])
def test_a_video_of_another_shape_is_refused_with_its_shape(shape):
    with pytest.raises(ValueError, match=r"multiples of 8, not \(1, "):
        VAE.encode_tiled(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(1, 16, 1, 2, 2), (1, 3, 2, 2), (1, 3, 0, 2, 2)])
def test_latents_of_another_network_are_refused_with_their_shape(shape):
    with pytest.raises(ValueError, match="batch, 3, frames"):
        VAE.decode_tiled(torch.zeros(shape))


def test_inputs_are_cast_to_the_weights_and_left_as_they_were():
    video = random_video(5)
    before = video.clone()
    assert VAE.encode(video).moments.dtype == torch.float64
    assert torch.equal(video, before)


def test_gradients_reach_the_latents():
    latents = random_latents(2).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: VAE.decode(x).mean((3, 4)), latents, fast_mode=True)


def test_samples_spread_around_the_mean_by_a_clamped_variance():
    moments = torch.tensor([1.0, 1.0, 1.0, 0.0, 100.0, -100.0]).view(1, 2, 3, 1, 1)
    found = Posterior(moments).sample(torch.full((1, 1, 3, 1, 1), 2.0))
    expected = torch.tensor([3.0, 1 + 2 * torch.e**10, 1 + 2 * torch.e**-15]).view(1, 1, 3, 1, 1)
    torch.testing.assert_close(found, expected)
