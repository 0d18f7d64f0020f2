"""One step of an ODE solver along the flow, from one noise level to the next.

A solver takes `velocity(x, sigma)`, which is d x / d sigma, the state x, and both levels. All integrate for
real: the published multi-stage solvers stop half way, so only Euler has an original to equal.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import Tensor

Velocity = Callable[[Tensor, float], Tensor]
Solver = Callable[[Velocity, Tensor, float, float], Tensor]


def euler(velocity: Velocity, x: Tensor, sigma: float, target: float) -> Tensor:
    """First order, one evaluation."""
    return x + velocity(x, sigma) * (target - sigma)


def heun(velocity: Velocity, x: Tensor, sigma: float, target: float) -> Tensor:
    """Second order: the mean of the slopes at both ends."""
    dt = target - sigma
    start = velocity(x, sigma)
    end = velocity(x + start * dt, target)
    return x + (start + end) * (dt / 2)


def midpoint(velocity: Velocity, x: Tensor, sigma: float, target: float) -> Tensor:
    """Second order: the slope half way."""
    dt = target - sigma
    middle = x + velocity(x, sigma) * (dt / 2)
    return x + velocity(middle, sigma + dt / 2) * dt


def rk4(velocity: Velocity, x: Tensor, sigma: float, target: float) -> Tensor:
    """Fourth order: the classical Runge-Kutta method, every stage built from the step's start."""
    dt = target - sigma
    first = velocity(x, sigma)
    second = velocity(x + first * (dt / 2), sigma + dt / 2)
    third = velocity(x + second * (dt / 2), sigma + dt / 2)
    fourth = velocity(x + third * dt, target)
    return x + (first + 2 * (second + third) + fourth) * (dt / 6)


SOLVERS: Mapping[str, Solver] = MappingProxyType(
    {"euler": euler, "heun": heun, "midpoint": midpoint, "rk4": rk4}
)
