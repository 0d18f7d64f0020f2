"""GGUF files and packing on load: the same network, told by its bytes; what does not fit is named."""

import re
import sys
from pathlib import Path

import pytest
import torch
from pack.hunyuan.foley.config import XL, XXL, FoleyConfig
from pack.hunyuan.foley.transformer import FoleyTransformer
from pack.hunyuan.layers.packed import packed_layers, weight_shapes
from pack.hunyuan.layers.packing import PACKINGS
from pack.model_loaders.checkpoint import open_checkpoint
from pack.model_loaders.foley import load_audio_vae, load_transformer
from pack.model_loaders.foley_packed import is_packed, load_packed_transformer, packable_layers
from pack.model_loaders.kinds import FOLEY_TRANSFORMER, identify
from pack.model_loaders.lora import LowRank, add_lora, lora_tensors
from safetensors.torch import load_file, save_file

gguf = pytest.importorskip("gguf")
ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import convert  # noqa: E402

FORMATS = ["Q8_0", "Q6_K", "Q4_K"]
# 64 channels, so that rows of some layers are no whole number of K blocks and others are.
CONFIG = FoleyConfig(
    hidden_size=64, num_heads=2, joint_depth=2, audio_depth=2,
    latent_channels=6, text_size=10, visual_size=11, sync_size=12,
)  # fmt: skip
NARROW = "single_blocks.1.linear2.w1"  # a convolution over three taps


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: (torch.randn(value.shape, generator=generator) * 0.1).bfloat16()
        for name, value in FoleyTransformer(CONFIG, device="meta").state_dict().items()
    }
    path = tmp_path_factory.mktemp("foley") / "transformer.safetensors"
    save_file(tensors, path)
    return path


@pytest.fixture(scope="module", params=FORMATS)
def converted(request, source) -> tuple[Path, str]:
    path = source.with_name(f"{request.param}.gguf")
    convert.convert_gguf(source, path, request.param)
    return path, request.param


def velocity(network, dtype=torch.float32, seed=1):
    generator = torch.Generator().manual_seed(seed)
    text, visual, sync, x = (
        torch.randn(shape, generator=generator).to(dtype)
        for shape in ((1, 5, 10), (1, 8, 11), (1, 24, 12), (1, 6, 50))
    )
    with torch.no_grad():
        return network(x, torch.tensor([400.0]), network.prepare(text, visual, sync))


def relative(a, b):
    return float((a - b).norm() / b.norm())


def test_a_file_keeps_names_and_shapes_and_packs_what_may_be_narrow(source, converted):
    path, form = converted
    checkpoint, plain = open_checkpoint(path), open_checkpoint(source)
    assert checkpoint.shapes == plain.shapes
    assert identify(checkpoint) is FOLEY_TRANSFORMER
    assert is_packed(path)
    assert not is_packed(source)
    narrow = {f"{name}.weight" for name in packable_layers(FoleyTransformer(CONFIG, device="meta"))}
    assert set(checkpoint.packings) == narrow
    assert {packing.name for packing in checkpoint.packings.values()} == {form}
    for name in plain:
        if name not in narrow:
            assert torch.equal(checkpoint[name].float(), plain[name].float())
    for name in narrow:
        packing = PACKINGS[form]
        expected = packing.unpack(*packing.pack(plain[name]), plain.shapes[name], torch.float32)
        assert torch.equal(checkpoint[name], expected)


def test_gguf_itself_reads_the_same_numbers(converted):
    path, _ = converted
    ours, seen = open_checkpoint(path), 0
    for tensor in gguf.GGUFReader(path).tensors:
        theirs = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert torch.equal(torch.from_numpy(theirs.copy()).flatten(), ours[tensor.name].float().flatten())
        seen += 1
    assert seen == len(ours)


def test_layers_stay_packed_and_compute_what_the_unpacked_file_does(converted):
    path, form = converted
    packed = load_packed_transformer(path, None, torch.float32)
    plain = load_transformer(path, torch.float32)
    assert {layer.packing.name for layer in packed_layers(packed).values()} == {form}
    assert not packed_layers(plain)
    assert torch.equal(velocity(packed), velocity(plain))
    assert weight_shapes(packed) == weight_shapes(plain)
    assert load_transformer(path).final_layer.linear.weight.dtype == torch.bfloat16


@pytest.mark.parametrize(("name", "most"), [("fp8", 0.1), ("fp8_e5m2", 0.2), ("int8", 0.03), ("Q8_0", 0.02)])
def test_any_file_is_packed_while_it_is_read(source, name, most):
    plain, packed = (
        load_transformer(source, torch.float32),
        load_packed_transformer(source, name, torch.float32),
    )
    assert set(packed_layers(packed)) == set(packable_layers(plain))
    assert 0 < relative(velocity(packed), velocity(plain)) < most
    half = load_packed_transformer(source, name, torch.bfloat16)
    assert relative(velocity(half, torch.bfloat16).float(), velocity(packed)) < 0.03


def test_norms_embeddings_modulations_and_the_final_layer_stay_wide(source):
    packed = load_packed_transformer(source, "int8")
    for name, value in packed.state_dict().items():
        is_wide = re.search(
            r"(mod|modulation)\.linear\.|norm|bias|\.scale$|^(?!triple_blocks|single_blocks)", name
        )
        assert (value.dtype == torch.int8) == (not is_wide), name


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_a_cast_to_eight_bits_leaves_the_same_tensors_wide(source, dtype):
    stored = load_transformer(source, dtype).state_dict()
    narrow = {f"{name}.weight" for name in packable_layers(FoleyTransformer(CONFIG, device="meta"))}
    assert {name for name, value in stored.items() if value.dtype == dtype} == narrow
    assert {value.dtype for name, value in stored.items() if name not in narrow} == {torch.bfloat16}


