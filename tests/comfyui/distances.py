"""How far two tensors are apart, for measurements within ComfyUI and for the tests of them."""

from torch import Tensor


def apart(a: Tensor, b: Tensor) -> float:
    """The largest difference."""
    return float((a - b).abs().max())


def off(a: Tensor, b: Tensor) -> float:
    """The largest difference, as a share of the second's largest value."""
    return apart(a, b) / float(b.abs().max())


def far(a: Tensor, b: Tensor) -> float:
    """The root mean square of the difference, in standard deviations of the second."""
    return float((a - b).square().mean().sqrt() / b.std())
