"""Avatar's transformer and video VAE from every form of their files, and what is refused and how."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from pack.hunyuan.avatar.config import PUBLISHED, AvatarConfig
from pack.hunyuan.avatar.transformer import AvatarTransformer
from pack.hunyuan.avatar.video_vae import VideoVAE
from pack.hunyuan.avatar.video_vae_config import VideoVAEConfig
from pack.hunyuan.layers.float8 import Float8Linear, dequantise, quantise
from pack.model_loaders.avatar import block_layers, load_transformer, load_video_vae
from pack.model_loaders.foley import load_transformer as load_foley_transformer
from safetensors.torch import save_file
from torch import Tensor, nn

KEYS = Path(__file__).parents[1] / "keys"
TINY = AvatarConfig(
    hidden_size=32, num_heads=1, double_depth=2, single_depth=2, rope_sizes=(4, 14, 14), latent_channels=4,
    text_size=10, pooled_size=6, audio_size=3, audio_hidden_size=12, adapter_size=8, mlp_ratio=2.0,
)  # fmt: skip
VAE = VideoVAEConfig(channels=(4, 4, 8, 8), latent_channels=3, layers_per_level=1, norm_groups=2)
SETTINGS = {"norm_num_groups": 2, "sample_size": 64, "sample_tsize": 32, "scaling_factor": 0.5}


def random_weights(network: nn.Module) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {n: 0.3 * torch.randn(t.shape, generator=generator) for n, t in network.state_dict().items()}


@cache
def recorded(build: Callable[..., nn.Module], config: object) -> dict[str, Tensor]:
    return random_weights(build(config, device="meta"))


def weights() -> dict[str, Tensor]:
    return dict(recorded(AvatarTransformer, TINY))


def vae_weights() -> dict[str, Tensor]:
    return dict(recorded(VideoVAE, VAE))


LAYERS = block_layers(AvatarTransformer(TINY, device="meta"))


def write(path: Path, tensors: dict[str, Tensor]) -> Path:
    """.pt files are nested as the published ones are."""
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".pt":
        torch.save({"module": tensors}, path)
    else:
        save_file(tensors, path)
    return path


def refusal(load: Callable[[Path], nn.Module], path: Path) -> str:
    with pytest.raises(ValueError, match=r"\w") as caught:
        load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- the transformer


@pytest.mark.parametrize("name", ["mp_rank_00_model_states.pt", "avatar.safetensors"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_transformer_has_the_size_and_values_of_its_file(tmp_path, name, dtype):
    stored = {n: t.to(dtype) for n, t in weights().items()}
    transformer = load_transformer(write(tmp_path / name, stored))
    assert transformer.config == TINY
    assert not transformer.training
    assert not any(parameter.requires_grad for parameter in transformer.parameters())
    for key, value in transformer.state_dict().items():
        assert value.dtype == dtype
        assert torch.equal(value, stored[key])


def test_the_layers_with_an_8_bit_form_are_the_published_320():
    layers = block_layers(AvatarTransformer(PUBLISHED, device="meta"))
    shapes = json.loads((KEYS / "avatar_keys.json").read_text())
    count = sum(shapes[f"{layer}.weight"][0] * shapes[f"{layer}.weight"][1] for layer in layers)
    assert (len(layers), count) == (320, 12_457_082_880)


def test_an_emotion_module_comes_with_its_tensors(tmp_path):
    config = replace(TINY, emotion=True)
    path = write(tmp_path / "a.safetensors", random_weights(AvatarTransformer(config, device="meta")))
    assert load_transformer(path).config == config


def float8(stored: torch.dtype = torch.float8_e4m3fn) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tiny transformer in its published 8-bit form, and its map."""
    tensors, scales = {n: t.bfloat16() for n, t in weights().items()}, {}
    for layer in LAYERS:
        values, scale = quantise(tensors[f"{layer}.weight"])
        tensors[f"{layer}.weight"], scales[layer] = values.to(stored), scale
    return tensors, scales


