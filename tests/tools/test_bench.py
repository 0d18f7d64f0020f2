"""The yardsticks of `tools/bench.py`: that they measure what they say."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch_versions import needs_compiling

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import bench  # noqa: E402
import bench_avatar_memory  # noqa: E402
import bench_convs  # noqa: E402
import bench_memory  # noqa: E402
import bench_steps  # noqa: E402
from bench_clock import Clock  # noqa: E402
from bench_count import count  # noqa: E402
from bench_models import filled, moving_frames, small_networks  # noqa: E402
from bench_plain import PlainVelocity  # noqa: E402
from hunyuan_av.cli.foley_memory import MemoryLimit, needs_of  # noqa: E402
from hunyuan_av.host.standalone import avatar_plan  # noqa: E402
from hunyuan_av.host.standalone.avatar_plan import plan_avatar, transformer_stages  # noqa: E402
from hunyuan_av.host.standalone.memory import Placement  # noqa: E402
from hunyuan_av.host.standalone.memory_plan import GB, candidates  # noqa: E402
from hunyuan_av.host.standalone.streaming import BlockStream  # noqa: E402
from hunyuan_av.hunyuan.avatar.compiled import compiled_tokenwise  # noqa: E402
from hunyuan_av.hunyuan.avatar.config import PUBLISHED, AvatarConfig  # noqa: E402
from hunyuan_av.hunyuan.avatar.llava import Llava  # noqa: E402
from hunyuan_av.hunyuan.avatar.llava_config import ClipVisionConfig, LlamaConfig, LlavaConfig  # noqa: E402
from hunyuan_av.hunyuan.avatar.transformer import AvatarTransformer  # noqa: E402
from hunyuan_av.hunyuan.avatar.video_vae import VideoVAE  # noqa: E402
from hunyuan_av.hunyuan.avatar.video_vae_config import VideoVAEConfig  # noqa: E402
from hunyuan_av.hunyuan.foley import graphed  # noqa: E402
from hunyuan_av.hunyuan.foley.compiled import compiled_blocks  # noqa: E402
from hunyuan_av.hunyuan.foley.config import FoleyConfig  # noqa: E402
from hunyuan_av.hunyuan.foley.transformer import FoleyTransformer  # noqa: E402
from hunyuan_av.hunyuan.foley.velocity import FoleyPrompt, GuidedVelocity  # noqa: E402
from hunyuan_av.hunyuan.layers.packed import packed_layers  # noqa: E402
from hunyuan_av.hunyuan.sampling.guidance import GuidanceScales  # noqa: E402

TINY = FoleyConfig(
    hidden_size=32, num_heads=2, joint_depth=2, audio_depth=2,
    latent_channels=6, text_size=10, visual_size=12, sync_size=14,
)  # fmt: skip


CPU = torch.device("cpu")


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tiny_transformer():
    network = FoleyTransformer(TINY)
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5, generator=generator)
    return network.eval().requires_grad_(False)


def tiny_prompt(visual=8):
    return FoleyPrompt(
        positive=random(1, 5, TINY.text_size), negative=random(1, 5, TINY.text_size, seed=1),
        visual=random(1, visual, TINY.visual_size), sync=random(1, 24, TINY.sync_size),
    )  # fmt: skip


# --- the plain program --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "length", "visual"), [(1, 50, 8), (3, 50, 8), (1, 8, 8), (2, 20, 33)])
def test_the_plain_program_computes_our_velocity(rows, length, visual):
    network, prompt, latents = (
        tiny_transformer(),
        tiny_prompt(visual),
        random(rows, TINY.latent_channels, length),
    )
    ours = GuidedVelocity(network, prompt, GuidanceScales.all(4.5))(latents, 0.6)
    plain = PlainVelocity(transformer=network, prompt=prompt, scale=4.5)(latents, 0.6)
    torch.testing.assert_close(plain, ours, rtol=1e-4, atol=1e-4 * float(ours.abs().max()))


def test_the_plain_program_does_more_with_the_same_weights():
    network, prompt, latents = tiny_transformer(), tiny_prompt(), random(1, TINY.latent_channels, 50)
    ours = GuidedVelocity(network, prompt, GuidanceScales.all(4.5))
    with torch.inference_mode():
        ours(latents, 0.6)
    mine, plain = (
        count(lambda run=run: run(latents, 0.5))
        for run in (ours, PlainVelocity(transformer=network, prompt=prompt, scale=4.5))
    )
    assert plain.launches > 1.5 * mine.launches
    assert plain.flop > mine.flop


# --- counts -------------------------------------------------------------------------------------------------


def test_flop_of_a_product_and_of_attention_are_those_of_the_formula():
    a, b, q = random(3, 5), random(5, 7), random(2, 4, 9, 8)
    assert count(lambda: a @ b).flop == 2 * 3 * 5 * 7
    assert count(lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q)).flop == 2 * 2 * (
        2 * 4 * 9 * 9 * 8
    )


def test_views_are_free_and_what_writes_is_a_kernel():
    x = random(3, 4)
    assert count(lambda: x.transpose(0, 1)[:2].reshape(2, 3)).launches == 0  # this one still is a view
    assert count(lambda: x.transpose(0, 1).contiguous()).launches == 1
    assert count(lambda: x.to(x.dtype)).launches == 0
    assert dict(count(lambda: x.bfloat16()).conversions) == {("float32", "bfloat16"): 1}


def test_what_is_moved_is_what_all_but_products_read_and_write():
    x, row, picked = random(3, 4), random(4), torch.tensor([1])
    assert count(lambda: x @ x.T).moved.total() == 0
    assert count(lambda: x + row).moved.total() == 4 * (12 + 4 + 12)
    assert count(lambda: x + row.expand(3, 4)).moved.total() == 4 * (12 + 4 + 12)
    assert count(lambda: x.bfloat16()).moved.total() == 12 * (4 + 2)
    assert count(lambda: x.T[:2].copy_(x.T[2:])).moved.total() == 4 * (6 + 6)
    assert count(lambda: torch.add(x, row, out=torch.empty(3, 4))).moved.total() == 4 * (12 + 4 + 12)
    assert count(lambda: torch.empty(3, 4).zero_()).moved.total() == 4 * 12
    assert count(lambda: x[picked]).moved.total() == 8 + 4 * (4 + 4)
    assert count(lambda: torch.rms_norm(x, (4,))).moved.total() == 4 * (12 + 12)
    assert count(lambda: torch.rms_norm(x.T, (3,))).moved.total() == 4 * 4 * 12


def test_the_peak_is_of_what_lives_at_once():
    def one_after_the_other():
        for _ in range(3):
            torch.empty(1000)

    def all_together():
        return [torch.empty(1000) for _ in range(3)]

    assert count(one_after_the_other).peak_bytes == 4000
    assert count(all_together).peak_bytes == 12000


def figures(*arguments):
    out = subprocess.run(
        [sys.executable, ROOT / "tools" / "bench.py", *arguments, "--json"], capture_output=True, text=True
    )
    assert out.returncode == 0, out.stderr
    return json.loads(out.stdout)


def test_a_guided_step_of_xxl_over_ten_seconds_is_what_the_published_program_takes():
    made = bench.counted_report(
        bench.parse(["step", "--size", "xxl", "--seconds", "10", "--count", "--plain"])
    )
    assert made["plain TFLOP"] == pytest.approx(7.7, abs=0.05)
    assert made["TFLOP"] < made["plain TFLOP"]
    assert made["launches"] < made["plain launches"]
    assert made["weights GB"] == pytest.approx(10.268, abs=0.001)
    assert made["waits"] == {}
    assert made["copies"] == {}


def test_avatar_is_counted_at_the_size_that_is_asked_for():
    asked = ["step", "--size", "avatar", "--height", "544", "--width", "736", "--count"]
    made = bench.counted_report(bench.parse(asked))
    # The portrait and 33 latents of 34 x 46 tokens each.
    assert made["tokens"] == 34 * 34 * 46 + made["text tokens"]
    # Without any attention: both halves of guidance, every image token through the weights of its blocks.
    hidden, tokens = PUBLISHED.hidden_size, 34 * 34 * 46
    weights = (PUBLISHED.double_depth * 12 + PUBLISHED.single_depth * 12) * hidden**2
    assert made["TFLOP"] > 1.9 * 2 * weights * tokens / 1e12


def test_a_network_that_does_not_fit_is_refused_before_it_is_made():
    with pytest.raises(SystemExit, match="--count"):
        bench.main(["step", "--size", "avatar", "--device", "cpu", "--dtype", "float32"])


def test_the_command_times_both_programs_and_prints_their_ratio():
    made = figures("step", "--seconds", "1", "--repeats", "1", "--plain", "--device", "cpu")
    assert made["plain / ours, time"] == pytest.approx(made["plain median s"] / made["median s"])
    assert made["plain / ours, launches"] > 1


# --- graphs, lengths and profiles ---------------------------------------------------------------------------


def recording(compute):
    """Stands for a CUDA graph, on any device."""
    answer = compute()
    return lambda: answer.copy_(compute())


SHORT = ("--device", "cpu", "--seconds", "0.5", "--repeats", "1")


@needs_compiling
def test_steps_from_graphs_are_timed_beside_ours_of_plain_and_of_compiled_blocks(monkeypatch, tmp_path):
    monkeypatch.setattr(graphed, "cuda_capture", lambda device: recording)
    monkeypatch.setattr(bench_steps, "compiled_blocks", lambda: compiled_blocks("eager"))
    profile = tmp_path / "profile.txt"
    made = bench.report(bench.parse(["step", *SHORT, "--graphs", "--compile", "--profile", str(profile)]))
    for kind in ("graphed ", "compiled ", "graphed compiled "):
        assert made[f"{kind}/ ours, time"] == pytest.approx(made[f"{kind}median s"] / made["median s"])
        assert made[f"{kind}warm-up s"] == pytest.approx(
            max(0.0, made[f"{kind}first s"] - made[f"{kind}median s"])
        )
        assert made[f"{kind}share"] == pytest.approx(
            made["share"] * made["median s"] / made[f"{kind}median s"]
        )
        assert made[f"{kind}off by"] < 1e-5
        assert f"step {kind}\n" in profile.read_text()


def test_graphs_that_cannot_be_recorded_are_not_timed(monkeypatch):
    def refused(_compute):
        raise RuntimeError("not here")

    monkeypatch.setattr(graphed, "cuda_capture", lambda device: refused)
    with pytest.raises(SystemExit, match="No graph could be recorded"):
        bench.main(["step", *SHORT, "--graphs"])


def test_without_a_card_graphs_are_refused():
    with pytest.raises(SystemExit, match="CUDA graphs need a CUDA device"):
        bench.main(["step", *SHORT, "--graphs"])


def test_lengths_and_batches_are_reported_one_after_another(monkeypatch, capsys):
    monkeypatch.setattr(bench, "report", lambda case: {"clip seconds": case.seconds, "batch": case.batch})
    assert bench.main(["step", "--lengths", "2", "0.5", "--batches", "1", "3", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["clip seconds"], line["batch"]) for line in lines] == [(2, 1), (2, 3), (0.5, 1), (0.5, 3)]


# --- whole generations --------------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [(), ("--no-files",)], ids=["mp4 to mp4", "no files"])
def test_a_clip_is_made_and_its_parts_are_what_it_takes(files):
    made = bench.report(bench.parse(["clip", *SHORT, "--steps", "2", *files]))
    parts = made["watching, prompts s"] + made["steps s"] + made["decoding, writing s"]
    assert parts == pytest.approx(made["median s"], abs=0.05 + 0.2 * made["median s"])
    assert made["steps"] == 2
    assert made["files"] == ("none: frames from memory" if files else "mp4 to mp4")


def test_a_clip_leaves_standard_output_to_the_figures(capsys):
    assert bench.main(["clip", *SHORT, "--steps", "1", "--no-files", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["files"] == "none: frames from memory"


def test_a_plan_for_little_memory_is_carried_out_with_random_weights():
    arguments = bench.parse(["memory", *SHORT, "--memory", "1"])
    setting = bench.setting_of(arguments, Placement.choose("cpu", "float32"))
    limit = MemoryLimit(gigabytes=1, rows=1, branches=2, seconds=0.5)
    small = small_networks("pocket", CPU)
    plans = candidates(bench_memory.forms(setting, limit), needs_of(*small, limit))
    plan = next(plan for plan in plans if plan.streamed)
    made = bench_memory.carried_out(plan, small, limit, setting, arguments)
    assert made["streamed GiB"] == pytest.approx(sum(plan.form.weights.blocks[n] for n in plan.streamed) / GB)
    assert made["step s"] > 0
    expected = (made["resident step s"] + made["copies s"] - made["step s"]) / min(
        made["resident step s"], made["copies s"]
    )
    assert made["hidden"] == pytest.approx(expected)


def test_a_plan_of_avatars_is_carried_out_part_by_part(monkeypatch):
    streams = []

    def stream(network, blocks, device):
        streams.append((type(network).__name__, len(blocks)))
        return BlockStream(network, blocks, device)

    monkeypatch.setattr(avatar_plan, "BlockStream", stream)
    networks = bench_avatar_memory.AvatarNetworks(
        llava=Llava(
            LlavaConfig(
                vision=ClipVisionConfig(hidden_size=16, mlp_size=32, depth=2, num_heads=2, image_size=28),
                text=LlamaConfig(
                    hidden_size=32, mlp_size=48, depth=5, num_heads=4, num_kv_heads=2, vocabulary=100
                ),
                image_token=99,
            ),
            device="meta",
        ),
        transformer=AvatarTransformer(
            AvatarConfig(hidden_size=32, num_heads=2, double_depth=2, single_depth=1, rope_sizes=(4, 6, 6)),
            device="meta",
        ),
        vae=VideoVAE(
            VideoVAEConfig(channels=(4, 4, 4, 4), norm_groups=2, tile_size=64, tile_frames=16), device="meta"
        ),
        clip=1000,
    )
    asked = ["memory", "--size", "avatar", "--memory", "3", "--height", "64", "--width", "64"]
    setting = bench.setting_of(bench.parse(asked), Placement.choose("cpu", "float32"))
    *_, streamed = transformer_stages(networks.form(64, 64))
    plan = replace(plan_avatar(3 * GB, networks.form(64, 64)), transformer=streamed)
    made = bench_avatar_memory.carried_out(plan, networks, 3 * GB, setting, 1)
    for part in ("reading", "step", "decoding"):
        assert made[f"{part}, s"] > 0
        assert made[f"{part}, planned GiB"] > 0
    assert made["memory GiB"] == 3
    assert streams == [("AvatarTransformer", 3)]


@needs_compiling
def test_avatars_step_is_timed_with_compiled_operations_and_left_as_it_was(monkeypatch):
    torch._dynamo.reset()
    monkeypatch.setattr(bench_steps, "compiled_tokenwise", lambda: compiled_tokenwise("eager"))
    asked = bench.parse(["step", "--size", "avatar", "--height", "64", "--width", "64", "--compile"])
    setting = bench.setting_of(asked, Placement.choose("cpu", "float32"))
    config = AvatarConfig(hidden_size=32, num_heads=2, double_depth=2, single_depth=1, rope_sizes=(4, 6, 6))
    with torch.inference_mode():
        runs = bench_steps.avatar_steps(setting, config, compiled=asked.compile)
        assert list(runs) == ["", "compiled "]
        before = count(runs[""]).launches
        assert 0 <= bench.off_by(runs["compiled "](), runs[""]()) < 1e-5
        assert count(runs["compiled "]).launches != before
        assert count(runs[""]).launches == before


def test_random_networks_are_drawn_layer_by_layer_as_they_are_stored():
    setting = bench.setting_of(bench.parse(["step", *SHORT]), Placement.choose("cpu", "float32"))
    limit = MemoryLimit(gigabytes=1, rows=1, branches=2, seconds=0.5)
    full, small = (filled(form.network, CPU) for form in bench_memory.forms(setting, limit))
    assert not packed_layers(full)
    layers = packed_layers(small).values()
    assert {layer.weight.dtype for layer in layers} == {torch.int8}
    for layer in layers:
        assert 0.01 < float(layer.unpacked(torch.float32).std()) < 0.04


def test_a_clock_notes_the_beginning_and_every_item():
    clock = Clock()
    assert list(clock(range(3), 3, "counting")) == [0, 1, 2]
    assert len(clock.noted["counting"]) == 4
    assert len(clock.item_seconds("counting")) == 3
    assert min(clock.item_seconds("counting")) >= 0


def test_frames_to_watch_move():
    (first, picture), (second, moved) = list(moving_frames(0.08, 64, 32))
    assert (first, second) == (0, 1 / 25)
    assert picture.shape == (32, 64, 3)
    assert (picture != moved).any()


@pytest.mark.parametrize(
    "wrong",
    [
        ["decode", "--graphs"], ["decode", "--compile"], ["step", "--size", "avatar", "--graphs"],
        ["step", "--count", "--graphs"], ["step", "--memory", "8"], ["memory"],
        ["clip", "--plain"], ["clip", "--size", "avatar"], ["memory", "--size", "avatar"],
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_said(wrong, capsys):
    with pytest.raises(SystemExit):
        bench.parse(wrong)
    assert "error: " in capsys.readouterr().err


# --- convolutions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(bench_convs.FORMS))
def test_all_forms_of_the_convolutions_give_the_same(name):
    weights = [random(24, 16, 3, seed=1), random(16, 24, 3, seed=2), random(24, 16, 3, seed=3)]
    x = random(2, 11, 16)
    expected = bench_convs.FORMS["conv1d"](weights)(x)
    made = bench_convs.FORMS[name](weights)(x)
    assert (made - expected).norm() / expected.norm() < 1e-5
