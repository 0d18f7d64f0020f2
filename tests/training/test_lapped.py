"""The autoencoder's first weights, and the turning of its latents when it is trained."""

import pytest
import torch
from einops import rearrange
from pack.hunyuan.foley.audio_vae import AudioVAEConfig
from pack.training import outline
from pack.training.audio_vae import LEVEL, OutlineLearner, align_latents, make_room, new_vae
from pack.training.lapped import lapped_basis

CONFIG = AudioVAEConfig(encoder_dim=4, encoder_rates=(8, 4, 6, 5), decoder_dim=64, decoder_rates=(5, 6, 4, 8))


def hums(seed: int, rows: int = 6, latents: int = 20) -> torch.Tensor:
    """Low tones that come and go: (rows, samples)."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(latents * 960) / 48_000
    pitch, phase = (
        100 + 200 * torch.rand(rows, 1, generator=generator),
        torch.rand(rows, 1, generator=generator),
    )
    return (
        0.05 * torch.sin(2 * torch.pi * (pitch * time + phase)) * torch.sin(torch.pi * time / time[-1]) ** 2
    )


@pytest.fixture(scope="module")
def vae():
    return new_vae(0, hums(0), CONFIG).eval()


@pytest.mark.parametrize("bands", [4, 5, 8])
def test_the_lapped_basis_is_orthonormal_with_its_own_shifts(bands):
    basis = lapped_basis(bands)
    assert torch.allclose(basis @ basis.T, torch.eye(bands), atol=1e-5)
    assert (basis[:, bands:] @ basis[:, :bands].T).abs().max() < 1e-5


@torch.no_grad()
def test_the_first_weights_already_give_back_sounds_that_they_were_not_made_from(vae):
    sound = hums(1)
    made = vae.decode(vae.encode(sound[:, None]).mode)[:, 0]
    assert (made - sound).square().sum() < 0.1 * sound.square().sum()


@torch.no_grad()
def test_turned_latents_decode_to_the_same_sound_on_axes_that_do_not_depend_on_each_other():
    vae, sounds = new_vae(0, hums(0), CONFIG).eval(), hums(2)
    before = vae.decode(vae.encode(sounds[:, None]).mode)
    align_latents(vae, iter(sounds))

    latents = vae.encode(sounds[:, None]).mode
    assert (vae.decode(latents) - before).square().sum() < 0.01 * before.square().sum()
    values = rearrange(latents, "b c t -> (b t) c")
    deviations = values.std(0)
    kept = deviations > 1e-3
    assert values.mean(0).abs().max() < 1e-3
    assert deviations[kept].square().mean().sqrt() == pytest.approx(LEVEL, rel=0.05)
    together = torch.corrcoef(values[:, kept].T) - torch.eye(int(kept.sum()))
    assert together.abs().max() < 0.05
    assert not kept[int(kept.sum()) :].any()


@torch.no_grad()
def test_room_for_the_outline_is_made_where_it_is_missed_least():
    vae, sounds = new_vae(0, hums(0), CONFIG).eval(), hums(2)
    align_latents(vae, iter(sounds))
    before = vae.decode(vae.encode(sounds[:, None]).mode)
    make_room(vae, sounds)

    latents = vae.encode(sounds[:, None]).mode
    assert not latents[:, -outline.CHANNELS :].any()
    assert latents[:, : -outline.CHANNELS].any()
    made = vae.decode(latents)
    assert (made - before).square().sum() < 0.2 * before.square().sum()
    # What is written there later is at first not heard.
    latents[:, -outline.CHANNELS :] = 1.0
    torch.testing.assert_close(vae.decode(latents), made)


@torch.no_grad()
def test_what_the_transformer_learns_from_ends_in_the_outline():
    vae, sounds = new_vae(0, hums(0), CONFIG).eval(), hums(2)
    latents = OutlineLearner(vae).latents(sounds)
    assert latents.shape == vae.encode(sounds[:, None]).mean.shape
    torch.testing.assert_close(latents[:, -outline.CHANNELS :], outline.outline_latents(sounds))
    assert not torch.equal(latents[0, -1], latents[1, -1])
