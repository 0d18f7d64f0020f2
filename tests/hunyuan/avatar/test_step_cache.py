from itertools import pairwise

import pytest
import torch
from pack.hunyuan.avatar.ring import windows
from pack.hunyuan.avatar.settings import AvatarSettings
from pack.hunyuan.avatar.step_cache import LONGEST, ErrorDrivenCache, relative_error
from pack.hunyuan.avatar.velocity import AvatarClip, RingVelocity, denoise_ring
from pack.hunyuan.sampling.schedule import flow_sigmas

STEPS = 20
RING = 33


@pytest.fixture(scope="module")
def clip(inputs):
    return AvatarClip(
        positive=inputs.prompt(1),
        negative=inputs.prompt(2),
        scene=inputs.scene(),
        characters=(inputs.character(frames=30),),
    )


def run(cache, error_of):
    """Which steps are full, where a cached step would be off by `error_of(kept level, level)`."""
    sigmas = flow_sigmas(STEPS, shift=5.0).tolist()
    kept = None
    for step, sigma in enumerate(sigmas[:-1]):
        if not cache.begin(step, sigma):
            cache.measured(sigma, [] if kept is None else [error_of(kept, sigma)])
            kept = sigma
    return cache.full_steps


def test_nothing_is_cached_where_nothing_may_be_off():
    assert run(ErrorDrivenCache(STEPS, tolerance=0.0), lambda kept, sigma: kept - sigma) == list(range(STEPS))


def test_features_that_do_not_age_do_for_as_long_as_in_the_released_schedule():
    full = run(ErrorDrivenCache(STEPS), lambda kept, sigma: 0.0)
    assert full == [0, 1, 6, 11, 16, 19]
    assert full[-1] == STEPS - 1
    assert max(b - a for a, b in pairwise(full)) == LONGEST + 1


@pytest.mark.parametrize("rate", [0.1, 0.5, 2.0])
def test_no_cached_step_is_off_by_more_than_the_tolerance(rate):
    cache = ErrorDrivenCache(STEPS, tolerance=0.05)
    full = run(cache, lambda kept, sigma: rate * (kept - sigma))
    sigmas = flow_sigmas(STEPS, shift=5.0).tolist()
    for step in range(STEPS):
        kept = max(i for i in full if i <= step)
        assert rate * (sigmas[kept] - sigmas[step]) <= 0.05


def test_features_that_age_faster_do_for_fewer_steps():
    counts = [
        len(run(ErrorDrivenCache(STEPS), lambda kept, sigma, rate=rate: rate * (kept - sigma)))
        for rate in (0.1, 1.0, 100.0)
    ]
    assert counts == sorted(counts)
    assert counts[-1] == STEPS


def test_stages_of_a_step_are_of_one_mind():
    cache = ErrorDrivenCache(STEPS)
    for step, sigma in ((0, 1.0), (1, 0.98)):
        assert not cache.begin(step, sigma)
        cache.measured(sigma, [0.0])
        assert not cache.begin(step, sigma - 0.01)
        cache.measured(sigma - 0.01, [9.0])  # a later stage: not counted
    assert cache.begin(2, 0.95)


def test_relative_error():
    exact = torch.tensor([3.0, 4.0])
    assert relative_error(exact * 1.1, exact) == pytest.approx(0.1)


def sampled(transformer, clip, inputs, **settings):
    settings = AvatarSettings(**settings)
    velocity = RingVelocity.of(transformer, clip, settings, STEPS, RING)
    *_, last = denoise_ring(velocity, inputs.latents(frames=RING), flow_sigmas(STEPS, shift=5.0))
    return last, velocity


def test_a_smaller_tolerance_computes_more_and_ends_nearer(transformer, clip, inputs):
    exact, _ = sampled(transformer, clip, inputs, step_cache="off")
    full, errors = [], []
    for tolerance in (0.0, 0.04, 0.1):
        made, velocity = sampled(transformer, clip, inputs, step_cache="error-driven", tolerance=tolerance)
        full.append(len(velocity.step_cache.full_steps))
        errors.append(float((made - exact).norm() / exact.norm()))
    assert full[0] == STEPS
    assert errors[0] < 1e-6
    assert full[0] > full[1] > full[2]
    assert errors[0] < errors[1] < errors[2] < 0.1


def test_the_steps_around_a_change_of_guidance_are_full(transformer, clip, inputs):
    _, velocity = sampled(transformer, clip, inputs, step_cache="error-driven", tolerance=10.0)
    late = STEPS // 5
    assert velocity.schedule[late - 1].negative
    assert not velocity.schedule[late].negative
    assert {0, 1, late, late + 1, STEPS - 1} <= set(velocity.step_cache.full_steps)


@pytest.mark.parametrize("overlap", [0, 5, 20])
def test_windows_that_overlap_cover_the_ring(overlap):
    for ring in (34, 65, 100):
        for step in range(7):
            plan = windows(ring, step, shift=7, overlap=overlap)
            visits = torch.cat([window.latents for window in plan]).bincount(minlength=ring)
            assert visits.min() >= 1
            assert len(plan) == -(-ring // (33 - overlap))


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="no schedule 'mine'"):
        AvatarSettings(schedule="mine")
    with pytest.raises(ValueError, match="cannot move by 10 and overlap by 33"):
        AvatarSettings(overlap=33)
