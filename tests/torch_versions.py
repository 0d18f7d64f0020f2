"""What a test needs of torch that an older one, on which the pack runs, does not have."""

import pytest
import torch
from pack.hunyuan.layers.compiling import OLDEST_TORCH
from pack.hunyuan.layers.norm import RMS_NORM_IS_FLOAT32
from pack.hunyuan.layers.torch_version import torch_version


def multiplies_float8_on_a_cpu() -> bool:
    eight = torch.ones(16, 16).to(torch.float8_e4m3fn)
    one = torch.ones(())
    try:
        torch._scaled_mm(eight, eight.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
    except (NotImplementedError, RuntimeError, TypeError):
        return False
    return True


needs_compiling = pytest.mark.skipif(
    torch_version() < OLDEST_TORCH, reason=f"torch {torch.__version__} compiles anew for each module"
)
needs_whole_norms = pytest.mark.skipif(
    not RMS_NORM_IS_FLOAT32, reason=f"norms with torch {torch.__version__} are other operations than counted"
)
needs_float8_products = pytest.mark.skipif(
    not multiplies_float8_on_a_cpu(), reason=f"torch {torch.__version__} has no float8 product on a CPU"
)
