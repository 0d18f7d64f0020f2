"""The decoder's last lessons: latents as they are made, paired with what they should have sounded like."""

import pytest
import torch
from pack.hunyuan.foley.audio_vae import AudioVAE, AudioVAEConfig
from pack.hunyuan.foley.timing import SAMPLES_PER_LATENT
from pack.training import decoder, outline
from pack.training.decoder import AROUND, LATENTS, SHIFTS, Generated, blurred, ends_distance, nearest_sound
from pack.training.initial import initialise
from safetensors.torch import save_file

DETAILS, LENGTH = 7, 60  # channels, latents
SAMPLES = LENGTH * SAMPLES_PER_LATENT
LATE = 384  # samples
VAE = AudioVAEConfig(encoder_dim=2, encoder_rates=(8, 4, 6, 5), decoder_dim=32, decoder_rates=(5, 6, 4, 8))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def knocks(samples, every=9600, seed=0):
    """Bursts of noise that die away, and the same each time."""
    sound = torch.zeros(samples)
    burst = torch.randn(4800, generator=seeded(seed)) * torch.exp(-torch.arange(4800) / 600)
    for start in range(2000 + 700 * seed, samples - len(burst), every):
        sound[start : start + len(burst)] += 0.3 * burst
    return sound


def latents_of(sound):
    """(c, l): random details beside the outline."""
    shown = outline.outline_latents(sound[None])[0]
    return torch.cat([torch.randn(DETAILS, shown.shape[1], generator=seeded(5)), shown])


@pytest.fixture
def folder(tmp_path):
    """Two clips whose latents came late as they were made."""
    sounds = [knocks(SAMPLES, seed=seed) for seed in (0, 1)]
    late = [torch.roll(sound, LATE) for sound in sounds]
    tensors = {
        "waveform": torch.stack(sounds),
        "latents": torch.stack([latents_of(sound) for sound in sounds]),
        "made": torch.stack([latents_of(sound) for sound in late]),
    }
    save_file({name: tensor.half() for name, tensor in tensors.items()}, tmp_path / "train-0.safetensors")
    return tmp_path


def test_made_latents_go_with_the_sound_where_it_is_like_them():
    sound = knocks(LATENTS * SAMPLES_PER_LATENT + 2 * SHIFTS[-1])
    for shift in (-768, 0, 384):
        moved = sound[SHIFTS[-1] + shift :][: LATENTS * SAMPLES_PER_LATENT]
        assert torch.equal(nearest_sound(latents_of(moved), sound), moved)


def test_what_was_made_otherwise_is_no_example():
    sound = knocks(LATENTS * SAMPLES_PER_LATENT + 2 * SHIFTS[-1])
    other = knocks(LATENTS * SAMPLES_PER_LATENT, every=5000, seed=3)
    assert nearest_sound(latents_of(other), sound) is None


def test_a_batch_has_latents_with_their_surroundings_and_the_sound_between(folder, monkeypatch):
    monkeypatch.setattr(decoder, "ROWS", 40)
    monkeypatch.setattr(decoder, "ALONE", 0.0)
    batch = Generated(folder).draw(seeded())
    assert batch["latents"].shape == (40, DETAILS + outline.CHANNELS, LATENTS + 2 * AROUND)
    assert batch["sound"].shape == (40, LATENTS * SAMPLES_PER_LATENT)
    # Whatever the latents are, their outline is that of the sound beside them: made ones were found again.
    inner = slice(2, -1)
    shown = batch["latents"][:, DETAILS:, AROUND:-AROUND][..., inner]
    apart = (outline.outline_latents(batch["sound"])[..., inner] - shown).square().mean((1, 2))
    assert apart.max() < 0.01 * outline.LEVEL**2
    assert 0.2 < batch["exact"].float().mean() < 0.6

    monkeypatch.setattr(decoder, "ALONE", 1.0)  # the same without what is around
    alone = Generated(folder).draw(seeded())
    assert torch.equal(alone["latents"], batch["latents"][..., AROUND:-AROUND])
    assert torch.equal(alone["sound"], batch["sound"])


