import pytest
from hypothesis import given
from hypothesis import strategies as st
from pack.hunyuan.avatar.schedule import STEP_CACHES, make_schedule, published_schedule, scaled_schedule

PUBLISHED_FULL = {*range(16), 20, 25, 30, 35, 40, *range(41, 50)}


@pytest.mark.parametrize("steps", [10, 25, 50, 60])
def test_the_released_schedule_computes_the_released_steps(steps):
    full = {i for i, step in enumerate(published_schedule(steps, cfg=7.5)) if not step.cached}
    assert full == {i for i in PUBLISHED_FULL if i < steps}


def test_the_released_guidance():
    schedule = published_schedule(20, cfg=7.5)
    assert [round(step.guidance, 6) for step in schedule[:3]] == [7.5, 7.225, 6.95]
    assert [round(step.guidance, 6) for step in schedule[9:12]] == [5.025, 5.0, 4.85]
    assert [step.negative for step in schedule] == [True] * 10 + [False] * 10
    assert [step.voice_strength for step in schedule] == [0.6] * 10 + [1.0] * 10


def test_the_scaled_schedule_at_fifty_steps_is_the_released_one():
    assert scaled_schedule(50, cfg=6.0) == published_schedule(50, cfg=6.0)


@given(st.integers(1, 200))
def test_a_scaled_schedule_begins_and_ends_with_full_steps(steps):
    schedule = scaled_schedule(steps, cfg=7.5)
    assert len(schedule) == steps
    assert not schedule[0].cached
    assert not schedule[-1].cached
    assert abs(sum(step.negative for step in schedule) - steps / 5) < 1
    assert not any(step.cached for step in scaled_schedule(steps, cfg=7.5, cache=False))


@pytest.mark.parametrize("steps", [10, 25, 30, 50])
def test_a_scaled_cache_leaves_no_old_features_at_the_end(steps):
    """The last fifth of the steps is computed in full, as the released schedule does at 50."""
    cached = {i for i, step in enumerate(scaled_schedule(steps, cfg=7.5)) if step.cached}
    assert cached
    assert max(cached) < steps * 41 / 50
    assert not any(step.cached for step in published_schedule(steps, cfg=7.5)[:16])


@pytest.mark.parametrize(("steps", "stale"), [(10, []), (25, [21, 22, 23, 24]), (30, [26, 27, 28, 29])])
def test_the_released_cache_ends_on_old_features_where_it_was_not_made_for(steps, stale):
    schedule = published_schedule(steps, cfg=7.5)
    assert [i for i in range(steps - 4, steps) if schedule[i].cached] == stale


@pytest.mark.parametrize("schedule", ["scaled", "published"])
def test_guidance_and_cache_are_chosen_apart(schedule):
    plans = {
        cache: make_schedule(20, cfg=7.5, schedule=schedule, step_cache=cache, mask_strength=0.5)
        for cache in STEP_CACHES
    }
    guided = [[(s.guidance, s.negative, s.voice_strength) for s in plan] for plan in plans.values()]
    assert all(each == guided[0] for each in guided)
    assert guided[0][0][2] == pytest.approx(0.3)
    assert sum(step.negative for step in plans["off"]) == (4 if schedule == "scaled" else 10)
    counts = {cache: sum(step.cached for step in plan) for cache, plan in plans.items()}
    assert counts == {"scaled": 9, "published": 4, "error-driven": 0, "off": 0}
