"""What training leaves behind is what the pack's own loaders read."""

from dataclasses import replace

import pytest
import torch
from pack.hunyuan.foley.audio_vae import AudioVAE, AudioVAEConfig
from pack.hunyuan.foley.config import FoleyConfig
from pack.hunyuan.foley.desync import SynchformerConfig
from pack.hunyuan.foley.sync_encoder import SyncEncoderConfig
from pack.model_loaders.encoders import load_text_encoder, load_visual_encoder
from pack.model_loaders.foley import load_audio_vae, load_synchformer, load_transformer
from pack.model_loaders.foley_folder import find_foley
from pack.training import audio_vae, clips, export, synchformer, towers, transformer
from pack.training.initial import initialise
from pack.training.loop import Plan, Training
from safetensors.torch import save_file

WIDTH = 16
TINY = {"hidden_size": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 4}
VAE = AudioVAEConfig(encoder_dim=2, encoder_rates=(8, 4, 6, 5), decoder_dim=32, decoder_rates=(5, 6, 4, 8))
SYNC = SynchformerConfig(
    hidden_size=WIDTH,
    visual=SyncEncoderConfig(hidden_size=WIDTH, depth=1, num_heads=4, image_size=32, mlp_ratio=1.0),
    audio_depth=1, audio_heads=4, audio_mlp_size=WIDTH, depth=1, num_heads=4, mlp_size=WIDTH,
)  # fmt: skip
FOLEY = FoleyConfig(
    hidden_size=16, num_heads=2, joint_depth=1, audio_depth=1, mlp_ratio=1.0,
    text_size=WIDTH, visual_size=WIDTH, sync_size=WIDTH,
)  # fmt: skip


@pytest.fixture
def sizes(monkeypatch):
    monkeypatch.setattr(audio_vae, "CONFIG", VAE)
    monkeypatch.setattr(synchformer, "CONFIG", SYNC)
    monkeypatch.setattr(transformer, "CONFIG", FOLEY)
    monkeypatch.setattr(audio_vae, "MISSED_SOUNDS", 1)
    monkeypatch.setattr(audio_vae, "LATENTS", 6)
    for name in ("SIGLIP", "CLAP"):
        monkeypatch.setattr(towers, name, getattr(towers, name) | TINY)


def leave(network, folder):
    """As a run would that has not got far."""
    Training(initialise(network, 0), None, None, Plan(steps=1), folder).save()


@pytest.fixture
def runs(tmp_path, sizes):
    torch.manual_seed(0)
    folder = tmp_path / "runs"
    leave(audio_vae.new_vae(0, 0.1 * torch.randn(4, 19_200), VAE), folder / "audio_vae")
    leave(synchformer.SegmentLearner(SYNC), folder / "synchformer")
    leave(towers.VisionLearner(towers.SIGLIP), folder / "towers" / "siglip2")
    leave(towers.TextLearner(towers.CLAP), folder / "towers" / "clap")
    leave(transformer.TransformerLearner(FOLEY, 6, aligned=True), folder / "transformer")
    return folder


def test_every_exported_file_is_found_and_loads_strictly(runs, tmp_path):
    rendered, out = tmp_path / "clips", tmp_path / "pocket"
    (runs / "audio_vae" / audio_vae.OUTLINED).mkdir()  # begun, but without a state yet
    clips.render(rendered, "train", 0, 1)
    export.export(runs, rendered, out)

    files = find_foley(out)
    foley = load_transformer(files.transformer)
    assert foley.config == replace(FOLEY)
    assert foley.final_layer.linear.weight.dtype == torch.bfloat16
    assert load_audio_vae(files.audio_vae, "both").config == VAE
    assert load_synchformer(files.synchformer).config == SYNC
    assert load_visual_encoder(files.visual_encoder).image_size == towers.FRAME_SIZE
    assert load_text_encoder(files.text_encoder).encode("", "rain")[1].shape == (1, 6, WIDTH)


def test_what_has_no_run_is_left_alone(runs, tmp_path):
    out = tmp_path / "pocket"
    export.export(runs / "towers", tmp_path, out)
    assert not out.exists()


def test_the_decoders_run_has_the_last_word_on_the_autoencoder(runs, tmp_path):
    vae = AudioVAE(VAE, part="both")
    leave(vae, runs / "decoder")
    export.export(runs, None, tmp_path / "pocket")  # no clips are needed: its latents have their scale
    written = load_audio_vae(tmp_path / "pocket" / "audio_vae.safetensors", "both").state_dict()
    for name, tensor in vae.state_dict().items():
        assert torch.equal(written[name], tensor.half().float()), name


def test_the_transformer_may_be_a_mean_of_the_run_and_of_what_is_there(runs, tmp_path):
    out = tmp_path / "pocket"
    path = out / "transformer.safetensors"
    alone = runs.with_name("alone")
    leave(transformer.TransformerLearner(FOLEY, 6, aligned=False), alone / "transformer")
    for share in (1.0, 0.25):
        export.export(alone, None, out, share)  # the same weights: of itself it is a mean, whatever the share
    same = load_transformer(path).state_dict()
    other = {name: tensor + 1 for name, tensor in same.items()}
    save_file(other, path, {"format": "pt"})
    export.export(alone, None, out, 0.25)
    for name, tensor in load_transformer(path).state_dict().items():
        torch.testing.assert_close(tensor.float(), same[name].float() + 0.75, atol=0.02, rtol=0.02)