def test_windows_that_are_exact_are_as_they_were_kept(folder, monkeypatch):
    monkeypatch.setattr(decoder, "MADE", 0.0)
    monkeypatch.setattr(decoder, "BLURRED", 0.0)
    kept = latents_of(knocks(SAMPLES)).half().float(), latents_of(knocks(SAMPLES, seed=1)).half().float()
    batch = Generated(folder).draw(seeded())
    assert batch["exact"].all()
    for row in batch["latents"]:
        places = [(c, i) for c in (0, 1) for i in range(LENGTH - row.shape[1] + 1)]
        assert any(torch.equal(kept[c][:, i : i + row.shape[1]], row) for c, i in places)


def test_windows_that_were_made_are_as_they_were_kept_beside_the_sound_that_they_are_like(
    folder, monkeypatch
):
    for share, value in (("MADE", 1.0), ("BLURRED", 0.0), ("ALONE", 0.0)):
        monkeypatch.setattr(decoder, share, value)
    sounds = [knocks(SAMPLES, seed=seed) for seed in (0, 1)]
    made = [latents_of(torch.roll(sound, LATE)).half().float() for sound in sounds]
    batch = Generated(folder).draw(seeded())
    assert not batch["exact"].any()
    for row, heard in zip(batch["latents"], batch["sound"], strict=True):
        places = [(c, i) for c in (0, 1) for i in range(LENGTH - row.shape[1] + 1)]
        (found,) = [(c, i) for c, i in places if torch.equal(made[c][:, i : i + row.shape[1]], row)]
        clip, first = found[0], (found[1] + AROUND) * SAMPLES_PER_LATENT - LATE
        assert torch.equal(heard, sounds[clip].half().float()[first:][: len(heard)])


def test_blurring_softens_spreads_and_disturbs_details_and_leaves_the_outline():
    latents = torch.zeros(DETAILS + outline.CHANNELS, 30)
    latents[:DETAILS, 15] = 1.0
    latents[DETAILS:] = torch.randn(outline.CHANNELS, 30, generator=seeded())
    levels = set()
    for seed in range(5):
        made = blurred(latents, seeded(seed))
        assert torch.equal(made[DETAILS:], latents[DETAILS:])
        level = made[:DETAILS].square().mean(0).sqrt()
        assert level[[14, 15, 16]].min() > 0
        assert level[[13, 17]].max() > 0  # noise, around what has been spread
        assert level[:13].max() == level[18:].max() == 0
        levels.add(round(float(level[15]), 3))
    assert len(levels) == 5


@torch.no_grad()
def test_what_is_compared_is_the_sound_of_the_window_without_its_surroundings(monkeypatch):
    monkeypatch.setattr(decoder, "ROUGHNESS", 0.0)
    vae = initialise(AudioVAE(VAE, part="both"), 0)
    latents = torch.randn(2, 128, LATENTS + 2 * AROUND, generator=seeded())
    exact = torch.ones(2, dtype=torch.bool)
    around = AROUND * SAMPLES_PER_LATENT
    sound = vae.decode(latents)[:, 0]
    for batch_sound, has_ends in ((sound[:, around:-around], False), (sound, True)):
        batch = {"latents": latents, "sound": batch_sound, "exact": exact}
        losses = decoder.objective(vae, batch, seeded())
        assert all(float(loss) < 1e-4 for loss in losses.values()), losses
        assert ("ends" in losses) == has_ends


def test_a_faint_click_at_an_end_is_far_and_anywhere_else_it_is_not():
    quiet = 1e-4 * torch.randn(2, 4800, generator=seeded())
    for place, is_far in ((0, True), (-1, True), (2400, False)):
        clicked = quiet.clone()
        clicked[:, place] = 3e-3  # -50 dBFS
        assert (ends_distance(clicked, quiet) > 0.5) == is_far
    assert ends_distance(quiet, quiet) == 0


def test_without_generated_latents_the_error_says_how_to_make_some(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"training\.generated"):
        Generated(tmp_path)
