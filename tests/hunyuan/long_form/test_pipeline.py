"""A film's sound: equal to what all windows in memory give, in time, and unharmed by being killed."""

import os
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from marker_film import (
    MarkerStream,
    click_velocity,
    mixing_velocity,
    plain_decode,
    run,
    still_frames,
)
from pack.hunyuan.long_form.plan import FilmPlan, Shot, WindowSettings, exact
from pack.hunyuan.long_form.watch import watch_windows
from pack.hunyuan.media.container import probe, read_clock
from pack.hunyuan.sampling.denoise import draw_noise
from pack.hunyuan.sampling.schedule import flow_sigmas
from pack.hunyuan.sampling.solvers import SOLVERS
from pack.hunyuan.sampling.windows import Blend


def step_by_step(plan: FilmPlan, frames_from, steps: int, solver: str = "euler") -> torch.Tensor:
    """What the film's latents are if every step is run over all windows, in memory."""
    watched = watch_windows(frames_from(plan.start), plan.windows, MarkerStream)
    features = {window.index: features for window, features in watched}
    windows = [planned.window for planned in plan.windows]
    blend = Blend(windows)
    sigmas = flow_sigmas(steps).tolist()
    x = draw_noise((1, 16, plan.latent_lengths[0]), 5)
    for sigma, target in pairwise(sigmas):
        x = blend.whole(
            [
                SOLVERS[solver](
                    mixing_velocity(planned, features[planned.index]),
                    x[..., planned.window.start : planned.window.stop], sigma, target,
                )
                for planned in plan.windows
            ]
        )  # fmt: skip
    return x


@pytest.mark.parametrize(("seconds", "solver"), [(12, "euler"), (31.5, "heun"), (58, "euler")])
def test_the_wavefront_gives_what_all_windows_step_by_step_give(film, seconds, solver):
    plan = FilmPlan.of_clip(exact(0), exact(float(seconds)))
    frames_from = still_frames(seconds)
    made = film(plan, steps=4, solver=SOLVERS[solver])
    sound = run(made, frames_from)
    expected = step_by_step(plan, frames_from, 4, solver)
    latents = np.fromfile(made.job.folder / "latents.f32", np.float32).reshape(expected.shape)
    np.testing.assert_array_equal(latents, expected.numpy())
    np.testing.assert_allclose(sound, plain_decode(expected)[:, 0, : plan.samples].numpy(), atol=1e-6)


class Sized:
    """A velocity of a window that says how large it is."""

    nbytes = 10

    def __init__(self, window, features):
        self.velocity = mixing_velocity(window, features)

    def __call__(self, latents, sigma):
        return self.velocity(latents, sigma)


@pytest.mark.parametrize(("room", "least", "most"), [(0, 4, 4), (10 * 2, 1, 4), (10 * 4, 1, 1)])
def test_velocities_stay_until_the_next_step_of_their_window_while_there_is_room(film, room, least, most):
    plan = FilmPlan.of_clip(exact(0), exact(33))
    plain = run(film(plan, steps=4, name="plain"), still_frames(33))
    asked_for = []

    def velocity(window, features):
        asked_for.append(window.index)
        return Sized(window, features)

    made = film(plan, velocity, steps=4)
    made.parts = replace(made.parts, kept_bytes=room)
    np.testing.assert_array_equal(run(made, still_frames(33)), plain)
    times = [asked_for.count(window.index) for window in plan.windows]
    assert (min(times), max(times)) == (least, most)


def test_takes_are_rows_of_one_draw_and_do_not_change_each_other(film):
    plan = FilmPlan.of_clip(exact(0), exact(25))
    three = run(film(plan, takes=3), still_frames(25))
    one = run(film(plan, name="one"), still_frames(25))
    assert len(three) == 3
    np.testing.assert_allclose(three[:1], one, atol=1e-6)
    assert np.abs(three[1] - three[0]).max() > 0.01


def test_a_film_of_one_window_is_a_clip(film):
    plan = FilmPlan.of_clip(exact(0), exact(9))
    sound = run(film(plan), still_frames(9))
    (window,) = plan.windows
    features = next(iter(watch_windows(still_frames(9)(0), plan.windows, MarkerStream)))[1]
    x = draw_noise((1, 16, 450), 5)
    for sigma, target in pairwise(flow_sigmas(3).tolist()):
        x = SOLVERS["euler"](mixing_velocity(window, features), x, sigma, target)
    np.testing.assert_allclose(sound, plain_decode(x)[:, 0].numpy(), atol=1e-6)


