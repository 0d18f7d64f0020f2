"""Steps that start from kept features: where they do is measured, not fixed in advance.

Whenever a step is computed in full, what the features kept before it would have predicted is computed too:
the last block and the output layer, one block in sixty. How far it is off tells how fast features age, and so
how many of the next steps they will do for.
"""

from collections.abc import Iterable

from torch import Tensor

TOLERANCE = 0.05  # of a velocity, relative: what a step from kept features may be off
LONGEST = 4  # steps in a row from the same features, as in the released schedule


class ErrorDrivenCache:
    """Decides for each step, by its number and noise level, whether kept features will do.

    tolerance: the relative error of a velocity that is let pass.
    """

    def __init__(self, steps: int, tolerance: float = TOLERANCE) -> None:
        self.steps, self.tolerance = steps, tolerance
        self.full_steps: list[int] = []
        self._kept: float | None = None  # noise level at which features were kept
        self._rate: float | None = None  # relative error per noise level that passes
        self._step = -1
        self._cached = False
        self._in_row = 0

    def begin(self, step: int, sigma: float, *, usable: bool = True) -> bool:
        """Whether this step starts from kept features; asked again within a step, the same answer.

        usable: whether there are any that were made under the same guidance.
        """
        if step == self._step:
            return self._cached
        self._step = step
        will_do = usable and self._will_do(sigma)
        self._cached = will_do and step + 1 < self.steps and self._in_row < LONGEST
        self._in_row = self._in_row + 1 if self._cached else 0
        return self._cached

    def measured(self, sigma: float, errors: Iterable[float]) -> None:
        """After a full step: how far off its velocities would have been, if that is known."""
        if self.full_steps[-1:] == [self._step]:
            return  # a later stage of the same step
        self.full_steps.append(self._step)
        worst = max(errors, default=None)
        passed = None if self._kept is None else self._kept - sigma
        self._rate = worst / passed if worst is not None and passed else None
        self._kept = sigma

    def _will_do(self, sigma: float) -> bool:
        if self._kept is None or self._rate is None:
            return False
        return self._rate * (self._kept - sigma) <= self.tolerance


def relative_error(found: Tensor, exact: Tensor) -> float:
    """Of a velocity from kept features."""
    return float((found.float() - exact.float()).norm() / exact.float().norm().clamp(min=1e-12))
