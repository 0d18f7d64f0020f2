import pytest
import torch
from pack.hunyuan.avatar.config import PUBLISHED
from pack.hunyuan.avatar.transformer import AvatarTransformer
from pack.hunyuan.layers.float8 import Float8Linear, dequantise, quantise, use_float8
from torch import nn


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