def test_joining_waveforms_makes_every_window_on_its_own(film):
    plan = FilmPlan.of_clip(exact(0), exact(30), WindowSettings(join="waveform"))
    made = film(plan, checkpoint_seconds=0.0)
    sound = run(made, still_frames(30))[0]
    noise = draw_noise((1, 16, 1500), 5)
    watched = list(watch_windows(still_frames(30)(0), plan.windows, MarkerStream))
    for planned, features in watched:
        window = planned.window
        x = noise[..., window.start : window.stop]
        for sigma, target in pairwise(flow_sigmas(3).tolist()):
            x = SOLVERS["euler"](mixing_velocity(planned, features), x, sigma, target)
        alone = plain_decode(x)[0, 0].numpy()
        # Between the overlaps with its neighbours a window is heard alone.
        first = window.first + (96 if planned.index else 0)
        last = window.stop - (0 if planned.end == planned.shot_end else 96)
        np.testing.assert_allclose(
            sound[first * 960 : last * 960],
            alone[(first - window.start) * 960 : (last - window.start) * 960],
            atol=1e-6,
        )


@pytest.mark.parametrize("join", ["latents", "waveform"])
def test_shots_are_clips_of_their_own_and_fade_into_each_other_within_20_ms(film, join):
    cut, end = exact("13.21"), exact(26)
    settings = WindowSettings(join=join)
    plan = FilmPlan([Shot(start=exact(0), end=cut), Shot(start=cut, end=end)], settings)

    def constant(window, features):
        level = (0.25, -0.5)[window.shot]
        return lambda latents, sigma: (latents - level) / max(sigma, 1e-3)

    sound = run(film(plan, constant), still_frames(26))[0]
    assert len(sound) == 26 * 48_000
    at = round(13.21 * 48_000)
    # `plain_decode` makes an impulse at the beginning of every latent frame of a shot.
    np.testing.assert_allclose(sound[:at:960], 0.25, atol=1e-4)
    np.testing.assert_allclose(sound[at + 960 :: 960], -0.5, atol=1e-4)
    faded = np.abs(sound[at : at + 960]) > 0.1
    assert faded.any()
    assert not (np.abs(sound[at + 960 :]).reshape(-1)[500::960] > 0.1).any()


def flashing(path_clip, times: list[float], flashes: set[int], name: str):
    """A film that is white at the frames `flashes` and dark otherwise."""

    def picture(i: int, width: int, height: int) -> np.ndarray:
        return np.full((height, width, 3), 250 if i in flashes else 16, np.uint8)

    return path_clip(name, times=times, size=(32, 32), picture=picture)


def click_errors(sound: np.ndarray, expected: list[float]) -> np.ndarray:
    """Seconds from each flash to its click. There are as many clicks as flashes."""
    clicks = np.flatnonzero(sound > 0.5) / 48_000
    assert len(clicks) == len(expected)
    return np.abs(clicks - expected)


@pytest.mark.parametrize(("name", "join"), [("a.mp4", "latents"), ("a.mkv", "waveform")])
def test_clicks_lie_on_the_flashes_of_a_film_with_irregular_frames(film, clip, name, join):
    random = np.random.default_rng(3)
    times = (0.4 + np.concatenate([[0], np.cumsum(random.uniform(0.04, 0.08, 600))])).round(4).tolist()
    flashes = set(range(11, 590, 23))
    check_flash_film(film, flashing(clip, times, flashes, name), [times[i] for i in sorted(flashes)], join)


@pytest.mark.skipif(
    "HUNYUAN_AV_SLOW" not in os.environ,
    reason="60 minutes of film take about 3 minutes; HUNYUAN_AV_SLOW=1 runs it",
)
def test_clicks_lie_on_the_flashes_of_an_hour_of_film(film, clip):
    times = [i / 24 for i in range(3600 * 24)]
    flashes = set(range(31, len(times) - 24, 47))
    path = flashing(clip, times, flashes, "hour.mp4")
    check_flash_film(film, path, [times[i] for i in sorted(flashes)], "latents")


def check_flash_film(film, path, expected: list[float], join: str) -> None:
    end = exact(probe(path).end_time)
    plan = FilmPlan.of_clip(exact(0), end, WindowSettings(join=join))
    sound = run(film(plan, click_velocity, steps=2), lambda start: read_clock(path, float(start)))[0]
    errors = click_errors(sound, expected)
    print(f"{len(errors)} clicks in {float(end):.0f} s, at most {1000 * errors.max():.1f} ms off")
    assert errors.max() <= 0.02
