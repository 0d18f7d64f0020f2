"""What blocks do between products and attention: the same by whatever route, and no more than counted."""

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pack.hunyuan.avatar import tokenwise
from pack.hunyuan.avatar.blocks import use_tokenwise
from pack.hunyuan.avatar.compiled import compiled_tokenwise
from pack.hunyuan.avatar.config import PUBLISHED
from pack.hunyuan.avatar.transformer import AvatarTransformer
from pack.hunyuan.layers.norm import HeadNorm, layer_norm
from pack.hunyuan.layers.rope import rotary_table
from torch._dynamo.backends.debugging import aot_eager
from torch_versions import needs_compiling, needs_whole_norms

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))

import activation_peak

T = torch.tensor([500.0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 2])
def test_rows_are_modulated_in_float32_and_rounded_once(inputs, dtype, rows):
    x, shift, scale = (inputs.random(rows, n, 64, seed=seed).to(dtype) for seed, n in enumerate((9, 1, 1)))
    exact = layer_norm(x, tokenwise.EPS).double() * scale.double() + shift.double()
    modulated = tokenwise.modulate_rows(x, shift, scale)
    assert modulated.dtype == dtype
    half_a_step = torch.finfo(dtype).eps / 2 * exact.abs()
    assert ((modulated.double() - exact).abs() <= half_a_step + 2e-6).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("chunk", [1, 5, 8, 100])
def test_heads_are_placed_the_same_however_many_at_a_time(inputs, dtype, chunk, monkeypatch):
    image, text = (inputs.random(2, n, 3, 8).to(dtype).transpose(1, 2) for n in (10, 4))  # not contiguous
    norms = [HeadNorm(8, tokenwise.EPS, dtype).requires_grad_(False) for _ in range(2)]
    for norm, weight in zip(norms, inputs.random(2, 8), strict=True):
        norm.weight.copy_(weight)
    table = rotary_table(torch.arange(10), 8)
    whole = tokenwise.place(image, text, *norms, table)
    monkeypatch.setattr(tokenwise, "CHUNK", chunk)
    assert torch.equal(tokenwise.place_by_heads(image, text, *norms, table), whole)
    assert whole.shape == (2, 3, 14, 8)


# --- compiled -----------------------------------------------------------------------------------------------


@needs_compiling
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_operations_answer_the_same_and_are_shared_by_all_blocks(
    tiny_config, randomised, inputs, dtype, monkeypatch
):
    torch._dynamo.reset()
    monkeypatch.setattr(tokenwise, "CHUNK", 23)  # the last chunk of 24 tokens, and of 48, has but a few
    deep = replace(tiny_config, double_depth=6, single_depth=6)
    plain, network = (randomised(AvatarTransformer(deep)).to(dtype) for _ in range(2))
    said, told = [], []
    use_tokenwise(network, compiled_tokenwise(aot_eager, said.append))
    for words, frames, rows in ((2, 3, 1), (3, 4, 2), (1, 5, 1), (2, 7, 2)):
        prompt = inputs.prompt(words=words)
        prompt = replace(prompt, states=prompt.states.to(dtype))
        characters = [inputs.character(frames=frames)]
        x = inputs.latents(rows, frames=frames).to(dtype)
        with torch.inference_mode():
            expected, answer = (
                each(x, T.expand(rows), each.prepare(prompt, inputs.scene(), characters).expand(rows))
                for each in (plain, network)
            )
            difference = (answer - expected).float().norm() / expected.float().norm()
        assert difference < (1e-5 if dtype == torch.float32 else 2e-2)
        told.append(len(said))
    assert told[0] >= 4
    # One row or several, tokens of one row behind each other or not, a last chunk of one token.
    assert max(Counter(line.split()[1] for line in said).values()) <= 5
    assert told[-1] == told[-2]


@needs_compiling
def test_each_compiled_operation_is_told_of(tiny_config, randomised, inputs):
    torch._dynamo.reset()
    network, said = randomised(AvatarTransformer(tiny_config)), []
    use_tokenwise(network, compiled_tokenwise("eager", said.append))
    conditions = network.prepare(inputs.prompt(), inputs.scene(), [inputs.character()])
    with torch.inference_mode():
        network(inputs.latents(), T, conditions)
        first = list(said)
        network(inputs.latents(), T, conditions)
    assert said == first
    told = Counter(line.split()[1] for line in said)
    assert set(told) == {"norms", "rotations", "activations", "gates"}


# --- counted ------------------------------------------------------------------------------------------------


@needs_whole_norms
@pytest.mark.parametrize("rows", [1, 2])
def test_a_block_reads_and_writes_its_tokens_so_often(rows):
    """In passes: once through all tokens of both halves, in bfloat16. 120 at first, 58 now."""

    def moved(double: int, single: int) -> float:
        config = replace(PUBLISHED, double_depth=double, single_depth=single)
        network = activation_peak.avatar_network(config)
        return activation_peak.avatar_step(network, 544, 736, rows=rows).moved.total()

    tokens = 34 * 544 * 736 // 16**2 + activation_peak.AVATAR_TEXT
    once = 2 * tokens * PUBLISHED.hidden_size * torch.bfloat16.itemsize
    least = moved(2, 2)
    # Two double blocks come with an adapter; here the whole picture hears it.
    assert (moved(2, 3) - least) / once == pytest.approx(58, abs=1)
    assert (moved(4, 2) - least) / 2 / once < 68