@pytest.mark.parametrize(("config", "share"), [(XL, 0.75), (XXL, 0.75)])
def test_three_quarters_of_a_published_network_may_be_narrow_and_fit_every_format(config, share):
    network = FoleyTransformer(config, device="meta")
    names = packable_layers(network)
    shapes = {name: tuple(network.get_submodule(name).weight.shape) for name in names}
    assert all(packing.fits(shape) for packing in PACKINGS.values() for shape in shapes.values())
    numbers = sum(torch.Size(shape).numel() for shape in shapes.values())
    total = sum(value.numel() for value in network.state_dict().values())
    assert numbers / total == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("packing", ["int8", "fp8", "Q8_0"])
def test_a_lora_acts_on_packed_weights_as_on_plain_ones(source, tmp_path, packing):
    generator = torch.Generator().manual_seed(2)
    plain = load_transformer(source, torch.float32)
    additions = {}
    for name in (f"{NARROW}.weight", "triple_blocks.0.audio_self_proj.weight", "final_layer.linear.weight"):
        shape = tuple(plain.state_dict()[name].shape)
        additions[name] = LowRank(
            down=torch.randn(4, *shape[1:], generator=generator) * 0.3,
            up=torch.randn(shape[0], 4, *(1 for _ in shape[2:]), generator=generator) * 0.3,
            scale=0.7,
        )
    save_file(lora_tensors(additions), tmp_path / "lora.safetensors")
    packed = load_packed_transformer(source, packing, torch.float32)
    without = velocity(packed)
    before = {name: packed.get_submodule(name).unpacked(torch.float32) for name in packed_layers(packed)}
    add_lora(packed, tmp_path / "lora.safetensors", 0.5)
    add_lora(plain, tmp_path / "lora.safetensors", 0.5)
    for name, weight in before.items():
        delta = additions.get(f"{name}.weight")
        expected = weight if delta is None else weight + 0.5 * delta.delta()
        torch.testing.assert_close(packed.get_submodule(name).unpacked(torch.float32), expected)
    assert relative(velocity(packed), without) > 0.1
    assert relative(velocity(packed), velocity(plain)) < 0.1


def test_a_packed_file_is_not_packed_again(converted):
    path, form = converted
    with pytest.raises(
        ValueError, match=rf"{path.name} is packed already \({form}\), not to be packed as int8"
    ):
        load_packed_transformer(path, "int8")


def test_a_plain_file_does_not_say_how_to_pack_it(source):
    with pytest.raises(ValueError, match=r"transformer.safetensors holds no packed weights.*fp8"):
        load_packed_transformer(source, None)


def test_a_gguf_file_of_another_network_is_refused(converted):
    with pytest.raises(
        ValueError, match=rf"{converted[0].name} is not a Foley audio VAE.*Foley Model Loader"
    ):
        load_audio_vae(converted[0])


@pytest.mark.parametrize("share", [0.001, 0.02, 0.3, 0.99])
def test_a_cut_file_is_named(converted, tmp_path, share):
    path = tmp_path / "cut.gguf"
    whole = converted[0].read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"cut.gguf is (damaged|empty|not a checkpoint)"):
        load_packed_transformer(path, None)


def test_an_unknown_format_is_named_with_those_that_are_read(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "q4_0.gguf", "test")
    data = gguf.quants.quantize(torch.randn(4, 32).numpy(), gguf.GGMLQuantizationType.Q4_0)
    writer.add_tensor("a", data, raw_dtype=gguf.GGMLQuantizationType.Q4_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ValueError, match=r"tensor a is Q4_0.*F32, F16, BF16, Q8_0, Q6_K or Q4_K"):
        open_checkpoint(tmp_path / "q4_0.gguf")


def test_a_lost_shape_is_found(converted, tmp_path):
    path = tmp_path / "turned.gguf"
    content = converted[0].read_bytes()
    if converted[1] == "Q8_0":
        pytest.skip("all rows fit")
    key = b"comfy.gguf.orig_shape."
    place = content.index(key)
    # The first number of the list of sizes: after the name, its type, the list's type and its length.
    name_length = int.from_bytes(content[place - 8 : place], "little")
    number = place + name_length + 4 + 4 + 8
    path.write_bytes(content[:number] + (7).to_bytes(4, "little") + content[number + 4 :])
    with pytest.raises(ValueError, match=r"turned.gguf is damaged: tensor \S+ of shape .* was of shape"):
        open_checkpoint(path)


def test_without_the_package_it_is_asked_for(converted, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ValueError, match=r"gguf needs the package gguf.*pip install gguf"):
        open_checkpoint(converted[0])


def test_a_file_goes_back_to_plain_tensors(converted, tmp_path):
    convert.convert(converted[0], tmp_path / "plain.safetensors", torch.bfloat16)
    saved, ours = load_file(tmp_path / "plain.safetensors"), open_checkpoint(converted[0])
    assert all(torch.equal(saved[name], ours[name].bfloat16()) for name in ours)
