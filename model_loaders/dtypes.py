"""The number formats that weights may have, and the way from one to another."""

import torch
from torch import Tensor

WEIGHT_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)
FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)


def cast(tensor: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    """The tensor in another floating dtype.

    Raises ValueError if a value lies outside the dtype's range: it would become infinite or no number at all.
    """
    if tensor.dtype == dtype:
        return tensor
    largest = torch.finfo(dtype).max
    if torch.finfo(tensor.dtype).max > largest and tensor.numel() > 0:
        peak = float(tensor.detach().float().abs().max())
        if peak > largest:
            raise ValueError(
                f"Tensor {name} reaches {peak:g}, and {_name(dtype)} ends at {largest:g}. Use a wider dtype."
            )
    return tensor.to(dtype)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
