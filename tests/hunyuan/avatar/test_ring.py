import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pack.hunyuan.avatar.ring import windows

rings = st.integers(33, 300)
steps = st.integers(0, 200)


@given(rings, steps, st.integers(0, 33))
def test_windows_cover_every_latent_once_or_twice(ring, step, shift):
    plan = windows(ring, step, shift)
    visits = torch.cat([window.latents for window in plan]).bincount(minlength=ring)
    assert len(plan) == -(-ring // 33)
    assert len(visits) == ring
    assert set(visits.tolist()) <= {1, 2}
    assert int((visits == 2).sum()) == 33 * len(plan) - ring


@given(rings, steps)
def test_a_window_hears_the_frames_of_its_latents(ring, step):
    for window in windows(ring, step):
        assert len(window.audio_frames) == 129
        assert torch.equal(window.audio_frames[::4] // 4, window.latents)


@given(st.integers(34, 300), steps)
def test_windows_move_by_ten_latents_a_step(ring, step):
    before, after = (windows(ring, s)[0].start for s in (step, step + 1))
    assert (before - after) % ring in (10, (10 - 33) % ring)


def test_one_window_never_moves():
    assert [window.start for step in range(9) for window in windows(33, step)] == [0] * 9


def test_a_ring_shorter_than_a_window_is_refused():
    with pytest.raises(ValueError, match="A ring of 32 latents is shorter than a window of 33"):
        windows(32, 0)
