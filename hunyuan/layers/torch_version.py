"""Which torch this is: some of what it does differs between versions that the pack runs on."""

import torch


def torch_version() -> tuple[int, ...]:
    """Its first two numbers."""
    return tuple(int(part) for part in torch.__version__.split(".")[:2])
