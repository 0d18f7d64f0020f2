"""Sizes of the audio autoencoder, read from metadata and from tensors."""

import pytest
from pack.hunyuan.foley.audio_vae import AudioVAE, AudioVAEConfig, published_shapes

UNEVEN = AudioVAEConfig(
    encoder_dim=6, encoder_rates=(3, 5, 2), latent_dim=10, decoder_dim=40, decoder_rates=(5, 2, 3)
)


def test_metadata_with_unknown_names_gives_the_sizes():
    kwargs = {
        "encoder_dim": 6,
        "encoder_rates": [3, 5, 2],
        "latent_dim": 10,
        "decoder_dim": 40,
        "decoder_rates": [5, 2, 3],
        "continuous": True,
        "n_codebooks": 9,
    }
    assert AudioVAEConfig.from_kwargs(kwargs) == UNEVEN


def test_missing_metadata_means_the_published_sizes():
    assert AudioVAEConfig.from_kwargs({}) == AudioVAEConfig()


@pytest.mark.parametrize("config", [UNEVEN, AudioVAEConfig()])
def test_shapes_give_the_sizes_with_and_without_weight_norm(config):
    vae = AudioVAE(config, part="both", device="meta")
    folded = {name: tensor.shape for name, tensor in vae.state_dict().items()}
    assert AudioVAEConfig.from_shapes(folded) == config
    assert AudioVAEConfig.from_shapes(published_shapes(vae)) == config


def test_shapes_of_a_decoder_alone_give_its_sizes():
    config = AudioVAEConfig.from_shapes(published_shapes(AudioVAE(UNEVEN, device="meta")))
    assert (config.latent_dim, config.decoder_dim, config.decoder_rates) == (10, 40, (5, 2, 3))
    assert config.hop == UNEVEN.hop


def test_another_network_is_named_by_the_tensor_it_lacks():
    with pytest.raises(ValueError, match=r"no tensor named decoder\.model\.0\.weight"):
        AudioVAEConfig.from_shapes({"post_quant_conv.weight": (4, 4, 1)})


def test_rates_of_different_products_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(3, 3\)"):
        AudioVAEConfig(encoder_rates=(2, 3), decoder_rates=(3, 3))


def test_channels_that_cannot_be_halved_are_refused():
    with pytest.raises(ValueError, match="decoder_dim 12"):
        AudioVAEConfig(decoder_dim=12)
