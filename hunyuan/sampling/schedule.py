"""Noise levels of flow matching: sigma 1 is noise, sigma 0 is data, time is 1000 sigma."""

import math
from typing import TypeVar

import torch
from torch import Tensor

TIME_SCALE = 1000.0
Level = TypeVar("Level", float, Tensor)

SMALLEST_DENOISE = 0.001  # below it the steps that are left out would fill the memory


def flow_sigmas(steps: int, *, shift: float = 1.0, denoise: float = 1.0) -> Tensor:
    """Evenly spaced levels from `denoise` down to 0, then shifted towards noise when `shift` > 1.

    denoise: how much of the noise to go through; below 1 the levels are the last of `int(steps / denoise)`
        steps, as ComfyUI does it, so that all `steps` are used; at 0 no step is left.
    Returns (steps + 1,), float32, on the CPU.
    Raises: ValueError unless steps >= 1, shift > 0 and denoise is 0 or lies in 0.001..1.
    """
    if steps < 1 or not 0 < shift < math.inf or not (denoise == 0 or SMALLEST_DENOISE <= denoise <= 1):
        raise ValueError(
            f"No schedule with {steps} steps, shift {shift:g} and denoise {denoise:g}:"
            f" there is at least 1 step, the shift is above 0, denoise is 0 or lies in {SMALLEST_DENOISE}..1."
        )
    if denoise == 0:
        return torch.zeros(1)
    sigmas = torch.linspace(1, 0, int(steps / denoise) + 1)[-(steps + 1) :]
    return shifted(sigmas, shift) if shift != 1 else sigmas


def shifted(sigma: Level, shift: float) -> Level:
    """A noise level, or several, moved towards noise where `shift` is above 1; 0 and 1 stay."""
    return shift * sigma / (1 + (shift - 1) * sigma)
