"""Every network's objective in tiny form: twenty steps lower the loss, and a stopped run goes on exactly."""

from dataclasses import replace

import pytest
import torch
from pack.hunyuan.foley.audio_vae import AudioVAEConfig
from pack.hunyuan.foley.config import FoleyConfig
from pack.hunyuan.foley.desync import SynchformerConfig
from pack.hunyuan.foley.sync_encoder import SyncEncoderConfig
from pack.training import (
    audio_teacher,
    audio_vae,
    clips,
    decoder,
    outline,
    sync_reader,
    synchformer,
    towers,
    transformer,
)
from pack.training.initial import initialise
from pack.training.loop import Plan, Training, trained_weights
from pack.training.objective import Alignment
from safetensors.torch import save_file

WIDTH = 16
TINY = {"hidden_size": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2}
SIGLIP, CLAP = towers.SIGLIP | TINY | {"patch_size": 28}, towers.CLAP | TINY | {"projection_dim": WIDTH}
SYNC = SynchformerConfig(
    hidden_size=WIDTH,
    visual=SyncEncoderConfig(
        hidden_size=WIDTH, depth=1, num_heads=2, image_size=112, patch_size=28, mlp_ratio=1.0
    ),
    audio_depth=1, audio_heads=2, audio_mlp_size=WIDTH, depth=1, num_heads=2, mlp_size=WIDTH,
)  # fmt: skip
FOLEY = FoleyConfig(
    hidden_size=16, num_heads=2, joint_depth=1, audio_depth=2, mlp_ratio=1.0,
    latent_channels=outline.CHANNELS, text_size=WIDTH, visual_size=WIDTH, sync_size=WIDTH,
)  # fmt: skip
VAE = AudioVAEConfig(encoder_dim=2, encoder_rates=(8, 4, 6, 5), decoder_dim=32, decoder_rates=(5, 6, 4, 8))
PLAN = Plan(steps=20, learning_rate=5e-3, matrix_rate=0.02, warmup=1, decay=0.05, average=0.5, mixed=False)
STEPS, STOPPED, ON = 20, 4, 3  # in all, when the second run stops, how long it goes on


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    clips.render(folder, "train", 0, 3)
    return clips.Clips(folder)


class CachedFeatures:
    """As `Features`, of random numbers that depend on each other."""

    teacher_centre = torch.zeros(6)

    def deviations(self):
        return torch.ones(outline.CHANNELS)

    def __len__(self):
        return 5

    def whole(self, clip):
        drawn = self.draw(torch.Generator().manual_seed(clip))
        return {"sync": drawn["sync"][0], "latents": drawn["latents"][0]}

    def some_sync(self):
        return self.draw(torch.Generator().manual_seed(9))["sync"].flatten(0, 1)

    def draw(self, generator):
        sync = torch.randn(4, 16, WIDTH, generator=generator)
        latents = sync[..., : outline.CHANNELS].repeat_interleave(2, dim=1).mT
        return {
            "latents": latents,
            "teacher": latents[:, :6].mT,
            "sync": sync,
            "visual": torch.randn(4, 5, WIDTH, generator=generator),
            "text": torch.randn(4, 7, WIDTH, generator=generator),
            "drop_video": torch.rand(4, generator=generator) < 0.1,
        }


def vae_run(folder, rendered, monkeypatch):
    monkeypatch.setattr(audio_vae, "BATCH", 2)
    monkeypatch.setattr(audio_vae, "LATENTS", 6)
    monkeypatch.setattr(audio_vae, "FIRST_BATCHES", 2)
    return spoiled(audio_vae.training(folder, rendered, replace(PLAN, learning_rate=1e-3), VAE))


def spoiled(run: Training) -> Training:
    """Away from where it starts, which is so good that twenty hasty steps only lose it."""
    for parameter in run.network.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return run


