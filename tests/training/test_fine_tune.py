"""Preparation of people's clips, fine-tuning on them, and what comes out of it."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pack.hunyuan.foley.config import XL, FoleyConfig
from pack.hunyuan.foley.transformer import FoleyTransformer
from pack.model_loaders.foley import load_transformer
from pack.model_loaders.foley_folder import POCKET
from pack.model_loaders.lora import add_lora
from pack.training import fine_tune
from pack.training.filters import Filters, signal_to_noise
from pack.training.fine_tune import LORA, PreparedClips, full_training, lora_training, save_result
from pack.training.initial import initialise
from pack.training.loop import Plan
from pack.training.lora import adapt
from pack.training.objective import flow_losses
from pack.training.prepare import REPORT, Encoders, prepare, read_clips
from safetensors import safe_open
from safetensors.torch import save_file

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import merge_lora  # noqa: E402

RATE = 48_000
PLAN = Plan(steps=6, learning_rate=3e-3, warmup=1, mixed=False, log_every=3, save_every=3)


def knocks(seconds: float, every: float = 0.5) -> np.ndarray:
    """(2, samples): decaying bursts of noise, and faint noise between."""
    times = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(0).standard_normal(len(times))
    sound = noise * (0.3 * np.exp(-30 * (times % every)) + 1e-3)
    return np.stack([sound, sound]).astype(np.float32)


def two_shots(i: int, width: int, height: int) -> np.ndarray:
    """A picture that is another one altogether after 60 frames."""
    colours = np.random.default_rng(i >= 60).integers(0, 255, (4, 4, 3), np.uint8)
    return colours.repeat(height // 4, axis=0).repeat(width // 4, axis=1)


def one_shot(i: int, width: int, height: int) -> np.ndarray:
    return two_shots(0, width, height)


@pytest.fixture(scope="session")
def encoders():
    return Encoders.load(POCKET, "cpu")


@pytest.fixture(scope="module")
def cache(tmp_path_factory, encoders):
    from media_clips import write_clip

    folder = tmp_path_factory.mktemp("clips")
    for name in ("a", "b"):
        write_clip(folder / f"{name}.mp4", seconds=2.4, sound=knocks(2.4), picture=one_shot)
        (folder / f"{name}.txt").write_text("knocking on wood\n")
    prepare(read_clips(folder), encoders, folder / "cache", Filters())
    return folder / "cache"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, cache) -> Path:
    """The file of a transformer for the pocket encoders' features, as small as can be."""
    (path, *_) = cache.glob("a-*.safetensors")
    with safe_open(path, framework="pt") as file:
        sizes = {name: file.get_slice(name).get_shape() for name in ("latents", "text", "visual", "sync")}
    config = FoleyConfig(
        hidden_size=16, num_heads=2, joint_depth=1, audio_depth=1, latent_channels=sizes["latents"][0],
        text_size=sizes["text"][1], visual_size=sizes["visual"][1], sync_size=sizes["sync"][1],
    )  # fmt: skip
    path = tmp_path_factory.mktemp("weights") / "transformer.safetensors"
    save_file(initialise(FoleyTransformer(config), 0, zero=()).state_dict(), path)
    return path


@pytest.fixture
def transformer(checkpoint):
    """Gives it anew each time: what learns is changed."""
    return lambda: load_transformer(checkpoint, torch.float32)


# --- what is kept


def test_steady_noise_is_hardly_above_itself():
    noise = np.random.default_rng(1).standard_normal((1, 5 * RATE)).astype(np.float32)
    assert signal_to_noise(noise, RATE) < 1
    assert signal_to_noise(knocks(3.0), RATE) > 20


@pytest.mark.parametrize(
    ("sound", "reason"),
    [
        (knocks(4.0) * 1e-4, "100% silence"),
        (np.random.default_rng(1).standard_normal((1, 3 * RATE)) * 0.1, "above its own noise"),
        (knocks(4.0), None),
    ],
)
def test_a_chunk_is_judged_by_its_sound(sound, reason):
    found = Filters().of_chunk(sound.astype(np.float32), RATE)
    assert found is reason is None or reason in (found or "")


