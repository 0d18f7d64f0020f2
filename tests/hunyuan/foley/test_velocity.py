from dataclasses import replace

import pytest
import torch
from pack.hunyuan.foley.conditions import FoleyConditions
from pack.hunyuan.foley.velocity import FoleyPrompt, GuidedVelocity
from pack.hunyuan.sampling.denoise import denoise
from pack.hunyuan.sampling.guidance import GuidanceScales, combine, guidance_interval
from pack.hunyuan.sampling.schedule import flow_sigmas

SEPARATE = GuidanceScales(text=4.0, video=2.0, sync=3.0)


@pytest.fixture
def prompt(features):
    text, visual, sync = features(0)
    negative, *_ = features(1)
    return FoleyPrompt(positive=text, negative=negative, visual=visual, sync=sync)


def one_branch(transformer, prompt, latents, sigma, *, negative=False, drop=()):
    text = prompt.negative if negative else prompt.positive
    conditions = transformer.prepare(text, prompt.visual, prompt.sync, drop)
    return transformer(latents, torch.tensor([1000 * sigma]), conditions)


def test_one_scale_is_the_published_guidance(transformer, prompt, latents):
    x = latents()
    unconditional = one_branch(transformer, prompt, x, 0.7, negative=True, drop={"visual", "sync"})
    conditional = one_branch(transformer, prompt, x, 0.7)
    expected = unconditional + 4.5 * (conditional - unconditional)
    mine = GuidedVelocity(transformer, prompt, GuidanceScales.all(4.5))(x, 0.7)
    torch.testing.assert_close(mine, expected)


def test_separate_scales_follow_the_formula(transformer, prompt, latents):
    x, sigma = latents(), 0.4
    v0 = one_branch(transformer, prompt, x, sigma, negative=True, drop={"visual", "sync"})
    v_video = one_branch(transformer, prompt, x, sigma, negative=True, drop={"sync"})
    v_sync = one_branch(transformer, prompt, x, sigma, negative=True)
    v_all = one_branch(transformer, prompt, x, sigma)
    expected = v0 + 2 * (v_video - v0) + 3 * (v_sync - v_video) + 4 * (v_all - v_sync)
    torch.testing.assert_close(GuidedVelocity(transformer, prompt, SEPARATE)(x, sigma), expected)


@pytest.mark.parametrize("takes", [1, 4])
@pytest.mark.parametrize("drop", [(), ("sync",), ("visual", "sync")])
@pytest.mark.parametrize(("sync", "text"), [(2.0, 2.0), (3.0, 4.0), (2.0, 4.0), (4.0, 4.0)])
def test_rows_that_share_sync_tokens_give_what_separate_ones_do(
    transformer, prompt, latents, sync, text, drop, takes
):
    prompt = replace(prompt, drop=frozenset(drop))
    velocity = GuidedVelocity(transformer, prompt, GuidanceScales(video=2.0, sync=sync, text=text))
    x, branches = latents(takes), velocity.branches
    separate = FoleyConditions.stack(
        [prompt.prepare(transformer, branch, x.dtype).expand(takes) for branch in branches]
    )
    rows = transformer(x.repeat(len(branches), 1, 1), torch.tensor([700.0]), separate)
    expected = combine(branches, rows.split(takes), velocity.links)
    assert (velocity(x, 0.7) - expected).norm() < 1e-6 * expected.norm()


def test_equal_separate_scales_are_bit_equal_to_the_single_one(transformer, prompt, latents):
    single = GuidedVelocity(transformer, prompt, GuidanceScales.all(3.0))
    separate = GuidedVelocity(transformer, prompt, GuidanceScales(text=3.0, video=3.0, sync=3.0))
    assert torch.equal(single(latents(), 0.5), separate(latents(), 0.5))


def test_a_modality_dropped_everywhere_costs_no_branch_and_is_never_seen(transformer, prompt, latents):
    deaf = FoleyPrompt(
        positive=prompt.positive, negative=prompt.negative,
        visual=prompt.visual, sync=prompt.sync, drop=frozenset({"visual", "sync"}),
    )  # fmt: skip
    other = FoleyPrompt(
        positive=prompt.positive, negative=prompt.negative,
        visual=-prompt.visual, sync=-prompt.sync, drop=deaf.drop,
    )  # fmt: skip
    first, second = (GuidedVelocity(transformer, p, SEPARATE) for p in (deaf, other))
    assert len(first.branches) == 2
    assert torch.equal(first(latents(), 0.5), second(latents(), 0.5))