def outline_run(folder, rendered, monkeypatch):
    monkeypatch.setattr(audio_vae, "CONFIG", VAE)
    monkeypatch.setattr(audio_vae, "MISSED_SOUNDS", 1)
    vae_run(folder, rendered, monkeypatch).save()
    return spoiled(audio_vae.outline_training(folder, rendered, replace(PLAN, learning_rate=1e-3)))


def decoder_run(folder, rendered, monkeypatch):
    monkeypatch.setattr(decoder, "ROWS", 2)
    vae = audio_vae.new_vae(0, torch.cat([rendered.sound(i, samples=9600)[None] for i in range(3)]), VAE)
    sounds = torch.stack([rendered.sound(i, samples=57_600) for i in range(3)])
    with torch.no_grad():
        latents = vae.encode(sounds[:, None]).mean.contiguous()
    latents[:, -outline.CHANNELS :] = outline.outline_latents(sounds)
    made = latents + 0.1 * torch.randn(latents.shape, generator=torch.Generator().manual_seed(1))
    kept = folder.parent / "generated"
    if not kept.exists():
        kept.mkdir()
        save_file({"waveform": sounds, "latents": latents, "made": made}, kept / "train-0.safetensors")
    return spoiled(decoder.training(folder, decoder.Generated(kept), replace(PLAN, learning_rate=1e-3), vae))


def segment_run(folder, rendered, monkeypatch):
    monkeypatch.setattr(synchformer, "CLIPS_PER_BATCH", 1)
    return synchformer.training(folder, rendered, PLAN, SYNC)


def offset_run(folder, rendered, monkeypatch):
    monkeypatch.setattr(synchformer, "OFFSET_BATCH", 8)
    features = {
        "visual": torch.randn(2, 24, 8, WIDTH, generator=torch.Generator().manual_seed(1)),
        "audio": torch.randn(2, 185, 6, WIDTH, generator=torch.Generator().manual_seed(2)),
    }
    network = synchformer.new_learner(SYNC, 0).synchformer
    return synchformer.offset_training(folder, network, features, PLAN)


def vision_run(folder, rendered, monkeypatch):
    monkeypatch.setattr(towers, "VISION_BATCH", 3)
    return towers.vision_training(folder, rendered, PLAN, SIGLIP)


def text_run(folder, rendered, monkeypatch):
    monkeypatch.setattr(towers, "TEXT_BATCH", 4)
    monkeypatch.setattr(towers, "TEXT_LATENTS", 20)
    return towers.text_training(folder, rendered, PLAN, CLAP)


def teacher_run(folder, rendered, monkeypatch):
    monkeypatch.setattr(audio_teacher, "BATCH", 4)
    monkeypatch.setattr(audio_teacher, "LATENTS", 40)
    monkeypatch.setattr(audio_teacher, "WIDTH", WIDTH)
    return audio_teacher.training(folder, rendered, PLAN)


def transformer_run(folder, rendered, monkeypatch):
    reading = replace(PLAN, steps=2)
    return transformer.training(folder, CachedFeatures(), PLAN, Alignment(block=0), FOLEY, reading)


def reader_run(folder, rendered, monkeypatch):
    free = transformer.directions(FOLEY, 0)[1]
    return sync_reader.training(folder, CachedFeatures(), FOLEY, free, replace(PLAN, matrix_rate=0.0))


