"""A film's sound from another one: as in one piece, kept where it has to be, and the same after a kill."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from marker_film import CHANNELS, HOP, marker_parts, mixing_velocity, run, still_frames
from pack.hunyuan.foley.time_mask import time_mask
from pack.hunyuan.long_form.given import GivenSound
from pack.hunyuan.long_form.job import Job
from pack.hunyuan.long_form.pipeline import LongFilm
from pack.hunyuan.long_form.plan import FilmPlan, Shot, WindowSettings, exact
from pack.hunyuan.sampling.denoise import denoise_from, draw_noise
from pack.hunyuan.sampling.schedule import flow_sigmas

RATE = 48_000


def encode(waveform: torch.Tensor) -> torch.Tensor:
    """(1, 1, samples) -> (1, CHANNELS, n): a few samples of each latent frame."""
    return waveform.reshape(1, -1, HOP)[..., :CHANNELS].transpose(1, 2)


@pytest.fixture
def sound(tmp_path) -> Path:
    path = tmp_path / "given.wav"
    rng = np.random.default_rng(4)
    soundfile.write(path, rng.uniform(-0.5, 0.5, 60 * RATE), RATE, subtype="FLOAT")
    return path


def latents_of(sound: Path, plan: FilmPlan, shot: int = 0) -> torch.Tensor:
    waveform = torch.from_numpy(soundfile.read(sound, dtype="float32")[0])[: plan.samples]
    begin, length = plan.sample_offsets[shot], plan.latent_lengths[shot]
    part = waveform[begin : begin + length * HOP]
    return encode(torch.nn.functional.pad(part, (0, length * HOP - len(part)))[None, None])


def given(sound: Path, **settings) -> GivenSound:
    return GivenSound(path=sound, encode=encode, reach=3, channels=CHANNELS, **settings)


def make(folder: Path, plan: FilmPlan, sigmas, velocity=mixing_velocity, **settings) -> LongFilm:
    return LongFilm(
        Job.open(folder, {}), plan, marker_parts(velocity), sigmas=sigmas, seed=5, checkpoint_seconds=0.0,
        **settings,
    )  # fmt: skip


def made_latents(film: LongFilm) -> torch.Tensor:
    array = np.fromfile(film.job.folder / "latents.f32", np.float32)
    return torch.from_numpy(array.reshape(film.latent_shape))


@pytest.mark.parametrize("regenerate", [None, (2.0, 4.5)])
def test_one_window_is_what_the_loop_for_clips_gives(tmp_path, sound, regenerate):
    plan, sigmas = FilmPlan.of_clip(exact(0), exact(9)), flow_sigmas(4, denoise=0.6)
    seen = {}

    def velocity(window, features):
        seen["velocity"] = mixing_velocity(window, features)
        return seen["velocity"]

    film = make(tmp_path / "job", plan, sigmas, velocity, given=given(sound, regenerate=regenerate), takes=2)
    run(film, still_frames(9))
    kept, noise = latents_of(sound, plan), draw_noise((2, CHANNELS, 450), 5)
    mask = None if regenerate is None else time_mask(450, *regenerate)
    *_, expected = denoise_from(seen["velocity"], kept.expand_as(noise), noise, sigmas, mask=mask)
    torch.testing.assert_close(made_latents(film), expected)


@pytest.mark.parametrize("join", ["latents", "waveform"])
def test_what_is_kept_is_kept_bit_for_bit_and_costs_no_network(tmp_path, sound, join):
    plan = FilmPlan.of_clip(exact(0), exact(44), WindowSettings(join=join))
    asked = []

    def velocity(window, features):
        asked.append(window.index)
        return mixing_velocity(window, features)

    settings = given(sound, regenerate=(19.0, 21.0), fade=0.5)
    film = make(tmp_path / "job", plan, flow_sigmas(3), velocity, given=settings)
    heard = run(film, still_frames(44))
    assert set(asked) == {2}
    assert [path.name for path in (tmp_path / "job" / "features").iterdir()] == ["00002.safetensors"]
    kept = latents_of(sound, plan)
    mask = time_mask(kept.shape[-1], 19.0, 21.0, 0.5)[0, 0]
    if join == "latents":
        torch.testing.assert_close(made_latents(film)[..., mask == 0], kept[..., mask == 0], rtol=0, atol=0)
        assert (made_latents(film) != kept)[..., mask == 1].all()
    elsewhere = make(tmp_path / "other", plan, flow_sigmas(3), given=given(sound, regenerate=(40.0, 41.0)))
    changed = np.flatnonzero((heard != run(elsewhere, still_frames(44))).any(axis=0)) / RATE
    assert changed.min() > 18.0
    assert not ((changed > 22.0) & (changed < 39.5)).any()
    assert changed.max() < 41.5


def test_no_steps_leave_the_given_sound_in_every_shot(tmp_path, sound):
    shots = [Shot(start=exact(0), end=exact("7.3")), Shot(start=exact("7.3"), end=exact(17))]
    plan = FilmPlan(shots)
    film = make(tmp_path / "job", plan, flow_sigmas(1, denoise=0), given=given(sound), takes=2)
    run(film, still_frames(17))
    whole = made_latents(film)
    for shot, begin in enumerate(plan.latent_offsets[:-1]):
        expected = latents_of(sound, plan, shot)
        assert torch.equal(whole[..., begin : begin + expected.shape[-1]], expected.expand(2, -1, -1))


@pytest.mark.parametrize("count", [0, 4, 11])
def test_cancelled_it_goes_on_to_the_same_sound(tmp_path, sound, count):
    plan = FilmPlan.of_clip(exact(0), exact(30))
    settings = given(sound, regenerate=(3.0, 25.0), fade=1.0)
    expected = run(make(tmp_path / "whole", plan, flow_sigmas(3), given=settings), still_frames(30))
    film = make(tmp_path / "job", plan, flow_sigmas(3), given=settings)
    stages = film.stages(still_frames(30))
    list(next(stages).work)
    work = next(stages).work
    for _ in range(count):
        next(work)
    work.close()
    if not count:
        assert film.job.holds("given_latents.f32") is False
    again = make(tmp_path / "job", plan, flow_sigmas(3), given=settings)
    np.testing.assert_array_equal(run(again, still_frames(30)), expected)