def test_outside_its_interval_guidance_is_off(transformer, prompt, latents):
    x = latents()
    velocity = GuidedVelocity(transformer, prompt, GuidanceScales.all(4.5), interval=(0.2, 0.8))
    plain = GuidedVelocity(transformer, prompt, GuidanceScales.all(1.0))
    always = GuidedVelocity(transformer, prompt, GuidanceScales.all(4.5))
    for sigma in (1.0, 0.1):
        assert torch.equal(velocity(x, sigma), plain(x, sigma))
    for sigma in (0.8, 0.5, 0.2):
        assert torch.equal(velocity(x, sigma), always(x, sigma))


@pytest.mark.parametrize(
    ("steps", "end", "rows"), [(10, 1.0, 20), (10, 0.6, 16), (25, 0.6, 40), (10, 0.0, 10)]
)
def test_steps_without_guidance_run_the_network_once(transformer, prompt, latents, steps, end, rows):
    """rows: how often the transformer sees the latents."""
    seen = []
    hook = transformer.register_forward_pre_hook(lambda _m, inputs: seen.append(len(inputs[0])))
    velocity = GuidedVelocity(
        transformer, prompt, GuidanceScales.all(4.5), interval=guidance_interval(0.0, end)
    )
    *_, _ = denoise(velocity, latents(), flow_sigmas(steps))
    hook.remove()
    assert sum(seen) == rows


def test_guidance_throughout_is_bit_equal_to_no_interval(transformer, prompt, latents):
    plain = GuidedVelocity(transformer, prompt, SEPARATE)
    throughout = GuidedVelocity(transformer, prompt, SEPARATE, interval=guidance_interval(0.0, 1.0))
    *_, expected = denoise(plain, latents(), flow_sigmas(6, shift=3.3))
    *_, mine = denoise(throughout, latents(), flow_sigmas(6, shift=3.3))
    assert torch.equal(mine, expected)


def test_without_guidance_by_the_prompt_its_absence_lasts_outside_the_interval(transformer, prompt, latents):
    scales = GuidanceScales(text=0.0, video=3.0, sync=3.0)
    velocity = GuidedVelocity(transformer, prompt, scales, interval=(0.9, 1.0))
    expected = one_branch(transformer, prompt, latents(), 0.5, negative=True)
    torch.testing.assert_close(velocity(latents(), 0.5), expected)


def test_prompts_of_unequal_length_run_one_after_the_other_with_the_same_result(
    transformer, prompt, features, latents
):
    long, *_ = features(2, text=9)
    unequal = FoleyPrompt(positive=long, negative=prompt.negative, visual=prompt.visual, sync=prompt.sync)
    x = latents()
    unconditional = one_branch(transformer, unequal, x, 0.7, negative=True, drop={"visual", "sync"})
    expected = unconditional + 4.5 * (one_branch(transformer, unequal, x, 0.7) - unconditional)
    torch.testing.assert_close(
        GuidedVelocity(transformer, unequal, GuidanceScales.all(4.5))(x, 0.7), expected
    )


def test_the_model_is_never_shown_time_zero(transformer, prompt, latents):
    times = []
    hook = transformer.register_forward_pre_hook(lambda _m, inputs: times.append(float(inputs[1][0])))
    GuidedVelocity(transformer, prompt, GuidanceScales.all(1.0))(latents(), 0.0)
    hook.remove()
    assert times == [1.0]


def test_takes_are_the_same_in_any_batch(transformer, prompt, latents):
    velocity = GuidedVelocity(transformer, prompt, GuidanceScales.all(4.5))
    noise = latents(3)
    *_, together = denoise(velocity, noise, flow_sigmas(6))
    for take in range(3):
        *_, alone = denoise(velocity, noise[take : take + 1], flow_sigmas(6))
        torch.testing.assert_close(together[take : take + 1], alone, rtol=1e-5, atol=1e-5)