def scaled(layer: str, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    tensors, scales = float8()
    return dequantise(tensors[f"{layer}.weight"], scales[layer], dtype)


@pytest.mark.parametrize("stored", [torch.float8_e4m3fn, torch.bfloat16, torch.float32])
def test_an_8_bit_file_stays_8_bits_wide_with_the_scales_of_its_map(tmp_path, stored):
    tensors, scales = float8(stored)
    path = write(tmp_path / "states_fp8.pt", tensors)
    write(tmp_path / "states_fp8_map.pt", scales)
    transformer = load_transformer(path)
    for layer in LAYERS:
        module = transformer.get_submodule(layer)
        assert isinstance(module, Float8Linear)
        assert module.weight.dtype == torch.float8_e4m3fn
        assert module.bias.dtype == torch.bfloat16
        assert torch.equal(dequantise(module.weight, module.scale_weight, torch.bfloat16), scaled(layer))
    assert transformer.img_in.proj.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_another_dtype_the_scales_are_multiplied_in(tmp_path, dtype):
    tensors, scales = float8()
    path = write(tmp_path / "a_fp8.safetensors", tensors)
    where = write(tmp_path / "elsewhere" / "map.pt", scales)
    transformer = load_transformer(path, dtype, scales=where)
    assert {parameter.dtype for parameter in transformer.parameters()} == {dtype}
    for layer in LAYERS:
        assert torch.equal(transformer.get_submodule(layer).weight, scaled(layer, dtype))


def test_a_file_may_hold_its_scales_itself(tmp_path):
    tensors, scales = float8()
    tensors |= {f"{layer}.scale_weight": scale.reshape(1) for layer, scale in scales.items()}
    tensors["scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
    transformer = load_transformer(write(tmp_path / "scaled.safetensors", tensors))
    for layer in LAYERS:
        module = transformer.get_submodule(layer)
        assert torch.equal(dequantise(module.weight, module.scale_weight, torch.bfloat16), scaled(layer))


def test_any_file_can_be_made_8_bits_wide(tmp_path):
    path = write(tmp_path / "a.safetensors", weights())
    transformer = load_transformer(path, torch.float8_e4m3fn)
    for layer in LAYERS:
        values, scale = quantise(weights()[f"{layer}.weight"])
        module = transformer.get_submodule(layer)
        assert torch.equal(module.weight.float(), values.float())
        assert torch.equal(module.scale_weight, scale)
    assert transformer.before_proj.weight.dtype == torch.float32
    half = load_transformer(path, torch.float8_e4m3fn, rest=torch.bfloat16)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16, torch.float8_e4m3fn}
    assert half.double_blocks[0].img_mod.linear.scale_weight.dtype == torch.float32
    assert "not float8_e5m2" in refusal(lambda p: load_transformer(p, torch.float8_e5m2), path)


def test_plain_8_bit_values_need_no_scales_and_compute_in_bfloat16(tmp_path):
    tensors = {n: t.to(torch.float8_e4m3fn) for n, t in weights().items()}
    transformer = load_transformer(write(tmp_path / "cast.safetensors", tensors))
    assert {parameter.dtype for parameter in transformer.parameters()} == {torch.bfloat16}
    assert torch.equal(transformer.before_proj.weight.float(), tensors["before_proj.weight"].float())
    kept = load_transformer(tmp_path / "cast.safetensors", torch.float8_e4m3fn)
    for layer in LAYERS:
        module = kept.get_submodule(layer)
        assert torch.equal(module.weight.float(), tensors[f"{layer}.weight"].float())
        assert module.scale_weight == 1


def test_scaled_values_without_their_scales_are_refused_with_the_maps_name(tmp_path):
    path = write(tmp_path / "states_fp8.pt", float8()[0])
    message = refusal(load_transformer, path)
    assert "states_fp8.pt holds 8-bit values without their scales" in message
    assert "states_fp8_map.pt" in message


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda scales: scales.pop(LAYERS[3]), f"no scale for the layer {LAYERS[3]}"),
        (lambda scales: scales.update(another=torch.tensor(1.0)), "no layer another to scale"),
        (lambda scales: scales.update({LAYERS[0]: torch.ones(2)}), f"scale of {LAYERS[0]} is no number"),
        (lambda scales: scales.update({LAYERS[0]: torch.tensor(torch.nan)}), "is no number"),
    ],
)
def test_a_map_that_does_not_fit_is_named(tmp_path, change, problem):
    tensors, scales = float8()
    change(scales)
    path = write(tmp_path / "a_fp8.pt", tensors)
    write(tmp_path / "a_fp8_map.pt", scales)
    message = refusal(load_transformer, path)
    assert "a_fp8_map.pt" in message
    assert problem in message


@pytest.mark.parametrize("name", [n for n in weights() if not re.search(r"blocks\.1|bias$", n)])
def test_each_missing_tensor_is_named(tmp_path, name):
    tensors = weights()
    del tensors[name]
    assert name in refusal(load_transformer, write(tmp_path / "a.safetensors", tensors))


