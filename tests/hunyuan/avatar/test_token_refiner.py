import pytest
import torch
from pack.hunyuan.avatar.token_refiner import TokenRefiner
from pack.hunyuan.layers.attention import attention

MASK = torch.tensor([[1, 1, 0, 0, 1, 1]], dtype=torch.bool)


@pytest.fixture(scope="module")
def refiner(tiny_config, randomised):
    return randomised(TokenRefiner(tiny_config, attention=attention))


def states(seed=0):
    return torch.randn(1, 6, 10, generator=torch.Generator().manual_seed(seed))


def refine(refiner, x):
    return refiner(*refiner.prepare(x, MASK), MASK, torch.tensor([500.0]))


def changed_by(refiner, row: int) -> list[int]:
    x = states()
    other = x.clone()
    other[:, row] += 1
    return (refine(refiner, x) != refine(refiner, other)).any(-1)[0].nonzero().flatten().tolist()


def test_what_the_mask_leaves_out_moves_only_itself(refiner):
    assert changed_by(refiner, 2) == [2]
    assert changed_by(refiner, 3) == [3]


def test_what_the_mask_has_moves_everything(refiner):
    # Even padding (the last rows): the mask has its ones there, as trained.
    assert changed_by(refiner, 5) == [0, 1, 2, 3, 4, 5]


def test_a_masked_row_reads_the_first_row_alone(refiner):
    seen = []
    block = refiner.individual_token_refiner["blocks"][0]
    hook = block.self_attn_proj.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    x, context = refiner.prepare(states(), MASK)
    refiner(x, context, MASK, torch.tensor([500.0]))
    hook.remove()
    value_of_first = block.self_attn_qkv(block.norm1(x))[:, 0, -x.shape[-1] :]
    torch.testing.assert_close(seen[0][:, 2], value_of_first)
    torch.testing.assert_close(seen[0][:, 3], value_of_first)


def test_the_context_is_the_mean_under_the_mask(refiner):
    x = states()
    _, context = refiner.prepare(x, MASK)
    torch.testing.assert_close(context, refiner.c_embedder(x[:, [0, 1, 4, 5]].mean(1)))


def test_norms_have_the_published_epsilon(refiner):
    quiet = torch.tensor([1e-3, -1e-3]).repeat(16)  # variance 1e-6
    expected = quiet / (1e-6 + 1e-6) ** 0.5
    for block in refiner.individual_token_refiner["blocks"]:
        for norm in (block.norm1, block.norm2):
            torch.testing.assert_close(norm(quiet), expected * norm.weight + norm.bias)
