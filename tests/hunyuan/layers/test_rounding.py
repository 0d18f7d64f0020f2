import pytest
import torch
from pack.hunyuan.layers import rounding
from pack.hunyuan.layers.rounding import multiply_add


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("float32_inside", [False, True])
def test_a_sum_is_made_in_float32_and_rounded_where_it_is_written(dtype, grad, float32_inside, monkeypatch):
    monkeypatch.setattr(rounding, "is_float32_inside", lambda _x: float32_inside)
    summand, x, y = random(2, 1, 8).to(dtype), random(2, 5, 8, seed=1), random(2, 5, 8, seed=2).to(dtype)
    whole = torch.zeros(2, 10, 8, dtype=dtype)
    with torch.set_grad_enabled(grad):
        written = multiply_add(summand, x, y, into=whole[:, :5])
    exact = summand.float() + x * y.float()
    torch.testing.assert_close(whole[:, :5].float(), exact, rtol=torch.finfo(dtype).eps / 2, atol=1e-6)
    assert torch.equal(written, whole[:, :5])
    assert not whole[:, 5:].any()


def test_gradients_pass():
    inputs = [random(2, 3, seed=seed).double().requires_grad_() for seed in range(3)]
    assert torch.autograd.gradcheck(
        lambda a, b, c: multiply_add(a, b, c, into=torch.empty(2, 3).double()), inputs
    )
