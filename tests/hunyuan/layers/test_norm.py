import pytest
import torch
from pack.hunyuan.layers.norm import Float32HeadNorm, HeadNorm, norm_together


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
