"""What one guided step dispatches, counted: nothing that a clip needs only once, nothing that waits."""

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pack.hunyuan.foley.conditions import FoleyConditions
from pack.hunyuan.foley.positions import Positions
from pack.hunyuan.foley.transformer import FoleyTransformer
from pack.hunyuan.foley.velocity import FoleyPrompt, GuidedVelocity
from pack.hunyuan.layers.attention import attention
from pack.hunyuan.sampling.guidance import GuidanceScales
from torch_versions import needs_whole_norms

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))

from bench_count import Count, count

SCALES = GuidanceScales.all(4.5)
FEATURES = ("positive", "negative", "visual", "sync")

# Numbers that change their format, in bfloat16. Into float32 go, in an audio block, queries with keys, and
# the weights of their two norms. Nothing in a block comes out of it by itself: modulated tokens, and what
# was turned, are rounded as they are written.
INTO_FLOAT32 = 1 + 2
OUTSIDE_INTO_FLOAT32 = 1  # the velocity
OUTSIDE_OUT_OF_FLOAT32 = 4  # latents, the time's sinusoids, the audio blocks' condition, the last norm
KERNELS = {"joint": 59, "audio": 27}


@pytest.fixture
def half(randomised, tiny_config):
    return randomised(FoleyTransformer(tiny_config)).bfloat16()


def prompt_of(features, text=5):
    positive, visual, sync = features(0)
    negative, *_ = features(1, text=text)
    return FoleyPrompt(positive=positive, negative=negative, visual=visual, sync=sync)


def guided_step(network, features, latents, rows=1):
    """A velocity that was asked before, so that what a clip needs once is done; and what a step costs now."""
    velocity = GuidedVelocity(network, prompt_of(features), SCALES, dtype=torch.bfloat16)
    x = latents(rows)
    with torch.inference_mode():
        velocity(x, 0.6)
    return velocity, count(lambda: velocity(x, 0.5))


@pytest.mark.parametrize("rows", [1, 3])
def test_a_step_waits_for_nothing_and_copies_nothing_between_devices(half, features, latents, rows):
    _, cost = guided_step(half, features, latents, rows)
    assert cost.waits == Counter()
    assert cost.copies == Counter()
    assert cost.launches > 100


def test_what_waits_is_seen():
    x = torch.arange(4.0)
    for run in (lambda: x[x > 1], lambda: x.sum().item(), lambda: bool((x > 1).all()), lambda: x.nonzero()):
        assert count(run).waits.total() >= 1


def test_what_goes_to_another_device_is_seen():
    assert count(lambda: torch.ones(2).to("meta")).copies == Counter({("cpu", "meta"): 1})


@needs_whole_norms
def test_numbers_change_their_format_only_where_the_training_did(half, features, latents, tiny_config):
    _, cost = guided_step(half, features, latents)
    into = tiny_config.audio_depth * INTO_FLOAT32 + OUTSIDE_INTO_FLOAT32
    assert cost.conversions == Counter(
        {("bfloat16", "float32"): into, ("float32", "bfloat16"): OUTSIDE_OUT_OF_FLOAT32}
    )


@needs_whole_norms
def test_no_block_takes_more_kernels_than_stated(half, features, latents):
    """On the meta device, where attention answers as it does on accelerators."""
    half, prompt, costs = half.to("meta"), prompt_of(features), {"joint": [], "audio": []}
    prompt = replace(prompt, **{name: getattr(prompt, name).to("meta") for name in FEATURES})

    def counted(kind, number, block, *inputs, **options):
        with Count() as cost:
            out = block(*inputs, **options)
        costs[kind].append(cost.launches)
        return out

    velocity = GuidedVelocity(half, prompt, SCALES, dtype=torch.bfloat16, run=counted)
    with torch.inference_mode():
        velocity(latents().to("meta"), 0.5)
    assert {kind: max(counts) for kind, counts in costs.items()} == KERNELS


def test_what_a_clip_needs_once_is_not_done_again(half, features, latents):
    calls = Counter()
    once = {"cond_in": half.cond_in, "visual_proj": half.visual_proj, "sync_in": half.sync_in} | {
        f"{name} {i}": getattr(block, name)
        for i, block in enumerate(half.joint_blocks)
        for name in ("text_cross_kv", "text_cross_k_norm")
    }
    velocity = GuidedVelocity(half, prompt_of(features), SCALES, dtype=torch.bfloat16)
    hooks = [
        module.register_forward_hook(lambda *_, name=name: calls.update([name]))
        for name, module in once.items()
    ]
    with torch.inference_mode():
        for sigma in (1.0, 0.5, 0.2):
            velocity(latents(), sigma)
    for hook in hooks:
        hook.remove()
    assert calls == Counter()


