"""The networks under a host's layers: weights on one device and inputs on another, weights that come late.

Without a GPU the `meta` device stands for it: where a parameter is not cast to its input's device, torch
raises.
"""

import sys
from pathlib import Path

import pytest
import torch
from pack.hunyuan.foley.audio_vae import AudioVAE
from pack.hunyuan.foley.audio_vae_config import AudioVAEConfig
from pack.hunyuan.foley.transformer import FoleyTransformer
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from hosted_layers import CASTING, LAZY

VAE = AudioVAEConfig(
    encoder_dim=4, encoder_rates=(2, 4), latent_dim=6, decoder_dim=16, decoder_rates=(4, 2), sample_rate=400
)


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def dtype(request):
    return request.param


def whole_pass(network, features, latents, device="cpu", dtype=torch.float32):
    """One prompt that sees and one that does not, prepared and run on a device."""
    given = [tensor.to(device, dtype) for tensor in features()]
    x, t = latents().to(device, dtype), torch.full((1,), 400.0, device=device)
    return [network(x, t, network.prepare(*given, drop)) for drop in ((), ("visual", "sync"))]


def test_every_parameter_of_the_transformer_goes_where_its_input_is(
    tiny_config, randomised, features, latents, dtype
):
    network = randomised(FoleyTransformer(tiny_config, operations=CASTING))
    for velocity in whole_pass(network, features, latents, "meta", dtype):
        assert velocity.device.type == "meta"
        assert velocity.dtype == dtype


def test_layers_that_cast_compute_what_torchs_do(tiny_config, transformer, features, latents):
    network = FoleyTransformer(tiny_config, operations=CASTING)
    network.load_state_dict(transformer.state_dict())
    for ours, theirs in zip(
        whole_pass(network, features, latents), whole_pass(transformer, features, latents), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_a_parameter_that_stays_behind_is_found(tiny_config, randomised, features, latents):
    network = randomised(FoleyTransformer(tiny_config, operations=CASTING))
    network.final_layer.linear = nn.Linear(tiny_config.hidden_size, tiny_config.latent_channels)
    with pytest.raises((RuntimeError, NotImplementedError)):
        whole_pass(network, features, latents, "meta")


def test_every_parameter_of_the_audio_vae_goes_where_its_input_is(randomised):
    vae = randomised(AudioVAE(VAE, part="both", operations=CASTING))
    waveform = torch.zeros(1, 1, 40 * VAE.hop, device="meta")
    latents = vae.encode(waveform).mode
    assert latents.device.type == "meta"
    assert vae.decode(latents).shape == waveform.shape


def test_the_transformer_is_built_before_its_weights_are_there(tiny_config, transformer, features, latents):
    network = FoleyTransformer(tiny_config, operations=LAZY)
    assert network.final_layer.linear.weight is None
    network.load_state_dict(transformer.state_dict())
    for late, early in zip(
        whole_pass(network, features, latents), whole_pass(transformer, features, latents), strict=True
    ):
        assert torch.equal(late, early)


def test_the_audio_vae_is_built_before_its_weights_are_there(randomised):
    early = randomised(AudioVAE(VAE))
    late = AudioVAE(VAE, operations=LAZY).eval()
    late.load_state_dict(early.state_dict())
    latents = torch.randn(1, 6, 9, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(late.decode(latents), early.decode(latents))
