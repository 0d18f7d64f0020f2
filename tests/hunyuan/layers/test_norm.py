import pytest
import torch
from pack.hunyuan.layers import norm as norm_module
from pack.hunyuan.layers.norm import RMS_NORM_IS_FLOAT32, Float32HeadNorm, HeadNorm, norm_together


@pytest.mark.parametrize("kind", [HeadNorm, Float32HeadNorm])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_two_norms_at_once_are_each_of_them(kind, dtype):
    random = torch.Generator().manual_seed(0)
    norms = [kind(8, 1e-6) for _ in range(2)]
    for norm in norms:
        torch.nn.init.normal_(norm.weight, generator=random)
    x = torch.randn(2, 3, 2, 5, 8, generator=random).to(dtype)
    together = norm_together(x, *norms)
    assert together.dtype == (torch.float32 if kind is Float32HeadNorm else dtype)
    assert torch.equal(together, torch.stack([norm(part) for norm, part in zip(norms, x, strict=True)]))


def test_a_float32_norm_does_not_round_its_weight_to_the_inputs_dtype():
    norm = Float32HeadNorm(4, 1e-6)
    torch.nn.init.constant_(norm.weight, 1.001)
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    plain = torch.nn.functional.rms_norm(x.float(), (4,), eps=1e-6)
    assert torch.equal(norm_together(x, norm, norm), plain * norm.weight)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [300.0, 1e-3])
@pytest.mark.parametrize("in_one", [False, True])
def test_head_norms_are_float32_inside(dtype, size, in_one, monkeypatch):
    """Squares of 300 do not fit float16, nor does the 1e-6 that is added to those of 0.001."""
    if in_one and not RMS_NORM_IS_FLOAT32:
        pytest.skip("this torch norms 16-bit numbers in 16 bits")
    monkeypatch.setattr(norm_module, "RMS_NORM_IS_FLOAT32", in_one)
    norm = HeadNorm(128, 1e-6, dtype)
    torch.nn.init.ones_(norm.weight)
    x = torch.full((1, 2, 3, 128), size, dtype=dtype)
    exact = x.double() / (x.double() ** 2 + 1e-6).sqrt()
    torch.testing.assert_close(norm(x).double(), exact, rtol=torch.finfo(dtype).eps, atol=0)