@torch.no_grad()
@pytest.mark.parametrize(("centre", "deviation"), [(0.0, 1.0), (30.0, 20.0)])
def test_the_transformer_begins_by_letting_the_noise_through_whatever_is_seen(centre, deviation):
    """Sync features that drown the latents, or are in their way, are silenced before they are understood."""
    network = initialise(transformer.TransformerLearner(FOLEY, 6, False), 0).transformer
    generator = torch.Generator().manual_seed(1)
    sync = centre + deviation * torch.randn(400, WIDTH, generator=generator)
    directions, free = transformer.directions(FOLEY, 0)
    reader = sync_reader.new_reader(FOLEY, free, 0)
    transformer.begin_passing(network, reader, sync, directions)

    noise = torch.randn(2, outline.CHANNELS, 40, generator=generator)
    text, visual = (torch.randn(2, n, WIDTH, generator=generator) for n in (5, 4))
    seen = sync[:32].reshape(2, 16, WIDTH)
    prepared = network.prepare(text, visual, seen)
    made = network(noise, torch.full((2,), 900.0), prepared)
    assert torch.corrcoef(torch.stack([made.flatten(), noise.flatten()]))[0, 1] > 0.9
    # What the transformer adds is what the reader gives, in the directions that it looks at.
    given = reader((seen - sync.mean(0)) / sync.std())
    added = prepared.sync @ free
    assert torch.corrcoef(torch.stack([given.flatten(), added.flatten()]))[0, 1] > 0.999


def test_the_reader_tells_the_parts_of_a_segment_apart():
    waves = sync_reader.part_waves(16)
    assert torch.allclose(waves[:8], waves[8:], atol=1e-5)
    assert torch.allclose(
        waves[:8] @ waves[:8].T, 8 * torch.eye(8) - 1, atol=1e-5
    )  # all as far from each other

    reader = sync_reader.new_reader(FOLEY, transformer.directions(FOLEY, 0)[1], 0)
    sync = torch.randn(2, 16, WIDTH, generator=torch.Generator().manual_seed(1))
    batch = {"sync": sync, **sync_reader.around_tokens(torch.zeros(2, 32, 9), 16)}
    sync_reader.objective(reader, batch, torch.Generator())["part"].backward()
    assert reader.places.grad is not None
    assert reader.places.grad.abs().max() > 0


def test_outlines_around_tokens_lie_where_the_token_shows_and_where_it_is_heard():
    outlines = torch.arange(48.0)[None, :, None].expand(1, 48, 9)
    found = sync_reader.around_tokens(outlines, 16)
    for token, shown, heard in ((3, 12, 9), (11, 28, 33)):
        at_shown = found["shown"][0, token].reshape(len(sync_reader.SHOWN), 9)[:, 0]
        at_heard = found["heard"][0, token].reshape(len(sync_reader.HEARD), 9)[:, 0]
        assert at_shown.tolist() == [shown + i for i in sync_reader.SHOWN]
        assert at_heard.tolist() == [heard + i for i in sync_reader.HEARD]


@torch.no_grad()
def loss_of_first_steps(training: Training) -> float:
    """Of the batches of the first five, with the weights as they are: batches differ more than weights do."""
    total = 0.0
    for step in range(5):
        generator = PLAN.generator(step)
        total += float(training.objective(training.network, training.draw(generator), generator)["loss"])
    return total


RUNS = [
    vae_run,
    outline_run,
    decoder_run,
    segment_run,
    offset_run,
    vision_run,
    text_run,
    teacher_run,
    reader_run,
    transformer_run,
]


@pytest.mark.parametrize("make", RUNS)
def test_twenty_steps_lower_the_loss_and_a_stopped_run_goes_on_bit_for_bit(
    make, tmp_path, rendered, monkeypatch
):
    whole = make(tmp_path / "whole", rendered, monkeypatch)
    at_first = loss_of_first_steps(whole)
    losses = [whole.advance()["loss"] for _ in range(STOPPED + ON)]
    whole.save()
    for _ in range(STEPS - len(losses)):
        whole.advance()
    assert loss_of_first_steps(whole) < at_first

    make(tmp_path / "stopped", rendered, monkeypatch).run(until=STOPPED)
    resumed = make(tmp_path / "stopped", rendered, monkeypatch)
    resumed.resume()
    assert resumed.step == STOPPED
    assert [resumed.advance()["loss"] for _ in range(ON)] == losses[STOPPED : STOPPED + ON]
    resumed.save()
    expected = trained_weights(tmp_path / "whole")
    for name, weight in trained_weights(tmp_path / "stopped").items():
        assert torch.equal(weight, expected[name]), name
