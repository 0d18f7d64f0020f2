"""Foley's loaders on tiny networks with the published names: what they load, and what they refuse and how."""

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from pack.hunyuan.foley.audio_vae import AudioVAE, AudioVAEConfig
from pack.hunyuan.foley.config import FoleyConfig
from pack.hunyuan.foley.desync import Synchformer, SynchformerConfig
from pack.hunyuan.foley.sync_encoder import SyncEncoderConfig
from pack.hunyuan.foley.transformer import FoleyTransformer
from pack.model_loaders.foley import load_audio_vae, load_sync_encoder, load_synchformer, load_transformer
from pack.model_loaders.kinds import AVATAR_TRANSFORMER, VIDEO_VAE, identify
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

KEYS = Path(__file__).parents[1] / "keys"

TRANSFORMER = FoleyConfig(
    hidden_size=24, num_heads=2, joint_depth=2, audio_depth=3,
    latent_channels=6, text_size=10, visual_size=11, sync_size=12,
)  # fmt: skip
VISUAL = SyncEncoderConfig(hidden_size=24, depth=2, num_heads=3, patch_size=16, image_size=48)
SYNCHFORMER = SynchformerConfig(
    hidden_size=24,
    visual=VISUAL,
    audio_depth=1,
    audio_heads=2,
    audio_mlp_size=48,
    depth=2,
    num_heads=4,
    mlp_size=48,
)
HEADS = {"visual_heads": 3, "audio_heads": 2, "num_heads": 4}