def test_a_wrong_shape_a_wrong_dtype_and_an_extra_tensor_are_named(tmp_path):
    name, path = "single_blocks.1.linear2.weight", tmp_path / "a.safetensors"
    write(path, weights() | {name: torch.zeros(5, 5)})
    assert f"tensor {name} is (5, 5)" in refusal(load_transformer, path)
    write(path, weights() | {name: weights()[name].long()})
    assert f"tensor {name} is int64" in refusal(load_transformer, path)
    write(path, weights() | {"another.weight": torch.zeros(2)})
    assert "no tensor named another.weight" in refusal(load_transformer, path)
    write(path, weights() | {"double_blocks.9999999.img_mod.linear.bias": torch.zeros(2)})
    assert "9999999" in refusal(load_transformer, path)


def test_files_in_the_wrong_loader_are_sent_to_theirs(tmp_path):
    avatar = write(tmp_path / "avatar.pt", weights())
    vae = write(tmp_path / "vae.safetensors", vae_weights())
    plain = {n: t for n, t in weights().items() if not n.startswith(("audio_", "ref_in", "before_proj"))}
    assert "Choose it in the Avatar Model Loader." in refusal(load_video_vae, avatar)
    assert "Choose it in the Avatar Model Loader." in refusal(load_foley_transformer, avatar)
    assert "Choose it in the Avatar VAE Loader." in refusal(load_transformer, vae)
    message = refusal(load_transformer, write(tmp_path / "t2v.safetensors", plain))
    assert "It looks like a HunyuanVideo transformer." in message
    message = refusal(load_transformer, write(tmp_path / "other.safetensors", {"x": torch.zeros(2)}))
    assert "Look for mp_rank_00_model_states.pt." in message


# --- the video VAE


def vae_folder(folder: Path, tensors: dict[str, Tensor], settings: dict | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    torch.save({"state_dict": tensors}, folder / "pytorch_model.pt")
    if settings is not None:
        (folder / "config.json").write_text(json.dumps(settings))
    return folder


def test_a_published_folder_gives_a_vae_with_its_config(tmp_path):
    tensors = {f"vae.{name}": value.half() for name, value in vae_weights().items()}
    path = vae_folder(tmp_path / "vae", tensors, SETTINGS | {"mid_block_causal_attn": True})
    for where in (path, path / "pytorch_model.pt"):
        vae = load_video_vae(where)
        config = vae.config
        assert (config.norm_groups, config.tile_size, config.tile_frames, config.scaling_factor) == (
            2,
            64,
            32,
            0.5,
        )
        assert config.channels == VAE.channels
        for name, value in vae.state_dict().items():
            assert value.dtype == torch.float32
            assert torch.equal(value, tensors[f"vae.{name}"].float())


def test_a_file_may_state_its_settings_itself(tmp_path):
    path = tmp_path / "vae.safetensors"
    save_file(vae_weights(), path, {"config": json.dumps(SETTINGS)})
    (tmp_path / "config.json").write_text('{"hidden_size": 3}')  # of something else that lies there
    assert load_video_vae(path, torch.bfloat16).config.tile_frames == 32


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (SETTINGS | {"mid_block_causal_attn": False}, "mid_block_causal_attn is false"),
        (SETTINGS | {"norm_num_groups": 3}, "divide into 3 groups"),
        (SETTINGS | {"sample_size": "big"}, "sample_size is 'big'"),
        (SETTINGS | {"sample_tsize": 30}, "must be a multiple of"),
    ],
)
def test_a_vae_of_another_kind_is_refused(tmp_path, settings, problem):
    assert problem in refusal(load_video_vae, vae_folder(tmp_path / "vae", vae_weights(), settings))


def test_a_folder_without_a_vae_says_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected pytorch_model\.pt or"):
        load_video_vae(tmp_path)


@pytest.mark.parametrize("name", [n for n in vae_weights() if "to_q" in n or "conv_in" in n])
def test_each_missing_tensor_of_a_vae_is_named(tmp_path, name):
    tensors = vae_weights()
    del tensors[name]
    assert name in refusal(load_video_vae, vae_folder(tmp_path / "vae", tensors, SETTINGS))


def test_every_published_tensor_of_the_vae_is_needed_and_known():
    shapes = json.loads((KEYS / "hunyuan_vae_keys.json").read_text())
    vae = VideoVAE(VideoVAEConfig.from_shapes(shapes), device="meta")
    assert {name: list(value.shape) for name, value in vae.state_dict().items()} == shapes