def test_a_low_sample_rate_is_named():
    assert Filters().of_file(48_000) is None
    assert "32000 Hz" in (Filters().of_file(32_000) or "")


def test_the_report_says_what_was_dropped_and_why(tmp_path, clip, encoders):
    folder = tmp_path
    clip("kept.mp4", seconds=2.4, sound=knocks(2.4), picture=one_shot)
    clip("mute.mp4", seconds=2.4)
    clip("silent.mp4", seconds=2.4, picture=one_shot, sound=np.zeros((1, 115_200)))
    (folder / "torn.mp4").write_bytes(b"no video")
    rows = "".join(f"{name}.mp4,a knock\n" for name in ("kept", "mute", "silent", "torn"))
    (folder / "clips.csv").write_text("video,caption\n" + rows)

    report = prepare(read_clips(folder / "clips.csv"), encoders, folder / "cache", Filters())

    assert list(report.kept) == ["kept.mp4 from 0.00 s"]
    assert report.dropped["mute.mp4"] == "no audio stream"
    assert "silence" in report.dropped["silent.mp4 from 0.00 s"]
    assert "torn.mp4" in report.dropped["torn.mp4"]
    assert json.loads((folder / "cache" / REPORT).read_text())["dropped"] == report.dropped


def test_no_chunk_crosses_a_cut(tmp_path, clip, encoders):
    clip("cut.mp4", seconds=5.0, picture=two_shots, sound=knocks(5.0))
    (tmp_path / "cut.txt").write_text("knocks")
    report = prepare(read_clips(tmp_path), encoders, tmp_path / "cache", Filters())
    assert list(report.kept) == ["cut.mp4 from 0.00 s", "cut.mp4 from 2.40 s"]


def test_full_bandwidth_is_marked_in_the_prompt(cache):
    path = next(path for path in cache.glob("a-*.safetensors"))
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["caption"] == "knocking on wood"
        assert file.metadata()["prompt"] == "high-quality, knocking on wood"


def test_what_is_there_is_not_encoded_again(cache, encoders):
    before = {path: path.stat().st_mtime_ns for path in cache.glob("[ab]-*.safetensors")}
    prepare(read_clips(cache.parent), encoders, cache, Filters())
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("video\na.mp4\n", "no column caption"),
        ("video,caption\na.mp4,\n", "line 2: video or caption is empty"),
        ("video,caption\na.mp4,rain\na.mp4,hail\n", "line 3: a.mp4 is there a second time"),
    ],
)
def test_a_table_that_says_too_little_is_named(tmp_path, table, message):
    path = tmp_path / "clips.csv"
    path.write_text(table)
    with pytest.raises(ValueError, match=f"clips.csv.*{message}"):
        list(read_clips(path))


def test_a_video_without_caption_is_named(tmp_path, clip):
    clip("a.mp4")
    with pytest.raises(FileNotFoundError, match=r"a.mp4 has no caption. Write it into a.txt"):
        list(read_clips(tmp_path))


# --- what is learned


def loss_of(transformer, clips) -> float:
    totals = 0.0
    with torch.no_grad():
        for seed in range(4):
            generator = torch.Generator().manual_seed(seed)
            totals += float(flow_losses(transformer, clips.draw(generator), generator)["loss"])
    return totals


def test_a_lora_lowers_the_loss_and_loads_back(tmp_path, cache, transformer):
    clips, adapted = PreparedClips(cache, rows=2), transformer()
    before = loss_of(adapted, clips)
    training = lora_training(adapted, clips, tmp_path, PLAN, rank=4)
    assert loss_of(adapted, clips) == before  # an addition that has learned nothing adds nothing
    training.run()
    learned = loss_of(adapted, clips)
    assert learned < before

    loaded = transformer()
    add_lora(loaded, save_result(training, tmp_path))
    assert abs(loss_of(loaded, clips) - learned) < 1e-4 * learned


