"""The yardsticks of `tools/bench.py`: that they measure what they say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import bench  # noqa: E402
import bench_convs  # noqa: E402
from bench_count import count  # noqa: E402
from bench_plain import PlainVelocity  # noqa: E402
from hunyuan_av.hunyuan.avatar.config import PUBLISHED  # noqa: E402
from hunyuan_av.hunyuan.foley.config import FoleyConfig  # noqa: E402
from hunyuan_av.hunyuan.foley.transformer import FoleyTransformer  # noqa: E402
from hunyuan_av.hunyuan.foley.velocity import FoleyPrompt, GuidedVelocity  # noqa: E402
from hunyuan_av.hunyuan.sampling.guidance import GuidanceScales  # noqa: E402

TINY = FoleyConfig(
    hidden_size=32, num_heads=2, joint_depth=2, audio_depth=2,
    latent_channels=6, text_size=10, visual_size=12, sync_size=14,
)  # fmt: skip


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


# --- convolutions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(bench_convs.FORMS))
def test_all_forms_of_the_convolutions_give_the_same(name):
    weights = [random(24, 16, 3, seed=1), random(16, 24, 3, seed=2), random(24, 16, 3, seed=3)]
    x = random(2, 11, 16)
    expected = bench_convs.FORMS["conv1d"](weights)(x)
    made = bench_convs.FORMS[name](weights)(x)
    assert (made - expected).norm() / expected.norm() < 1e-5
