import math

import pytest
import torch
from pack.hunyuan.sampling.denoise import denoise
from pack.hunyuan.sampling.schedule import flow_sigmas
from pack.hunyuan.sampling.solvers import SOLVERS

EVALUATIONS = {"euler": 1, "heun": 2, "midpoint": 2, "rk4": 4}
ORDERS = {"euler": 1, "heun": 2, "midpoint": 2, "rk4": 4}


def swirl(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """A field with a known flow: x(sigma) = x(1) exp(sin(2 sigma) - sin(2))."""
    return x * 2 * math.cos(2 * sigma)


def final_error(solver: str, steps: int) -> float:
    x = torch.ones(1, 1, 1, dtype=torch.float64)
    *_, end = denoise(swirl, x, flow_sigmas(steps).double(), SOLVERS[solver])
    return abs(float(end) - math.exp(-math.sin(2)))


@pytest.mark.parametrize("solver", SOLVERS)
def test_halving_the_step_divides_the_error_by_two_to_the_order(solver):
    coarse, fine = final_error(solver, 20), final_error(solver, 40)
    assert math.log2(coarse / fine) == pytest.approx(ORDERS[solver], abs=0.25)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_solver_asks_for_as_many_evaluations_as_it_says(solver):
    calls = []

    def velocity(x, sigma):
        calls.append(sigma)
        return -x

    list(denoise(velocity, torch.ones(1, 1, 1), flow_sigmas(7), SOLVERS[solver]))
    assert len(calls) == 7 * EVALUATIONS[solver]
    assert all(0 <= sigma <= 1 for sigma in calls)


def test_the_loop_yields_after_every_step():
    states = list(denoise(lambda x, _s: -x, torch.ones(1, 2, 3), flow_sigmas(5)))
    assert len(states) == 5
    torch.testing.assert_close(states[-1], torch.full((1, 2, 3), 1.2**5))
