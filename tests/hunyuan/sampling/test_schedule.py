import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pack.hunyuan.sampling.schedule import flow_sigmas


@given(st.integers(1, 200), st.floats(0.1, 20), st.floats(0.01, 1))
def test_levels_fall_from_noise_to_data(steps, shift, denoise):
    sigmas = flow_sigmas(steps, shift=shift, denoise=denoise)
    assert sigmas.shape == (steps + 1,)
    assert sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()
    assert sigmas[0] <= 1 + 1e-6


def test_fifty_steps_are_the_exact_line():
    assert torch.equal(flow_sigmas(50), torch.linspace(1, 0, 51))


def test_half_the_noise_starts_half_way():
    assert flow_sigmas(10, denoise=0.5)[0] == pytest.approx(0.5)


def test_no_noise_leaves_no_step():
    assert flow_sigmas(10, denoise=0).tolist() == [0]


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": 5, "shift": 0}, {"steps": 5, "denoise": 1.5}])
def test_impossible_schedules_are_refused(wrong):
    with pytest.raises(ValueError, match="No schedule with"):
        flow_sigmas(**wrong)
