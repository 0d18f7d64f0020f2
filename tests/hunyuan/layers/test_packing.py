"""Formats of packed weights against gguf's own arithmetic, bit for bit, and layers that hold them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.hunyuan.layers import packing as packing_formats
from pack.hunyuan.layers.packed import PackedConv1d, PackedLinear, packed, use_packed, weight_shapes
from pack.hunyuan.layers.packing import FP8, INT8, PACKINGS, Q8_0
from torch import nn

gguf = pytest.importorskip("gguf")

BLOCK_FORMATS = ["Q8_0", "Q6_K", "Q4_K"]
# Relative L2 error of normally distributed weights: what the bits allow, with a margin of a fifth.
ERRORS = {"fp8": 0.03, "fp8_e5m2": 0.065, "int8": 0.012, "Q8_0": 0.006, "Q6_K": 0.022, "Q4_K": 0.09}


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def relative(a, b):
    return float((a.double() - b.double()).norm() / b.double().norm())


@pytest.mark.parametrize("name", BLOCK_FORMATS)
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_bytes_are_read_as_gguf_reads_them(name, seed):
    packing, kind = PACKINGS[name], gguf.GGMLQuantizationType[name]
    stored = np.random.default_rng(seed).integers(0, 256, (7, packing.block_bytes), dtype=np.uint8)
    with np.errstate(all="ignore"):
        expected = gguf.quants.dequantize(stored, kind)
    ours = packing.unpack(torch.from_numpy(stored), None, expected.shape, torch.float32).numpy()
    # NaN is NaN, whatever its bits: random scales hold some.
    assert np.array_equal(np.isnan(ours), np.isnan(expected))
    known = ~np.isnan(expected)
    assert np.array_equal(ours.view(np.uint32)[known], expected.view(np.uint32)[known])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", PACKINGS)
def test_a_few_rows_at_a_time_are_the_same_bits(monkeypatch, name, dtype):
    """7 rows of 768 numbers in parts of two rows, or 21 superblocks in parts of seven, and a rest."""
    packing, weight = PACKINGS[name], random(7, 768)
    stored, scale = packing.pack(weight)
    unpacked = packing.unpack(stored, scale, (7, 256, 3), dtype)
    monkeypatch.setattr(packing_formats, "CHUNK", 1800)
    again, scale_again = packing.pack(weight)
    assert torch.equal(again.view(torch.uint8), stored.view(torch.uint8))
    assert scale is None or torch.equal(scale_again, scale)
    assert torch.equal(packing.unpack(again, scale_again, (7, 256, 3), dtype), unpacked)


def test_q8_0_is_written_as_gguf_writes_it():
    weight = random(6, 64)
    weight[2, :32] = 0
    expected = gguf.quants.quantize(weight.numpy(), gguf.GGMLQuantizationType.Q8_0)
    assert np.array_equal(Q8_0.pack(weight)[0].numpy().reshape(6, -1), expected)


@pytest.mark.parametrize("name", BLOCK_FORMATS)
def test_what_is_written_is_what_gguf_reads(name):
    packing, weight = PACKINGS[name], random(16, 256)
    weight[3] = 0
    weight[4] = weight[4].abs()
    weight[5] *= 1e-3
    stored, scale = packing.pack(weight)
    assert scale is None
    theirs = torch.from_numpy(gguf.quants.dequantize(stored.numpy(), gguf.GGMLQuantizationType[name]))
    for row in (0, 1, 4, 5):
        assert relative(theirs.reshape(16, 256)[row], weight[row]) < 1.3 * ERRORS[name]
    assert not theirs.reshape(16, 256)[3].any()


@pytest.mark.parametrize("name", list(PACKINGS))
def test_a_weight_comes_back_as_well_as_its_bits_allow(name):
    packing, weight = PACKINGS[name], random(64, 96, 3) * 0.02
    stored, scale = packing.pack(weight)
    assert tuple(stored.shape) == packing.stored_shape((64, 96, 3))
    assert stored.nbytes + (0 if scale is None else scale.nbytes) == packing.bytes((64, 96, 3))
    back = packing.unpack(stored, scale, (64, 96, 3), torch.float32)
    error = relative(back, weight)
    assert ERRORS[name] / 4 < error < ERRORS[name]
    # Rounded once: from float32 and directly are the same.
    assert torch.equal(packing.unpack(stored, scale, (64, 96, 3), torch.bfloat16), back.bfloat16())


@pytest.mark.parametrize("packing", [INT8, FP8])
def test_a_row_of_zeros_stays_one_and_the_largest_number_of_a_row_comes_back(packing):
    weight = random(4, 40)
    weight[1] = 0
    back = packing.unpack(*packing.pack(weight), (4, 40), torch.float32)
    assert not back[1].any()
    place = weight.abs().argmax(dim=1, keepdim=True)
    torch.testing.assert_close(back.gather(1, place), weight.gather(1, place))


def test_float8_values_of_a_file_are_kept_as_they_are():
    values = random(5, 8).to(torch.float8_e4m3fn)
    assert torch.equal(FP8.unpack(*FP8.pack(values), (5, 8), torch.float32), values.float())


def test_a_weight_that_is_no_whole_number_of_blocks_is_refused():
    with pytest.raises(ValueError, match=r"\(3, 5\) does not fit Q8_0.*blocks of 32"):
        Q8_0.pack(random(3, 5))


@pytest.mark.parametrize("name", list(PACKINGS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_layers_compute_what_plain_ones_do_with_the_unpacked_weight(name, dtype):
    packing = PACKINGS[name]
    torch.manual_seed(1)
    for plain, x in (
        (nn.Linear(64, 32), random(2, 5, 64)),
        (nn.Linear(64, 32, bias=False), random(2, 5, 64)),
        (nn.Conv1d(64, 32, 3, padding=1), random(2, 64, 9)),
        (nn.Conv1d(64, 32, 1, bias=False), random(2, 64, 9)),
    ):
        layer, (stored, scale) = packed(plain, packing), packing.pack(plain.weight.detach())
        layer.weight.data = stored
        layer.scale = scale
        if plain.bias is not None:
            layer.bias = plain.bias
        plain.weight.data = packing.unpack(stored, scale, tuple(plain.weight.shape), torch.float32)
        assert isinstance(layer, PackedLinear if isinstance(plain, nn.Linear) else PackedConv1d)
        assert torch.equal(layer(x.to(dtype)), plain.to(dtype)(x.to(dtype)))


def test_an_addition_joins_the_weight_before_it_is_rounded():
    plain, layer = nn.Linear(32, 16), packed(nn.Linear(32, 16), INT8)
    stored, scale = INT8.pack(plain.weight.detach())
    layer.weight.data, layer.scale = stored, scale
    up, down = random(16, 2), random(2, 32, seed=1)
    before = layer.unpacked(torch.float32)
    layer.add(up, down)
    layer.add(-up, down)
    layer.add(up, down)
    torch.testing.assert_close(layer.unpacked(torch.float32), before + up @ down)
    assert "up_0" not in layer.state_dict()


def test_layers_are_replaced_by_name_and_shapes_stay_what_they_mean():
    network = nn.ModuleDict({"a": nn.Sequential(nn.Linear(32, 8)), "b": nn.Conv1d(8, 8, 3, padding=1)})
    plain = weight_shapes(network)
    use_packed(network, {"a.0": INT8, "b": PACKINGS["Q8_0"]})
    assert type(network["a"][0]) is PackedLinear
    assert network["b"].weight.shape == (6, 34)
    assert weight_shapes(network) == plain


@pytest.mark.parametrize("layer", [nn.Conv1d(8, 8, 3, stride=2), nn.Conv2d(3, 3, 1), nn.LayerNorm(3)])
def test_what_has_no_packed_form_is_refused(layer):
    with pytest.raises(TypeError, match="has no packed form"):
        packed(layer, INT8)
