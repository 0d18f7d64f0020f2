"""The audio autoencoder against published tensors, its own tiles, and lower precision."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.hunyuan.foley.audio_vae import AudioVAE, AudioVAEConfig, Posterior, Snake, fold_weight_norm
from safetensors.torch import load_file
from torch import Tensor, nn

TINY = AudioVAEConfig(encoder_dim=2, latent_dim=3, decoder_dim=64)  # the published rates, few channels
ODD = AudioVAEConfig(
    encoder_dim=2, encoder_rates=(3, 5, 2), latent_dim=3, decoder_dim=16, decoder_rates=(5, 2, 3)
)


def random_vae(config: AudioVAEConfig, dtype: torch.dtype = torch.float64) -> AudioVAE:
    """An autoencoder with signals of ordinary size in every layer, so that inputs at the reach count."""
    vae = AudioVAE(config, part="both", dtype=dtype)
    generator = torch.Generator().manual_seed(7)
    for name, parameter in vae.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=dtype)
        scale = 0.6 * parameter[0].numel() ** -0.5 if name.endswith("weight") else 0.1
        parameter.data = 1 + 0.3 * noise.clamp(-2, 2) if name.endswith("alpha") else noise * scale
    return vae.requires_grad_(False)


def random_latents(config: AudioVAEConfig, frames: int) -> Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.randn(1, config.latent_dim, frames, generator=generator, dtype=torch.float64)


def random_waveform(samples: int) -> Tensor:
    return torch.randn(1, 1, samples, generator=torch.Generator().manual_seed(samples), dtype=torch.float64)


VAES = {config: random_vae(config) for config in (TINY, ODD)}


def recorded(sidecar: Path) -> tuple[AudioVAE, dict[str, Tensor], dict]:
    facts = json.loads(sidecar.read_text())
    tensors = load_file(sidecar.with_name(facts["file"]))
    vae = AudioVAE(AudioVAEConfig.from_kwargs(facts["config"]), part="both")
    weights = {name.removeprefix("weights."): t for name, t in tensors.items() if name.startswith("weights.")}
    vae.load_state_dict(fold_weight_norm(weights))
    return vae.requires_grad_(False), tensors, facts["suggested_tolerance"]


def scale_invariant_sdr(estimate: Tensor, reference: Tensor) -> Tensor:
    """In dB, per waveform: arXiv:1811.02508."""
    target = reference * ((estimate * reference).sum(-1) / reference.square().sum(-1))[..., None]
    return 10 * torch.log10(target.square().sum(-1) / (estimate - target).square().sum(-1))


def test_published_tensors_are_reproduced(goldens):
    sidecars = sorted((goldens / "foley").glob("dac_*.json"))
    assert sidecars
    for sidecar in sidecars:
        vae, tensors, allowed = recorded(sidecar)
        for case in sorted({name.split(".")[0] for name in tensors if name.startswith("case")}):
            found = {}
            if (waveform := tensors.get(f"{case}.in.audio")) is not None:
                posterior = vae.encode(waveform)
                found = {name: getattr(posterior, name) for name in ("moments", "mean", "logvar", "std")}
                torch.testing.assert_close(
                    vae.decode(posterior.mode),
                    tensors[f"{case}.out.decoded_mean"],
                    rtol=0,
                    **allowed["audio"],
                )
            else:
                latents = tensors[f"{case}.in.latents"]
                hidden = vae.decoder.model[0](vae.post_quant_conv(latents))
                found["after_decoder_input_conv"] = hidden
                found["after_decoder_block1"] = vae.decoder.model[1](hidden)
                torch.testing.assert_close(
                    vae.decode(latents), tensors[f"{case}.out.audio"], rtol=0, **allowed["audio"]
                )
            for name, tensor in found.items():
                kind = "mid" if name.startswith("after") else "out"
                torch.testing.assert_close(tensor, tensors[f"{case}.{kind}.{name}"], **allowed["moments"])


def test_published_size_has_the_published_number_of_parameters():
    both = AudioVAE(AudioVAEConfig(), part="both", device="meta")
    decoder = AudioVAE(AudioVAEConfig(), device="meta")
    assert AudioVAEConfig().hop == 960
    assert "encoder" not in dict(decoder.named_children())
    lengths_of_norms = {  # one per output channel, but per input channel where the convolution is transposed
        vae: sum(
            tensor.shape[0]
            for name, tensor in vae.named_parameters()
            if name.endswith("weight") and "quant_conv" not in name
        )
        for vae in (both, decoder)
    }
    total = {vae: sum(p.numel() for p in vae.parameters()) + n for vae, n in lengths_of_norms.items()}
    assert total == {both: 371_589_058, decoder: 75_498_690}


def test_reach_of_the_published_rates_is_the_measured_one():
    assert AudioVAEConfig().decoder_reach == 10
    assert AudioVAEConfig().encoder_reach == 8


@pytest.mark.parametrize("config", [TINY, ODD])
def test_reach_is_enough_and_one_less_is_not(config):
    vae, reach = VAES[config], config.decoder_reach
    latents = random_latents(config, 4 * reach + 1)
    whole = vae.decode(latents)
    assert (vae.decode_tiled(latents, 2 * reach) - whole).abs().max() < 1e-13
    assert (vae.decode_tiled(latents, 2 * reach, reach - 1) - whole).abs().max() > 1e-9

    waveform = random_waveform(config.hop * (4 * config.encoder_reach + 1))
    moments, reach = vae.encode(waveform).moments, config.encoder_reach
    assert (vae.encode_tiled(waveform, 2 * reach).moments - moments).abs().max() < 1e-13
    assert (vae.encode_tiled(waveform, 2 * reach, reach - 1).moments - moments).abs().max() > 1e-9


@settings(max_examples=15, deadline=None)
@given(config=st.sampled_from([TINY, ODD]), frames=st.integers(1, 40), tile=st.integers(3, 50))
def test_tiles_join_into_the_untiled_waveform(config, frames, tile):
    vae, latents = VAES[config], random_latents(config, frames)
    tiles = list(vae.decode_tiles(latents, tile))
    assert [piece.shape[-1] for piece in tiles[:-1]] == [tile * config.hop] * (len(tiles) - 1)
    torch.testing.assert_close(torch.cat(tiles, -1), vae.decode(latents), rtol=0, atol=1e-13)


@settings(max_examples=15, deadline=None)
@given(config=st.sampled_from([TINY, ODD]), samples=st.integers(1, 20_000), tile=st.integers(2, 30))
def test_tiled_encoding_equals_untiled_encoding(config, samples, tile):
    waveform = random_waveform(samples)
    whole = VAES[config].encode(waveform).moments
    assert whole.shape[-1] == -(-samples // config.hop)
    torch.testing.assert_close(VAES[config].encode_tiled(waveform, tile).moments, whole, rtol=0, atol=1e-13)


def test_tiles_are_decoded_only_when_asked_for():
    tiles = VAES[ODD].decode_tiles(random_latents(ODD, 30_000), tile=4)
    assert next(tiles).shape == (1, 1, 4 * ODD.hop)


def test_empty_tile_is_refused():
    with pytest.raises(ValueError, match="at least 1 frame"):
        VAES[ODD].decode_tiled(random_latents(ODD, 4), tile=0)


@pytest.mark.parametrize(("dtype", "least"), [(torch.bfloat16, 22.0), (torch.float16, 40.0)])
def test_half_precision_stays_close_to_float32(goldens, dtype, least):
    for sidecar in sorted((goldens / "foley").glob("dac_*.json")):
        vae, tensors, _ = recorded(sidecar)
        latents = tensors["case1.in.latents"]
        reference = vae.decode(latents)
        waveform = vae.to(dtype).decode(latents)
        assert waveform.dtype == dtype
        ratio = scale_invariant_sdr(waveform.float(), reference)
        assert ratio.min() > least, f"{sidecar.name}: {ratio.flatten().tolist()} dB"


def test_half_precision_encoding_has_finite_moments():
    posterior = random_vae(ODD, torch.float16).encode(random_waveform(500))
    assert posterior.sample(torch.ones(1, 3, 17)).isfinite().all()


def test_snake_equals_its_formula():
    x, alpha = torch.linspace(-5, 5, 101, dtype=torch.float64), 0.37
    snake = Snake(1, dtype=torch.float64)
    snake.alpha.data.fill_(alpha)
    expected = x + torch.sin(alpha * x) ** 2 / (alpha + 1e-9)
    torch.testing.assert_close(snake(x[None, None])[0, 0], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("alpha", [0.0, 1e-8, -1e-6])
def test_snake_of_a_vanishing_frequency_is_nearly_the_identity(dtype, alpha):
    snake = Snake(1, dtype=dtype)
    snake.alpha.data.fill_(alpha)
    x = torch.linspace(-3, 3, 13, dtype=dtype)[None, None]
    torch.testing.assert_close(snake(x), x, rtol=0, atol=1e-2)


def test_gradients_are_those_of_finite_differences():
    config = AudioVAEConfig(
        encoder_dim=1, encoder_rates=(3,), latent_dim=1, decoder_dim=2, decoder_rates=(3,)
    )
    vae = random_vae(config).requires_grad_(True)
    parameters = dict(vae.named_parameters())

    class Reconstruction(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vae = vae

        def forward(self, waveform: Tensor) -> Tensor:
            return vae.decode(vae.encode(waveform).sample(torch.ones(1, 1, 2)))

    def reconstruct(waveform: Tensor, *values: Tensor) -> Tensor:
        state = {f"vae.{name}": value for name, value in zip(parameters, values, strict=True)}
        return torch.func.functional_call(Reconstruction(), state, waveform)

    waveform = random_waveform(5).requires_grad_()
    assert torch.autograd.gradcheck(reconstruct, (waveform, *parameters.values()), fast_mode=True)


def test_inputs_are_left_as_they_were():
    latents, waveform = random_latents(ODD, 5), random_waveform(ODD.hop * 3)
    before = latents.clone(), waveform.clone()
    VAES[ODD].decode(latents)
    VAES[ODD].encode(waveform)
    assert torch.equal(latents, before[0])
    assert torch.equal(waveform, before[1])


def test_posterior_samples_spread_around_the_mean():
    posterior = Posterior(torch.tensor([[[1.0, 1.0, 1.0]], [[0.0, 100.0, -100.0]]]).view(1, 2, 3))
    noise = torch.full((1, 1, 3), 2.0)
    expected = torch.tensor([[[3.0, 1 + 2 * torch.e**10, 1 + 2 * torch.e**-15]]])
    torch.testing.assert_close(posterior.sample(noise), expected)
    assert torch.equal(posterior.mode, torch.ones(1, 1, 3))


def test_decoder_alone_names_the_missing_encoder():
    vae = AudioVAE(ODD)
    with pytest.raises(ValueError, match="without its encoder"):
        vae.encode(torch.zeros(1, 1, 60))


def test_stereo_sound_is_refused_with_its_shape():
    with pytest.raises(ValueError, match=r"mono sound .* not \(1, 2, 60\)"):
        VAES[ODD].encode(torch.zeros(1, 2, 60))


@pytest.mark.parametrize("shape", [(1, 4, 9), (3, 9), (1, 3, 0)])
def test_latents_of_another_network_are_refused_with_their_shape(shape):
    with pytest.raises(ValueError, match="batch, 3, frames"):
        VAES[ODD].decode(torch.zeros(shape))


def test_convolutions_are_the_hosts():
    class HostConv1d(nn.Conv1d):
        pass

    class HostConvTranspose1d(nn.ConvTranspose1d):
        pass

    operations = SimpleNamespace(Conv1d=HostConv1d, ConvTranspose1d=HostConvTranspose1d)
    vae = AudioVAE(ODD, part="both", operations=operations)
    used = {type(m) for m in vae.modules() if isinstance(m, nn.Conv1d | nn.ConvTranspose1d)}
    assert used == {HostConv1d, HostConvTranspose1d}
