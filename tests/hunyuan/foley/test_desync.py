"""Synchformer's audio branch and offset transformer against published tensors, numpy, and other libraries."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.hunyuan.foley.desync import (
    CROP_SAMPLES,
    OffsetBlock,
    Synchformer,
    SynchformerConfig,
    class_grid,
    desync_score,
)
from pack.hunyuan.foley.sync_audio import (
    SpectrogramTransformer,
    audio_segments,
    mel_bands,
    mel_spectrogram,
    normalised_log_mel,
)
from pack.hunyuan.foley.sync_encoder import SyncEncoderConfig
from pack.hunyuan.layers.attention import attention
from safetensors.torch import load_file
from torch import Tensor, nn

KEYS = Path(__file__).parents[2] / "keys"
TINY = SynchformerConfig(
    hidden_size=24, visual=None, audio_depth=2, audio_heads=3, audio_mlp_size=40,
    depth=2, num_heads=2, mlp_size=48,
)  # fmt: skip
WITH_EYES = SynchformerConfig(
    hidden_size=24, audio_depth=1, audio_heads=3, audio_mlp_size=40, depth=1, num_heads=2, mlp_size=48,
    visual=SyncEncoderConfig(hidden_size=24, depth=1, num_heads=4, patch_size=4, image_size=12),
)  # fmt: skip


def randomised(network: nn.Module, std: float = 0.3) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data.normal_(std=std, generator=generator)
    return network.eval().requires_grad_(False)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def synchformer() -> Synchformer:
    return randomised(Synchformer(TINY))


def recorded(sidecar: Path) -> tuple[Synchformer, dict[str, Tensor], dict]:
    facts = json.loads(sidecar.read_text())
    tensors = load_file(sidecar.with_name(facts["file"]))
    weights = {name.removeprefix("weights."): t for name, t in tensors.items() if name.startswith("weights.")}
    config = SynchformerConfig.from_shapes(
        {name: tensor.shape for name, tensor in weights.items()},
        num_heads=facts["config"]["transformer_heads"],
        audio_heads=facts["config"]["ast_heads"],
    )
    network = Synchformer(config, device="meta")
    network.load_state_dict(weights, assign=True)
    return network.requires_grad_(False), tensors, facts


def test_published_tensors_are_reproduced(goldens):
    sidecars = sorted((goldens / "foley").glob("desync_*.json"))
    assert sidecars
    for sidecar in sidecars:
        network, tensors, facts = recorded(sidecar)
        sound, visual = tensors["case0.in.waveform_16k"], tensors["case0.in.visual_features"].flatten(1, 2)
        mel = mel_spectrogram(audio_segments(sound)[0])
        audio = network.afeat_extractor(sound)
        offsets = network.offsets(visual, sound)
        groups = facts["suggested_tolerance"]
        for name, found, tolerance in (
            ("mid.mel_segment0", mel[:1], groups["mel"]),
            ("mid.normalised_logmel_segment0_and_last", normalised_log_mel(mel)[[0, -1]], groups["mel"]),
            ("out.audio_features", audio.unflatten(1, (-1, 6)), groups["audio_features and logits"]),
            (
                "out.logits_first14",
                network(visual[:, :112], audio[:, :84]),
                groups["audio_features and logits"],
            ),
            (
                "out.logits_last14",
                network(visual[:, -112:], audio[:, -84:]),
                groups["audio_features and logits"],
            ),
            ("extra.class_grid", class_grid(), {"atol": 1e-6}),
        ):
            torch.testing.assert_close(found, tensors[f"case0.{name}"], **{"rtol": 0.0, **tolerance})
        assert offsets.abs()[0].tolist() == pytest.approx(facts["per_crop"], abs=1e-6)
        assert desync_score(offsets).item() == pytest.approx(facts["desync_of_this_pair"], abs=1e-6)


def test_names_and_shapes_are_those_of_the_published_file():
    published = json.loads((KEYS / "synchformer_full_keys.json").read_text())
    found = {name: list(tensor.shape) for name, tensor in Synchformer(device="meta").state_dict().items()}
    assert len(found) == 513
    assert found == published


@pytest.mark.parametrize("config", [TINY, WITH_EYES])
def test_sizes_are_read_from_the_shapes(config):
    shapes = {name: tensor.shape for name, tensor in Synchformer(config, device="meta").state_dict().items()}
    assert SynchformerConfig.from_shapes(shapes, num_heads=2, audio_heads=3, visual_heads=4) == config


def test_published_heads_need_not_be_stated():
    shapes = {name: tensor.shape for name, tensor in Synchformer(device="meta").state_dict().items()}
    assert SynchformerConfig.from_shapes(shapes) == SynchformerConfig()


def test_mel_bands_are_triangles_over_equal_steps_in_mel():
    top = 2595 * np.log10(1 + 8000 / 700)
    edges = [700 * (10 ** (top * i / 129 / 2595) - 1) for i in range(130)]
    bins = 8000 * np.arange(513) / 512
    expected = [np.interp(bins, edges[i : i + 3], [0, 1, 0], left=0, right=0) for i in range(128)]
    np.testing.assert_allclose(mel_bands().numpy(), np.stack(expected, axis=1), atol=1e-6)


def test_mel_spectrogram_is_the_windowed_power_of_each_frame():
    segment = noise(10240).double().numpy()
    padded = np.pad(segment, 512, mode="reflect")
    window = np.zeros(1024)
    window[312:712] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.stack([padded[160 * i : 160 * i + 1024] * window for i in range(65)])
    expected = mel_bands().numpy().T @ (np.abs(np.fft.rfft(frames)) ** 2).T
    found = mel_spectrogram(torch.from_numpy(segment)[None])[0]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-3)


def test_silence_and_padding_look_different_to_the_network():
    log_mel = normalised_log_mel(torch.zeros(1, 128, 65))
    assert log_mel.shape == (1, 128, 66)
    assert log_mel[0, :, -1].tolist() == pytest.approx([4.2677393 / 9.1379948] * 128)
    assert log_mel[0, :, 0].tolist() == pytest.approx([(np.log(1e-6) + 4.2677393) / 9.1379948] * 128)


def test_mel_spectrogram_is_float32_under_autocast():
    segments = noise(2, 10240) * 100
    expected = mel_spectrogram(segments)
    with torch.autocast("cpu", torch.bfloat16):
        assert mel_spectrogram(segments).equal(expected)


NAMES_SINCE_TRANSFORMERS_5 = {
    "encoder.layer.": "layers.",
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}


def in_their_words(name: str) -> str:
    for ours, theirs in NAMES_SINCE_TRANSFORMERS_5.items():
        name = name.replace(ours, theirs)
    return name


@pytest.mark.parametrize("std", [0.3, 1e-6])  # the smaller shows the layer norms' epsilon
def test_spectrogram_transformer_is_that_of_transformers(std):
    from transformers import ASTConfig, ASTModel

    sizes = {"hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 40, "num_hidden_layers": 2}
    theirs = ASTModel(ASTConfig(**sizes, max_length=66)).double().eval()
    ours = randomised(SpectrogramTransformer(24, 2, 3, 40, attention=attention, dtype=torch.float64), std)
    weights = ours.state_dict()
    if "layers.0.layernorm_before.weight" in theirs.state_dict():
        weights = {in_their_words(name): tensor for name, tensor in weights.items()}
    theirs.load_state_dict(weights)

    log_mel = noise(2, 128, 66).double()
    with torch.no_grad():
        expected = theirs(log_mel.mT).last_hidden_state
    torch.testing.assert_close(ours(log_mel), expected, atol=0, rtol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1e-3])  # the smaller shows the layer norms' epsilon
def test_offset_block_is_a_plain_pre_norm_layer(scale):
    ours = randomised(OffsetBlock(TINY, attention=attention, dtype=torch.float64))
    theirs = nn.TransformerEncoderLayer(
        24, 2, 48, 0.0, "gelu", 1e-5, batch_first=True, norm_first=True, dtype=torch.float64
    )
    weights = ours.state_dict()
    for kind in ("weight", "bias"):
        packed = torch.cat([weights.pop(f"attn.{part}.{kind}") for part in ("query", "key", "value")])
        weights[f"self_attn.in_proj_{kind}"] = packed
    names = {
        "attn.proj": "self_attn.out_proj",
        "ln1": "norm1",
        "ln2": "norm2",
        "mlp.0": "linear1",
        "mlp.2": "linear2",
    }
    for ours_name, theirs_name in names.items():
        for kind in ("weight", "bias"):
            weights[f"{theirs_name}.{kind}"] = weights.pop(f"{ours_name}.{kind}")
    theirs.load_state_dict(weights)

    x = noise(3, 198, 24).double() * scale
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))


def test_layer_norms_have_the_published_epsilons(synchformer):
    for network, expected in (
        (synchformer.transformer, {1e-5}),
        (synchformer.afeat_extractor.ast, {1e-12}),
        (synchformer.afeat_extractor.freq_attn_agg, {1e-6}),
    ):
        assert {layer.eps for layer in network.modules() if isinstance(layer, nn.LayerNorm)} == expected


def test_audio_features_of_a_segment_do_not_depend_on_its_neighbours(synchformer):
    sound = noise(2, 10240 + 5 * 5120 + 100)
    together = synchformer.afeat_extractor(sound)
    assert together.shape == (2, 6 * 6, 24)
    alone = [synchformer.afeat_extractor(sound[:, 5120 * i : 5120 * i + 10240]) for i in range(6)]
    torch.testing.assert_close(together, torch.cat(alone, dim=1), atol=1e-4, rtol=1e-4)


@settings(max_examples=8, deadline=None)
@given(visual=st.integers(14, 40), audio=st.integers(14, 40), rest=st.integers(0, 5119))
def test_offsets_are_read_from_the_first_and_last_segments_that_both_have(synchformer, visual, audio, rest):
    features, sound = noise(2, 8 * visual, 24), noise(2, 10240 + 5120 * (audio - 1) + rest)
    last = min(visual, audio) - 14
    expected = [
        class_grid()[synchformer(features[:, 8 * i : 8 * i + 112], heard).argmax(-1)]
        for i in (0, last)
        for heard in [synchformer.afeat_extractor(sound[:, 5120 * i : 5120 * i + CROP_SAMPLES])]
    ]
    assert synchformer.offsets(features, sound).equal(torch.stack(expected, dim=1))


def test_features_in_half_precision_go_with_sound_in_float32():
    network = randomised(Synchformer(TINY, dtype=torch.bfloat16))
    sound = noise(1, 76_800)
    assert network.afeat_extractor(sound, torch.bfloat16).dtype == torch.bfloat16
    assert network.offsets(noise(1, 14 * 8, 24).bfloat16(), sound).dtype == torch.float32


def test_the_shortest_clip_is_compared_as_a_whole(synchformer):
    first, last = synchformer.offsets(noise(1, 14 * 8, 24), noise(1, 76_800))[0]
    assert first == last


@pytest.mark.parametrize(("visual", "samples"), [(13, 76_800), (14, 76_799), (13, 200_000)])
def test_a_clip_under_fourteen_segments_is_refused(synchformer, visual, samples):
    with pytest.raises(
        ValueError, match=r"share 13 segments of 0\.64 s, it needs 14 \(4\.8 s\)\. Use a longer"
    ):
        synchformer.offsets(noise(1, visual * 8, 24), noise(1, samples))


def test_sound_under_one_segment_is_refused(synchformer):
    with pytest.raises(ValueError, match=r"10239 samples at 16000 Hz, it needs 10240 \(0\.64 s\)"):
        synchformer.afeat_extractor(noise(1, 10_239))


def test_the_score_is_the_mean_distance_from_zero():
    assert desync_score(torch.tensor([[-1.0, 1.0], [0.2, -0.6]])).tolist() == pytest.approx([1.0, 0.4])


def test_the_grid_runs_from_two_seconds_before_to_two_seconds_after():
    assert class_grid().tolist() == pytest.approx([-2 + 0.2 * i for i in range(21)], abs=1e-6)


def test_the_visual_branch_is_built_only_when_it_is_configured(synchformer):
    assert not any(name.startswith("vfeat_extractor.") for name in synchformer.state_dict())
    seeing = randomised(Synchformer(WITH_EYES))
    features = seeing.vfeat_extractor(noise(1, 14, 16, 3, 12, 12).clamp(-1, 1))
    assert seeing.offsets(features, noise(1, 76_800)).shape == (1, 2)
