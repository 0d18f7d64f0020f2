from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.hunyuan.long_form.plan import WindowSettings, exact
from pack.hunyuan.sampling.windows import Blend, JointVelocity, Window, WindowGrid, plan_windows, wavefront

SECOND = 50  # latent frames
STRIDE, LONGEST, TAIL, SEGMENT = 400, 500, 100, 16
TWO_HOURS = 2 * 3600 * SECOND

lengths = st.one_of(st.integers(1, 3000), st.integers(1, TWO_HOURS))
overlaps = st.integers(0, TAIL)


def grid(overlap: int = 96) -> WindowGrid:
    return WindowSettings(overlap=exact(overlap / SECOND)).grid


def grid_of_segments(overlap: int = 96) -> WindowGrid:
    return replace(grid(overlap), shortest=250, step=SEGMENT)


@settings(max_examples=60, deadline=None)
@given(length=lengths, overlap=overlaps, kind=st.sampled_from([grid, grid_of_segments]))
def test_windows_cover_every_latent_on_the_grid_and_are_not_too_short_nor_too_long(length, overlap, kind):
    windows = plan_windows(length, kind(overlap))
    assert [window.first for window in windows] == [k * STRIDE for k in range(len(windows))]
    assert windows[-1].stop == length
    for window, following in pairwise(windows):
        assert window.start == window.first
        assert window.stop == following.first + overlap
    if len(windows) > 1:
        assert all(kind().shortest <= window.length <= LONGEST for window in windows)
    assert windows[0].start == 0
    assert windows[-1].start == windows[-1].first or windows[-1].start % kind().step == 0
    assert windows[-1].start == windows[-1].first or windows[-1].length < kind().shortest + kind().step
    assert all(later.start >= earlier.stop for earlier, later in zip(windows, windows[2:], strict=False))


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 20_000), overlap=overlaps)
def test_weights_sum_to_exactly_one_and_never_jump(length, overlap):
    blend = Blend(plan_windows(length, grid(overlap)))
    ones = blend.whole([torch.ones(1, 1, window.length) for window in blend.windows])
    assert torch.equal(ones, torch.ones(1, 1, length))
    for window, weights in zip(blend.windows, blend.weights, strict=True):
        assert ((weights >= 0) & (weights <= 1)).all()
        heard = weights[window.first - window.start :]
        if overlap:
            assert (heard.diff().abs() <= 1.6 / overlap).all()


@pytest.mark.parametrize("seconds", [10, 10.5, 11.98, 12.98, 15.02, 16, 3600.5])
def test_what_is_over_a_whole_film_is_the_same_over_its_windows(seconds):
    blend = Blend(plan_windows(round(seconds * SECOND), grid()))
    generator = torch.Generator().manual_seed(1)
    parts = [torch.randn(2, 3, window.length, generator=generator) for window in blend.windows]
    whole = blend.whole(parts)
    for index, window in enumerate(blend.windows):
        assert torch.equal(blend.over(index, parts.__getitem__), whole[..., window.start : window.stop])


@given(count=st.integers(1, 40), steps=st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_the_wavefront_runs_every_step_once_after_what_it_needs_and_needs_nothing_old(count, steps):
    latest: dict[int, int] = {}
    for window, step in wavefront(count, steps):
        for needed in (window - 1, window, window + 1):
            if 0 <= needed < count and step > 0:
                assert step - 1 <= latest.get(needed, -1) <= step
        assert latest.get(window, -1) == step - 1
        latest[window] = step
        in_work = [w for w, s in latest.items() if s < steps - 1]
        assert not in_work or max(latest) - min(in_work) < steps
    assert latest == dict.fromkeys(range(count), steps - 1)


def test_a_joint_velocity_is_a_single_models_if_windows_do_not_matter():
    windows = plan_windows(1300, grid())
    joint = JointVelocity(windows, [lambda x, sigma: x * sigma] * len(windows))
    latents = torch.randn(1, 4, 1300, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(joint(latents, 0.5), latents * 0.5)


def test_a_short_end_is_heard_from_its_place_on_the_grid_and_seen_from_before():
    assert plan_windows(14 * SECOND + TAIL, grid())[-1] == Window(400, 800, 400)
    assert plan_windows(11 * SECOND + TAIL, grid())[-1] == Window(250, 650, 400)
    assert plan_windows(8 * SECOND + TAIL, grid())[-1] == Window(100, 500, 400)
    assert plan_windows(8 * SECOND + TAIL, grid_of_segments())[-1] == Window(240, 500, 400)
    assert plan_windows(8 * SECOND + TAIL - 1, grid()) == [Window(0, 499, 0)]


def test_a_grid_that_would_not_cover_is_refused():
    with pytest.raises(ValueError, match="overlap of 120"):
        replace(grid_of_segments(), overlap=120)
    with pytest.raises(ValueError, match="shortest window, 405"):
        replace(grid(), shortest=405)
    with pytest.raises(ValueError, match="0 latent frames"):
        plan_windows(0, grid())