def random_weights(network: nn.Module, seed: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {n: 0.3 * torch.randn(t.shape, generator=generator) for n, t in network.state_dict().items()}


@cache
def recorded(build: type[nn.Module], config: object) -> dict[str, Tensor]:
    return random_weights(build(config, device="meta"))


def transformer_weights() -> dict[str, Tensor]:
    return dict(recorded(FoleyTransformer, TRANSFORMER))


def synchformer_weights() -> dict[str, Tensor]:
    return dict(recorded(Synchformer, SYNCHFORMER))


# One of each sort: later blocks have the same tensors as the first.
TRANSFORMER_TENSORS = [name for name in transformer_weights() if not re.search(r"blocks\.[1-9]", name)]
VISUAL_TENSORS = [
    name for name in synchformer_weights() if name.startswith("vfeat") and not re.search(r"blocks\.1", name)
]


def write(path: Path, tensors: dict[str, Tensor], config: dict | None = None) -> Path:
    if path.suffix == ".pth":
        torch.save(tensors, path)
    else:
        save_file(tensors, path, metadata={"config": json.dumps(config)} if config else None)
    return path


def refusal(load: Callable[[Path], nn.Module], path: Path) -> str:
    with pytest.raises(ValueError, match=path.name) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- the transformer


@pytest.mark.parametrize("name", ["foley.pth", "foley.safetensors"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_transformer_has_the_size_and_values_of_its_file(tmp_path, name, dtype):
    weights = {n: t.to(dtype) for n, t in transformer_weights().items()}
    transformer = load_transformer(write(tmp_path / name, weights))
    assert transformer.config == TRANSFORMER
    assert not transformer.training
    for key, value in transformer.state_dict().items():
        assert value.dtype == dtype
        assert torch.equal(value, weights[key])


def test_an_8_bit_transformer_computes_in_bfloat16(tmp_path):
    weights = {n: t.to(torch.float8_e4m3fn) for n, t in transformer_weights().items()}
    path = write(tmp_path / "foley_fp8.safetensors", weights)
    transformer = load_transformer(path)
    latents = torch.randn(1, 6, 20, dtype=torch.bfloat16)
    text, visual, sync = (torch.randn(1, n, d, dtype=torch.bfloat16) for n, d in ((4, 10), (3, 11), (8, 12)))
    with torch.no_grad():
        conditions = transformer.prepare(text, visual, sync)
        velocity = transformer(latents, torch.tensor([500.0]), conditions)
    assert velocity.shape == latents.shape
    assert torch.isfinite(velocity).all()
    kept = load_transformer(path, torch.float8_e4m3fn)
    assert {p.dtype for p in kept.parameters()} == {torch.float8_e4m3fn, torch.bfloat16}


@pytest.mark.parametrize("size", ["xl", "xxl"])
def test_every_published_tensor_is_needed_and_known(size):
    shapes = json.loads((KEYS / f"foley_keys_{size}.json").read_text())
    transformer = FoleyTransformer(FoleyConfig.from_shapes(shapes), device="meta")
    assert {n: list(t.shape) for n, t in transformer.state_dict().items()} == shapes


@pytest.mark.parametrize("name", TRANSFORMER_TENSORS)
def test_each_missing_tensor_of_a_transformer_is_named(tmp_path, name):
    weights = transformer_weights()
    del weights[name]
    assert name in refusal(load_transformer, write(tmp_path / "foley.safetensors", weights))


@pytest.mark.parametrize("name", TRANSFORMER_TENSORS)
def test_each_misshapen_tensor_of_a_transformer_is_refused(tmp_path, name):
    weights = transformer_weights()
    weights[name] = torch.zeros(*weights[name].shape, 2)
    refusal(load_transformer, write(tmp_path / "foley.safetensors", weights))


def test_a_wrong_shape_a_wrong_dtype_and_an_extra_tensor_are_named(tmp_path):
    name = "single_blocks.1.linear_qkv.weight"
    path = tmp_path / "foley.safetensors"
    shape = tuple(transformer_weights()[name].shape)

    write(path, transformer_weights() | {name: torch.zeros(5, 5)})
    message = refusal(load_transformer, path)
    assert f"tensor {name} is (5, 5)" in message
    assert f"needs {shape}" in message

    write(path, transformer_weights() | {name: torch.zeros(shape, dtype=torch.int64)})
    assert f"tensor {name} is int64, expected float32" in refusal(load_transformer, path)

    write(path, transformer_weights() | {"projector.weight": torch.zeros(2, 2)})
    assert "no tensor named projector.weight" in refusal(load_transformer, path)


def test_a_block_number_that_lies_builds_nothing(tmp_path):
    weights = transformer_weights() | {"single_blocks.999999999.linear_qkv.weight": torch.zeros(1)}
    assert "999999999" in refusal(load_transformer, write(tmp_path / "foley.safetensors", weights))


def test_an_empty_tensor_that_lies_about_the_size_builds_nothing(tmp_path):
    weights = transformer_weights() | {"audio_embedder.proj.weight": torch.zeros(2**40, 6, 0)}
    assert "is damaged" in refusal(load_transformer, write(tmp_path / "foley.safetensors", weights))


# --- files chosen in the wrong loader


LOADERS = [load_transformer, load_audio_vae, load_sync_encoder, load_synchformer]


@pytest.fixture(scope="module")
def avatar_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("avatar") / "mp_rank_00_model_states.pt"
    names = json.loads((KEYS / "avatar_keys.json").read_text())
    torch.save({"module": {name: torch.zeros(1) for name in names}}, path)
    return path


@pytest.mark.parametrize("load", LOADERS)
def test_an_avatar_file_is_recognised(avatar_file, load):
    message = refusal(load, avatar_file)
    assert "no tensor named" in message
    assert "Choose it in the Avatar Model Loader." in message


def test_a_vae_given_as_a_transformer_is_sent_to_its_loader(goldens):
    message = refusal(load_transformer, goldens / "foley" / "dac_tiny_checkpoint.pth")
    assert message == (
        "dac_tiny_checkpoint.pth is not a Foley transformer: no tensor named "
        "triple_blocks.0.audio_mod.linear.weight. Choose it in the Foley VAE Loader."
    )


@pytest.mark.parametrize("load", LOADERS[1:])
def test_a_transformer_given_as_something_else_is_sent_to_its_loader(tmp_path, load):
    message = refusal(load, write(tmp_path / "foley.safetensors", transformer_weights()))
    assert "Choose it in the Foley Model Loader." in message


@pytest.mark.parametrize("load", LOADERS)
def test_an_unknown_file_is_answered_with_the_one_to_look_for(tmp_path, load):
    message = refusal(load, write(tmp_path / "other.safetensors", {"conv.weight": torch.zeros(2)}))
    assert "Look for" in message


def test_a_video_vae_and_an_avatar_are_told_by_their_published_names():
    assert identify(json.loads((KEYS / "hunyuan_vae_keys.json").read_text())) is VIDEO_VAE
    assert identify(json.loads((KEYS / "avatar_keys.json").read_text())) is AVATAR_TRANSFORMER


# --- the audio VAE


def test_the_published_layout_of_the_vae_decodes_as_recorded(goldens):
    sidecar = json.loads((goldens / "foley" / "dac_tiny_a.json").read_text())
    tensors = load_file(goldens / "foley" / "dac_tiny_a.safetensors")
    vae = load_audio_vae(goldens / "foley" / "dac_tiny_checkpoint.pth")
    with torch.no_grad():
        audio = vae.decode(tensors["case1.in.latents"])
    tolerance = sidecar["suggested_tolerance"]["audio"]
    torch.testing.assert_close(audio, tensors["case1.out.audio"], rtol=0, **tolerance)


def vae_weights(goldens: Path) -> dict[str, Tensor]:
    return dict(torch.load(goldens / "foley" / "dac_tiny_checkpoint.pth", weights_only=True)["state_dict"])


def renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The newer form of weight norm."""
    new = ".parametrizations.weight.original"
    return {n.replace(".weight_g", f"{new}0").replace(".weight_v", f"{new}1"): t for n, t in weights.items()}


def test_every_form_of_the_vae_gives_the_same_network(tmp_path, goldens):
    published = load_audio_vae(goldens / "foley" / "dac_tiny_checkpoint.pth", "both")
    files = {
        "bare.pth": vae_weights(goldens),
        "new.safetensors": renamed(vae_weights(goldens)),
        "fused.safetensors": published.state_dict(),
    }
    for name, weights in files.items():
        vae = load_audio_vae(write(tmp_path / name, weights), "both")
        assert vae.config == published.config
        for key, value in vae.state_dict().items():
            torch.testing.assert_close(value, published.state_dict()[key])


def test_a_decoder_leaves_the_encoder_unread_but_a_whole_vae_needs_it(tmp_path, goldens):
    weights = {n: t for n, t in vae_weights(goldens).items() if not n.startswith(("encoder.", "quant_conv."))}
    path = write(tmp_path / "decoder.safetensors", weights)
    assert not any(n.startswith("encoder.") for n in load_audio_vae(path).state_dict())
    assert "encoder.block.0" in refusal(lambda p: load_audio_vae(p, "both"), path)


def test_a_half_precision_vae_is_folded_in_float32(tmp_path, goldens):
    weights = {n: t.half() for n, t in vae_weights(goldens).items()}
    vae = load_audio_vae(write(tmp_path / "half.safetensors", weights))
    g, v = (weights[f"decoder.model.0.weight_{part}"].double() for part in "gv")
    expected = g * v / v.flatten(1).norm(dim=1)[:, None, None]
    assert vae.state_dict()["decoder.model.0.weight"].dtype == torch.float32
    torch.testing.assert_close(
        vae.state_dict()["decoder.model.0.weight"].double(), expected, atol=1e-6, rtol=1e-6
    )


DECODER_TENSORS = [
    f"{layer}.{part}"
    for layer in ("decoder.model.0", "decoder.model.2.block.1", "decoder.model.3.block.4.block.3")
    for part in ("weight_g", "weight_v", "bias")
] + ["post_quant_conv.weight", "decoder.model.1.block.0.alpha"]


@pytest.mark.parametrize("name", DECODER_TENSORS)
def test_each_fault_of_a_decoder_tensor_is_named(tmp_path, goldens, name):
    path, weights = tmp_path / "vae.safetensors", vae_weights(goldens)
    write(path, {n: t for n, t in weights.items() if n != name})
    assert name in refusal(load_audio_vae, path)
    write(path, weights | {name: torch.zeros(*weights[name].shape, 2)})
    refusal(load_audio_vae, path)
    write(path, weights | {name: weights[name].long()})
    refusal(load_audio_vae, path)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"decoder_dim": "many", "decoder_rates": [4, 3, 2], "encoder_rates": [2, 3, 4]},
        {"decoder_rates": None},
        {"decoder_rates": [4, 3, "2"]},
        {"decoder_rates": [1, 24], "encoder_rates": [24, 1]},
        {"decoder_dim": 96, "decoder_rates": [4, 3, 2], "encoder_rates": [2, 3, 4]},
        {"decoder_rates": [-4, -3, 2], "encoder_rates": [2, 3, 4]},
    ],
)
def test_arguments_that_lie_about_the_tensors_are_refused(tmp_path, goldens, kwargs):
    path = tmp_path / "vae.pth"
    torch.save({"state_dict": vae_weights(goldens), "metadata": {"kwargs": kwargs}}, path)
    refusal(load_audio_vae, path)


def test_every_published_tensor_of_the_vae_is_needed_and_known():
    from pack.hunyuan.foley.audio_vae import published_shapes

    shapes = json.loads((KEYS / "dac_vae_keys.json").read_text())
    vae = AudioVAE(AudioVAEConfig.from_shapes(shapes), part="both", device="meta")
    assert {n: list(s) for n, s in published_shapes(vae).items()} == shapes


# --- Synchformer


def test_the_sync_encoder_is_the_visual_branch_of_a_complete_file(tmp_path):
    weights = synchformer_weights()
    path = write(tmp_path / "synchformer.safetensors", weights, HEADS)
    encoder, whole = load_sync_encoder(path), load_synchformer(path)
    assert encoder.config == VISUAL
    assert whole.config == SYNCHFORMER
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, weights[f"vfeat_extractor.{name}"])


def test_the_visual_branch_alone_is_enough_for_the_sync_encoder(tmp_path):
    weights = {n: t for n, t in synchformer_weights().items() if n.startswith("vfeat_extractor.")}
    path = write(tmp_path / "visual.safetensors", weights, {"num_heads": 3})
    assert load_sync_encoder(path).config == VISUAL
    assert "aproj.weight" in refusal(load_synchformer, path)


def test_other_branches_are_ignored_by_statement_not_by_laxness(tmp_path):
    weights = synchformer_weights() | {"another.weight": torch.zeros(1)}
    path = write(tmp_path / "synchformer.safetensors", weights, HEADS)
    assert "no tensor named another.weight" in refusal(load_sync_encoder, path)
    weights = synchformer_weights() | {"vfeat_extractor.extra": torch.zeros(1)}
    path = write(tmp_path / "synchformer.safetensors", weights, HEADS)
    assert "no tensor named vfeat_extractor.extra" in refusal(load_sync_encoder, path)


@pytest.mark.parametrize("name", VISUAL_TENSORS)
def test_each_missing_tensor_of_the_sync_encoder_is_named(tmp_path, name):
    weights = synchformer_weights()
    del weights[name]
    assert name in refusal(load_sync_encoder, write(tmp_path / "synchformer.safetensors", weights, HEADS))


def test_heads_that_are_no_number_are_refused(tmp_path):
    path = write(tmp_path / "synchformer.safetensors", synchformer_weights(), {"visual_heads": "three"})
    assert "visual_heads is 'three'" in refusal(load_sync_encoder, path)


def test_every_published_tensor_of_synchformer_is_needed_and_known():
    shapes = json.loads((KEYS / "synchformer_full_keys.json").read_text())
    synchformer = Synchformer(SynchformerConfig.from_shapes(shapes), device="meta")
    assert {n: list(t.shape) for n, t in synchformer.state_dict().items()} == shapes
