"""Masks in time over latents at 50 a second."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pack.hunyuan.foley.time_mask import time_mask


@given(st.integers(1, 750), st.floats(0, 15), st.floats(0.02, 15), st.floats(0, 2))
def test_a_mask_is_one_inside_falls_outside_and_is_zero_beyond_the_fade(frames, start, length, fade):
    end = start + length
    try:
        mask = time_mask(frames, start, end, fade)
    except ValueError:
        assert start * 50 > frames - 0.6
        return
    assert mask.shape == (1, 1, frames)
    assert mask.dtype == torch.float32
    for i, value in enumerate(mask.flatten().tolist()):
        middle = (i + 0.5) / 50
        outside = max(start - middle, middle - end, 0)
        if start <= middle < end:
            assert value == 1
        elif outside >= fade:
            assert value == 0
        else:
            assert value == pytest.approx(1 - outside / fade, abs=1e-6)


def test_half_a_second_is_25_latents():
    assert time_mask(100, 0.5, 1.0).flatten().nonzero().flatten().tolist() == list(range(25, 50))


@pytest.mark.parametrize(("start", "end"), [(1.0, 1.0), (1.0, 0.5), (2.0, 3.0)])
def test_a_part_without_latents_is_refused_with_the_sounds_length(start, end):
    with pytest.raises(ValueError, match=rf"{start:g} to {end:g} s in a sound of 2 s"):
        time_mask(100, start, end)