@pytest.fixture
def modulation_rows(transformer, monkeypatch):
    """For how many conditions an audio block computes its modulation in a step, told from its FLOPs."""
    linear, flop = transformer.single_blocks[0].modulation.linear, []
    compute = linear.forward

    def counted(conditions):
        with Count() as cost:
            out = compute(conditions)
        flop.append(cost.flop)
        return out

    monkeypatch.setattr(linear, "forward", counted)

    def of(velocity, latents):
        velocity(latents, 0.5)
        return sum(flop) / (2 * linear.in_features * linear.out_features)

    return of


SEEN, EMPTY = 24, 8  # sync tokens of the clip; distinct ones where the learned empty stands for them


@pytest.mark.parametrize("takes", [1, 4])
@pytest.mark.parametrize(
    ("scales", "drop", "rows"),
    [
        (SCALES, (), SEEN + EMPTY),
        (GuidanceScales(text=4.0, video=2.0, sync=3.0), (), SEEN + EMPTY),
        (GuidanceScales(text=4.0, video=2.0, sync=2.0), (), SEEN + EMPTY),
        (GuidanceScales(text=4.0, video=2.0, sync=4.0), (), SEEN + EMPTY),
        (SCALES, ("visual", "sync"), EMPTY),
        (SCALES, ("visual",), SEEN + EMPTY),
        (SCALES, ("sync",), EMPTY),
        (GuidanceScales.all(1.0), (), SEEN),
    ],
    ids=["guided", "all apart", "text apart", "video apart", "text alone", "blind", "deaf", "unguided"],
)
def test_modulation_is_computed_once_for_each_distinct_sync_token(
    transformer, features, latents, modulation_rows, scales, drop, rows, takes
):
    prompt = replace(prompt_of(features), drop=frozenset(drop))
    velocity = GuidedVelocity(transformer, prompt, scales)
    assert modulation_rows(velocity, latents(takes)) == rows


def test_batches_of_prompts_of_unequal_length_share_sync_tokens_each_for_itself(
    transformer, features, latents, modulation_rows
):
    velocity = GuidedVelocity(transformer, prompt_of(features, text=9), SCALES)
    assert modulation_rows(velocity, latents(4)) == SEEN + EMPTY


def test_positions_and_batches_are_made_once_for_all_steps(transformer, features, latents, monkeypatch):
    made = Counter()
    for owner, name in ((Positions, "of"), (FoleyConditions, "stack")):
        real = getattr(owner, name)
        monkeypatch.setattr(
            owner, name, lambda *given, real=real, name=name: (made.update([name]), real(*given))[1]
        )
    velocity = GuidedVelocity(transformer, prompt_of(features), SCALES)
    for sigma in (1.0, 0.5, 0.2):
        velocity(latents(2), sigma)
    assert made == Counter({"of": 1, "stack": 1})


def test_kept_batches_serve_only_the_shape_they_were_made_for(transformer, features, latents):
    used = GuidedVelocity(transformer, prompt_of(features), SCALES, interval=(0.0, 0.8))
    for x, sigma in (
        (latents(), 0.5),
        (latents(3), 0.5),
        (latents(3, 40), 0.5),
        (latents(), 0.9),
        (latents(), 0.5),
    ):
        fresh = GuidedVelocity(transformer, prompt_of(features), SCALES, interval=(0.0, 0.8))
        assert torch.equal(used(x, sigma), fresh(x, sigma))


def test_conditions_without_positions_or_with_another_lengths_are_served_too(transformer, features, latents):
    conditions, t = transformer.prepare(*features()), torch.tensor([300.0])
    x = latents(length=50)
    placed = transformer(x, t, transformer.place(conditions, 50))
    assert torch.equal(transformer(x, t, conditions), placed)
    assert torch.equal(transformer(x, t, transformer.place(conditions, 40)), placed)


def test_fused_attention_can_take_every_query_key_and_value(features, latents, randomised, tiny_config):
    strides = set()

    def noting(q, k, v, mask=None):
        strides.update(tensor.stride(-1) for tensor in (q, k, v))
        return attention(q, k, v, mask)

    network = randomised(FoleyTransformer(tiny_config, attention=noting))
    network(latents(), torch.tensor([500.0]), network.prepare(*features()))
    assert strides == {1}


def test_a_run_of_the_callers_own_sees_every_block(transformer, features, latents, tiny_config):
    seen = []

    def run(kind, number, block, *inputs, **options):
        seen.append((kind, number))
        return block(*inputs, **options)

    given = transformer, prompt_of(features), SCALES
    assert torch.equal(
        GuidedVelocity(*given, run=run)(latents(), 0.5), GuidedVelocity(*given)(latents(), 0.5)
    )
    assert seen == [("joint", i) for i in range(tiny_config.joint_depth)] + [
        ("audio", i) for i in range(tiny_config.audio_depth)
    ]
