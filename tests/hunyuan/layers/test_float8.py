import pytest
import torch
from pack.hunyuan.avatar.config import PUBLISHED
from pack.hunyuan.avatar.transformer import AvatarTransformer
from pack.hunyuan.layers.float8 import (
    FLOAT8,
    Float8Linear,
    dequantise,
    multiply_float8,
    quantise,
    use_float8,
    use_float8_products,
)
from torch import nn
from torch_versions import needs_float8_products


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_weight_comes_back_to_three_bits():
    weight = random(24, 40)
    back = dequantise(*quantise(weight), torch.float32)
    assert ((back - weight).abs() <= weight.abs() / 16 + weight.abs().max() / 448 / 1000).all()


def test_the_largest_weight_comes_back_exactly():
    weight = random(24, 40)
    place = weight.abs().argmax()
    back = dequantise(*quantise(weight), torch.float32)
    torch.testing.assert_close(back.flatten()[place], weight.flatten()[place])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [False, True])
def test_the_layer_computes_in_its_inputs_dtype(dtype, bias):
    weight, scale = quantise(random(24, 40))
    plain, layer = nn.Linear(40, 24, bias), Float8Linear(40, 24, bias)
    biases = {"bias": random(24, seed=2)} if bias else {}
    plain.load_state_dict({"weight": dequantise(weight, scale, torch.float32), **biases})
    layer.load_state_dict({**plain.state_dict(), "weight": weight, "scale_weight": scale}, assign=True)
    x = random(5, 40, seed=1).to(dtype)
    out = layer(x)
    assert (out.dtype, layer.weight.dtype) == (dtype, torch.float8_e4m3fn)
    torch.testing.assert_close(
        out.float(), plain(x.float()), atol=5e-2 if dtype == torch.bfloat16 else 1e-5, rtol=2e-2
    )


def test_the_released_network_has_320_such_layers():
    network = AvatarTransformer(PUBLISHED, device="meta")
    for blocks in (network.double_blocks, network.single_blocks):
        use_float8(blocks)
    layers = [module for module in network.modules() if isinstance(module, Float8Linear)]
    assert len(layers) == 320
    assert sum(layer.weight.numel() for layer in layers) == 12_457_082_880


def test_only_layers_below_are_replaced_and_names_stay():
    network = nn.ModuleDict(
        {"outside": nn.Linear(2, 3), "inside": nn.Sequential(nn.Linear(3, 4, bias=False))}
    )
    use_float8(network["inside"])
    assert type(network["outside"]) is nn.Linear
    assert {name: tuple(value.shape) for name, value in network["inside"].state_dict().items()} == {
        "0.weight": (4, 3),
        "0.scale_weight": (),
    }


@needs_float8_products
def test_zeros_stay_zeros():
    values, scale = quantise(torch.zeros(3, 4))
    assert torch.equal(dequantise(values, scale, torch.float32), torch.zeros(3, 4))
    assert torch.equal(
        multiply_float8(torch.zeros(2, 16).bfloat16(), *quantise(random(16, 16))), torch.zeros(2, 16)
    )


# --- products in float8 -------------------------------------------------------------------------------------


@pytest.fixture
def hopper(monkeypatch):
    """As if there were such a GPU: the product is torch's own on the CPU."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (9, 0))
    return torch.device("cuda")


def linear(inputs, outputs, seed=0):
    weight, scale = quantise(random(outputs, inputs, seed=seed))
    layer = Float8Linear(inputs, outputs)
    tensors = {"weight": weight, "scale_weight": scale, "bias": random(outputs, seed=seed + 1)}
    layer.load_state_dict(tensors, assign=True)
    return layer.requires_grad_(False)


@needs_float8_products
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_product_is_that_of_what_both_factors_are_rounded_to(hopper, dtype):
    layer = linear(64, 48)
    x = random(2, 20, 64, seed=3).to(dtype)
    rounded = dequantise(*quantise(x), torch.float64)
    weight = dequantise(layer.weight, layer.scale_weight, torch.float64)
    expected = rounded @ weight.T + layer.bias.to(dtype).double()
    cast = layer(x)
    use_float8_products(layer, hopper)
    out = layer(x)
    assert (out.dtype, out.shape) == (dtype, (2, 20, 48))
    torch.testing.assert_close(out.double(), expected, atol=1e-2, rtol=1e-2)
    assert not torch.equal(out, cast)
    error = (out.double() - cast.double()).norm() / cast.double().norm()
    assert 0.01 < error < 0.04  # three bits: 2.5 % on average over normal numbers


def test_float32_few_tokens_and_odd_sides_are_multiplied_as_before(hopper):
    layer, odd = linear(32, 48), linear(40, 48)
    inputs = [(layer, random(20, 32)), (layer, random(3, 1, 32).bfloat16()), (odd, random(20, 40).bfloat16())]
    before = [module(x) for module, x in inputs]
    use_float8_products(nn.ModuleList([layer, odd]), hopper)
    assert all(torch.equal(module(x), out) for (module, x), out in zip(inputs, before, strict=True))


@pytest.mark.parametrize("place", ["cpu", "cuda"])
def test_a_device_without_such_units_is_refused(monkeypatch, place):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (8, 6))
    with pytest.raises(ValueError, match=f"{place} does not multiply in float8: .* capability 8.9"):
        use_float8_products(linear(32, 48), torch.device(place))


def test_by_default_nothing_is_rounded():
    network = nn.Sequential(nn.Linear(32, 32))
    use_float8(network)
    assert network[0].weight.dtype == FLOAT8
    assert not network[0].rounds_input
