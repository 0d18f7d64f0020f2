"""Loader nodes: the right network, in the right number format, or a sentence that says what is wrong."""

import pytest
import torch
from pack import nodes


def dtypes(module) -> set[torch.dtype]:
    return {parameter.dtype for parameter in module.parameters()}


@pytest.mark.parametrize(
    ("weight_dtype", "dtype"),
    [("default", torch.float32), ("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_weights_are_held_in_the_chosen_format(run, monkeypatch, weight_dtype, dtype):
    monkeypatch.setenv("HUNYUAN_AV_DEVICE", "cpu")
    model = run(nodes.FoleyModelLoader, weight_dtype=weight_dtype)
    assert dtypes(model.patcher.model) == {dtype}


def test_half_precision_makes_nearly_the_same_sound(run, model, conditioning):
    positive, negative, latent = conditioning
    inputs = {"positive": positive, "negative": negative, "latent": latent, "steps": 3}
    half = run(nodes.FoleyModelLoader, weight_dtype="bf16")
    full_sound, half_sound = (run(nodes.FoleySampler, model=m, **inputs)["samples"] for m in (model, half))
    assert half_sound.dtype == torch.float32
    assert 0 < (half_sound - full_sound).norm() / full_sound.norm() < 0.05


@pytest.mark.parametrize(
    ("weight_dtype", "stored"),
    [("fp8_e4m3fn", torch.float8_e4m3fn), ("fp8_e5m2", torch.float8_e5m2), ("int8", torch.int8)],
)
def test_eight_bits_are_stored_and_make_nearly_the_same_sound(
    run, monkeypatch, model, conditioning, weight_dtype, stored
):
    monkeypatch.setenv("HUNYUAN_AV_DEVICE", "cpu")
    small = run(nodes.FoleyModelLoader, weight_dtype=weight_dtype)
    assert dtypes(small.patcher.model) == {torch.float32, stored}
    positive, negative, latent = conditioning
    inputs = {"positive": positive, "negative": negative, "latent": latent, "steps": 3}
    full_sound, sound = (run(nodes.FoleySampler, model=m, **inputs)["samples"] for m in (model, small))
    assert 0 < (sound - full_sound).norm() / full_sound.norm() < 0.2


def test_the_decoder_alone_is_smaller(run, vae):
    decoder = run(nodes.FoleyVAELoader, part="decoder")
    names = set(dict(decoder.patcher.model.named_parameters()))
    assert names < set(dict(vae.patcher.model.named_parameters()))
    assert not any(name.startswith("encoder.") for name in names)


def test_one_patcher_holds_both_video_encoders(video_encoder):
    held = set(video_encoder.patcher.model.parameters())
    assert held == {*video_encoder.visual.parameters(), *video_encoder.sync.parameters()}


def test_encoders_are_read_with_the_config_beside_them(clip, video_encoder):
    assert clip.cond_stage_model.text_model.config.num_attention_heads == 4
    assert video_encoder.visual.vision_model.config.num_attention_heads == 4


@pytest.mark.parametrize(
    ("node", "inputs"),
    [
        (nodes.FoleyModelLoader, {"model_file": "absent.pth"}),
        (nodes.FoleyModelLoader, {"model_file": "pocket/foley/audio_vae.safetensors"}),
        (nodes.FoleyVAELoader, {"vae_file": "../../../etc/passwd"}),
        (nodes.FoleyVideoEncoderLoader, {"synchformer_file": "/etc/passwd"}),
    ],
)
def test_only_files_that_are_offered_are_opened(run, node, inputs):
    with pytest.raises(FileNotFoundError, match=r"There is no .* in models/"):
        run(node, **inputs)


def test_a_file_of_another_network_is_sent_to_its_own_loader(run, tmp_path, monkeypatch):
    from pack.host.model_files import PACK
    from pack.host.standalone import folder_paths

    folder_paths.folder_names_and_paths["vae"][0].append(str(PACK / "pocket"))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    try:
        with pytest.raises(ValueError, match=r"is not a Foley audio VAE.*Foley Model Loader"):
            run(nodes.FoleyVAELoader, vae_file="foley/transformer.safetensors")
    finally:
        folder_paths.folder_names_and_paths["vae"][0].pop()
