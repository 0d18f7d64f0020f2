import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pack.hunyuan.foley.conditions import FoleyConditions
from pack.hunyuan.foley.config import XL, XXL, FoleyConfig
from pack.hunyuan.foley.transformer import FoleyTransformer
from pack.hunyuan.layers.attention import attention
from safetensors.torch import load_file
from torch import nn


def test_stacked_rows_equal_rows_run_alone(transformer, features, latents):
    conditions = [transformer.prepare(*features(seed)) for seed in range(3)]
    x, t = latents(3), torch.tensor([1000.0, 500.0, 20.0])
    together = transformer(x, t, FoleyConditions.stack(conditions))
    for i, row in enumerate(conditions):
        torch.testing.assert_close(together[i : i + 1], transformer(x[i : i + 1], t[i : i + 1], row))


def test_one_row_of_conditions_serves_many_samples(transformer, features, latents):
    conditions = transformer.prepare(*features())
    x, t = latents(4), torch.full((4,), 300.0)
    torch.testing.assert_close(
        transformer(x, t, conditions.expand(4)), transformer(x, t, FoleyConditions.stack([conditions] * 4))
    )


def test_prompts_of_unequal_length_do_not_stack(transformer, features):
    short, long = (transformer.prepare(*features(text=n)) for n in (4, 9))
    assert short.stacks_with(short)
    assert not short.stacks_with(long)


def test_rows_that_share_sync_tokens_cannot_have_times_of_their_own(transformer, features, latents):
    conditions = transformer.prepare(*features()).expand(2)
    shared = replace(conditions, sync=conditions.sync[:1], sync_places=torch.arange(24).expand(2, -1))
    x, own = latents(2), torch.full((2,), 300.0)
    expected = transformer(x, own, conditions)
    assert (transformer(x, own[:1], shared) - expected).norm() < 1e-6 * expected.norm()
    with pytest.raises(ValueError, match="share sync tokens have one time, not 2"):
        transformer(x, own, shared)


def test_rows_that_share_sync_tokens_are_not_put_together_again(transformer, features):
    conditions = transformer.prepare(*features())
    shared = FoleyConditions.share([conditions], [False], takes=2)
    for again in (lambda: FoleyConditions.stack([shared, conditions]), lambda: shared.expand(4)):
        with pytest.raises(ValueError, match="cannot be put together"):
            again()


def test_what_is_dropped_cannot_be_seen(transformer, features):
    text, visual, sync = features()
    drop = {"visual", "sync"}
    hidden, negated = (transformer.prepare(text, visual, s, drop) for s in (sync, -sync))
    assert torch.equal(hidden.sync, negated.sync)
    kept = transformer.prepare(text, visual, sync, {"visual"})
    assert not torch.equal(kept.sync, transformer.prepare(text, visual, -sync, {"visual"}).sync)


def test_the_prompt_may_be_read_by_another_attention_than_the_tokens_see_each_other_with(
    transformer, features, latents
):
    lengths = {"tokens": set(), "prompt": set()}

    def noting(name):
        def attend(q, k, v, mask=None):
            lengths[name].add(k.shape[2])
            return attention(q, k, v, mask)

        return attend

    def run(kind, number, block, *inputs, **options):
        if kind == "joint":
            options |= {"attention": noting("tokens"), "reading": noting("prompt")}
        return block(*inputs, **options)

    conditions = transformer.prepare(*features(text=5, visual=8))
    given = latents(length=50), torch.tensor([300.0]), conditions
    assert torch.equal(transformer(*given, run=run), transformer(*given))
    assert lengths == {"tokens": {58}, "prompt": {5}}


def test_the_visual_stream_ends_in_the_last_joint_block(transformer, features, latents):
    calls = []
    hooks = [
        block.v_cond_mlp.register_forward_hook(lambda *_, i=i: calls.append(i))
        for i, block in enumerate(transformer.joint_blocks)
    ]
    transformer(latents(), torch.tensor([500.0]), transformer.prepare(*features()))
    for hook in hooks:
        hook.remove()
    assert calls == [0]