def test_a_stopped_training_goes_on_bit_for_bit(tmp_path, cache, transformer):
    clips = PreparedClips(cache, rows=2)
    whole = lora_training(transformer(), clips, tmp_path / "whole", PLAN, rank=2)
    whole.run()
    lora_training(transformer(), clips, tmp_path / "parts", PLAN, rank=2).run(until=3)
    rest = lora_training(transformer(), clips, tmp_path / "parts", PLAN, rank=2)
    rest.run()
    for name, addition in whole.network.learned().items():
        assert torch.equal(addition.up, rest.network.learned()[name].up)


def test_all_weights_learn_where_no_rank_is_asked_for(tmp_path, cache, transformer):
    clips, learning = PreparedClips(cache, rows=2), transformer()
    before = loss_of(learning, clips)
    training = full_training(learning, clips, tmp_path, PLAN)
    training.run()
    saved = load_transformer(save_result(training, tmp_path))
    assert loss_of(saved, clips) < before


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"rank": 2, "layers": "nothing"}, "No linear layer's name fits 'nothing'"),
        ({"rank": 2, "layers": "("}, r"The pattern '\(' for layers' names is wrong"),
        ({"rank": 2, "alpha": 0.0}, "alpha must be above 0"),
        ({"rank": 0}, "rank must be at least 1"),
    ],
)
def test_a_lora_that_could_not_learn_is_refused(transformer, how, message):
    with pytest.raises(ValueError, match=message):
        adapt(transformer(), **how)


def test_a_merged_checkpoint_is_the_adapted_network(tmp_path, cache, checkpoint, transformer, monkeypatch):
    clips, adapted = PreparedClips(cache, rows=2), transformer()
    training = lora_training(adapted, clips, tmp_path, PLAN, rank=2)
    training.run()
    lora, merged = save_result(training, tmp_path), tmp_path / "merged.safetensors"
    assert lora.name == LORA
    monkeypatch.setattr(sys, "argv", ["merge_lora.py", *map(str, (checkpoint, lora, merged))])
    assert merge_lora.main() == 0
    learned = loss_of(adapted, clips)
    assert abs(loss_of(load_transformer(merged, torch.float32), clips) - learned) < 1e-3 * learned


# --- as a command


def run(cache: Path, out: Path, monkeypatch, *options: str) -> int:
    words = [str(cache), "--out", str(out), "--steps", "1", "--device", "cpu", "--no-mixed", *options]
    monkeypatch.setattr(sys, "argv", ["fine_tune", *words])
    return fine_tune.main()


@pytest.fixture
def weights(tmp_path, checkpoint) -> Path:
    """A folder with the transformer in half precision, as published."""
    folder = tmp_path / "weights"
    folder.mkdir()
    save_file(load_transformer(checkpoint, torch.bfloat16).state_dict(), folder / checkpoint.name)
    return folder


def test_a_training_is_not_continued_with_other_settings(tmp_path, cache, weights, monkeypatch, capsys):
    options = "--weights", str(weights), "--rank"
    assert run(cache, tmp_path, monkeypatch, *options, "2") == 0
    saved = (tmp_path / LORA).read_bytes()
    assert run(cache, tmp_path, monkeypatch, *options, "2") == 0
    assert run(cache, tmp_path, monkeypatch, *options, "3") == 1
    assert "was begun with --rank 2, not 3" in capsys.readouterr().err
    assert (tmp_path / LORA).read_bytes() == saved


def test_features_of_other_weights_are_refused(cache):
    with pytest.raises(ValueError, match=r"a-.*prepared with other weights: visual of size \d+.* takes 768"):
        PreparedClips(cache).check_fit(XL)


def test_only_what_was_kept_last_is_learned_from(tmp_path, cache):
    for path in cache.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    report = json.loads((tmp_path / REPORT).read_text())
    report["kept"].pop("a.mp4 from 0.00 s")
    (tmp_path / REPORT).write_text(json.dumps(report))
    assert [path.name for path in PreparedClips(tmp_path).paths] == [report["kept"]["b.mp4 from 0.00 s"]]
