import pytest
import torch
from pack.hunyuan.layers import modulation
from pack.hunyuan.layers.modulation import Modulation, modulate
from torch import nn

EPS = 1e-6


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("stream", [None, torch.float32])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (2, 1), (2, 5)])
def test_modulation_is_float32_inside_by_whatever_way(dtype, stream, shape, monkeypatch):
    """shape: rows and tokens that have shifts and scales of their own."""
    x = random(1, 5, 16).to(stream or dtype)
    shift, scale = (random(*shape, 16, seed=seed).to(dtype) for seed in (1, 2))
    exact = nn.functional.layer_norm(x.double(), (16,), eps=EPS) * scale.double() + shift.double()
    for short in (True, False):
        monkeypatch.setattr(modulation, "is_float32_inside", lambda _x, short=short: short)
        for grad in (True, False):
            with torch.set_grad_enabled(grad):
                modulated = modulate(x, shift, scale, eps=EPS)
            assert modulated.dtype == dtype
            torch.testing.assert_close(modulated.double(), exact, rtol=torch.finfo(dtype).eps, atol=2e-6)


class Viewing(torch.autograd.Function):
    """A layer of a host that gives a view, and needs its answer again for the gradient."""

    @staticmethod
    def forward(ctx, x):
        out = x.sigmoid()
        ctx.save_for_backward(out)
        return out.flatten().unflatten(0, x.shape)

    @staticmethod
    def backward(ctx, *grads):
        (out,) = ctx.saved_tensors
        return grads[0] * out * (1 - out)


@pytest.mark.parametrize("chunks", [3, 6, 9])
def test_scales_count_from_one_and_a_hosts_layer_keeps_its_answer(chunks):
    layer = Modulation(4, chunks)
    given = random(2, 3, 4).requires_grad_()
    linear = nn.Linear(4, 4 * chunks)
    layer.linear = nn.Sequential(linear, nn.Identity())
    layer.linear[1].forward = Viewing.apply
    parts = layer(given)
    plain = linear(given).sigmoid().chunk(chunks, dim=-1)
    for i, (part, raw) in enumerate(zip(parts, plain, strict=True)):
        torch.testing.assert_close(part, raw + (i % 3 == 1))
    torch.cat(parts, dim=-1).sum().backward()
    expected = torch.autograd.grad(torch.cat(plain, dim=-1).sum(), given)[0]
    torch.testing.assert_close(given.grad, expected)