def test_modulation_of_audio_blocks_runs_on_sync_tokens_not_on_latents(transformer, features, latents):
    rows = []
    modulation = transformer.single_blocks[0].modulation
    hook = modulation.register_forward_hook(lambda _m, inputs, _o: rows.append(inputs[0].shape[1]))
    transformer(latents(length=300), torch.tensor([500.0]), transformer.prepare(*features(segments=3)))
    hook.remove()
    assert rows == [24]


def test_the_host_can_replace_attention(features, latents, randomised, tiny_config):
    calls = []

    def counted(q, k, v):
        calls.append(q.shape)
        return attention(q, k, v)

    network = randomised(FoleyTransformer(tiny_config, attention=counted))
    network(latents(), torch.tensor([500.0]), network.prepare(*features()))
    # joint: two in the first block for the prompt, one in the last; audio: one a block
    assert len(calls) == (1 + 2) + (1 + 1) + tiny_config.audio_depth


def test_constructors_never_touch_weights(tiny_config):
    class Lazy(nn.Module):
        """A layer whose weights come with the checkpoint."""

        weight = bias = None

        def __init__(self, *_sizes, **_options) -> None:
            super().__init__()

    class Operations:
        Linear = Conv1d = Lazy

    FoleyTransformer(tiny_config, operations=Operations)


def test_features_of_another_size_are_named(transformer, features):
    text, visual, sync = features()
    with pytest.raises(ValueError, match=r"Visual features are \(1, 8, 10\), not \(batch, tokens, 12\)"):
        transformer.prepare(text, visual[..., :10], sync)
    with pytest.raises(ValueError, match="20 sync tokens are no whole number of segments"):
        transformer.prepare(text, visual, sync[:, :20])


@pytest.mark.parametrize(("config", "count"), [(XL, 2_912_962_688), (XXL, 5_134_014_848)])
def test_published_sizes_have_the_published_number_of_parameters(config, count):
    network = FoleyTransformer(config, device="meta")
    assert sum(p.numel() for p in network.parameters()) == count
    assert FoleyConfig.from_shapes({k: v.shape for k, v in network.state_dict().items()}) == config


@pytest.mark.skipif("HUNYUAN_AV_GOLDENS" not in os.environ, reason="the bf16 golden is in the full set only")
def test_bf16_is_as_close_to_float32_as_the_published_mixed_precision():
    stem = Path(os.environ["HUNYUAN_AV_GOLDENS"]) / "foley" / "mmdit_tiny_a"
    published = json.loads(stem.with_suffix(".json").read_text())["bf16"]["relative_l2_vs_fp32"]
    tensors = load_file(stem.with_suffix(".safetensors"))
    weights = {
        k.removeprefix("weights."): v.bfloat16() for k, v in tensors.items() if k.startswith("weights.")
    }
    network = FoleyTransformer(
        FoleyConfig.from_shapes({k: v.shape for k, v in weights.items()}), device="meta"
    )
    network.load_state_dict(weights, assign=True)
    for case, figure in enumerate(published):
        x, t, text, visual, sync = (
            tensors[f"case{case}.in.{name}"] for name in ("x", "t", "cond", "clip_feat", "sync_feat")
        )
        reference = tensors[f"case{case}.out.x"]
        with torch.inference_mode():
            mine = network(x.bfloat16(), t, network.prepare(text.bfloat16(), visual, sync))
        assert (mine.float() - reference).norm() / reference.norm() < 1.1 * figure


def test_the_audio_stream_stays_float32_in_half_precision(features, latents, randomised, tiny_config):
    network = randomised(FoleyTransformer(tiny_config)).bfloat16()
    streams = []
    hook = network.single_blocks[-1].register_forward_hook(lambda _m, _i, out: streams.append(out.dtype))
    text, visual, sync = features()
    out = network(latents().bfloat16(), torch.tensor([500.0]), network.prepare(text.bfloat16(), visual, sync))
    hook.remove()
    assert streams == [torch.float32]
    assert out.dtype == torch.bfloat16
