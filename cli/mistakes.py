"""What may go wrong without being a defect of this program, in one sentence each."""

import csv

import torch

from ..hunyuan.layers.compiling import CompileError

MISTAKES = (ValueError, OSError, csv.Error, torch.OutOfMemoryError, CompileError)


def sentence(error: BaseException) -> str:
    """What happened and what to do, for one of `MISTAKES`."""
    if isinstance(error, torch.OutOfMemoryError):
        return "The GPU's memory is full. Lower --batch, --seconds or --size, or use --device cpu."
    if isinstance(error, CompileError):
        return f"--compile: {error}"
    return str(error)
