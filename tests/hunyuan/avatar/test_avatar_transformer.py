import copy
from dataclasses import replace

import pytest
import torch
from pack.hunyuan.avatar import tokenwise
from pack.hunyuan.avatar.conditions import AvatarConditions, Features, Motion
from pack.hunyuan.avatar.transformer import AvatarTransformer, image_positions
from pack.hunyuan.layers.attention import attention
from pack.hunyuan.layers.rope import rotary_table
from torch import nn

T = torch.tensor([500.0])


@pytest.fixture(scope="module")
def conditions(transformer, inputs):
    return transformer.prepare(inputs.prompt(), inputs.scene(), [inputs.character()])


def test_stacked_rows_equal_rows_run_alone(transformer, inputs):
    rows = [
        transformer.prepare(inputs.prompt(seed), inputs.scene(seed), [inputs.character(seed)])
        for seed in range(3)
    ]
    x, t = inputs.latents(3), torch.tensor([1000.0, 500.0, 20.0])
    together = transformer(x, t, AvatarConditions.stack(rows))
    for i, row in enumerate(rows):
        torch.testing.assert_close(together[i : i + 1], transformer(x[i : i + 1], t[i : i + 1], row))


def test_one_row_of_conditions_serves_many_samples(transformer, conditions, inputs):
    x, t = inputs.latents(3), torch.full((3,), 300.0)
    torch.testing.assert_close(
        transformer(x, t, conditions.expand(3)), transformer(x, t, AvatarConditions.stack([conditions] * 3))
    )


def test_only_conditions_of_one_form_stack(transformer, conditions, inputs):
    prompt, scene, character = inputs.prompt(1), inputs.scene(1), inputs.character(1)
    shifted = inputs.scene(reference_shift=(0, 3))
    assert conditions.stacks_with(transformer.prepare(prompt, scene, [character]))
    assert not conditions.stacks_with(transformer.prepare(inputs.prompt(words=3), scene, [character]))
    assert not conditions.stacks_with(transformer.prepare(prompt, scene))
    assert not conditions.stacks_with(transformer.prepare(prompt, shifted, [character]))


def test_a_forward_pass_is_its_two_parts(transformer, conditions, inputs):
    x = inputs.latents()
    features = transformer.features(x, T, conditions)
    assert torch.equal(transformer(x, T, conditions), transformer.predict(features, T, conditions))
    later = transformer.predict(features, torch.tensor([100.0]), conditions)
    assert not torch.allclose(transformer(x, T, conditions), later, atol=1e-3)


def test_features_come_apart_and_together_again(transformer, conditions, inputs):
    features = transformer.features(inputs.latents(), T, conditions)
    assert features.video.shape == (1, inputs.frames, 6, 32)
    assert features.text.shape[1] == conditions.text_tokens == 6
    joined = Features.join(features.prefix, features.video, features.text)
    assert torch.equal(joined.tokens, features.tokens)
    assert (joined.prefix_tokens, joined.frames) == (features.prefix_tokens, features.frames)


def test_a_portrait_of_one_latent_stands_for_all_frames(transformer, conditions, inputs):
    scene = inputs.scene()
    repeated = replace(scene, reference=scene.reference.expand(-1, -1, inputs.frames, -1, -1))
    x = inputs.latents()
    other = transformer.prepare(inputs.prompt(), repeated, [inputs.character()])
    torch.testing.assert_close(transformer(x, T, conditions), transformer(x, T, other))


def test_a_mask_of_one_latent_stands_for_all_frames(transformer, conditions, inputs):
    mask = inputs.mask().expand(-1, -1, inputs.frames, -1, -1)
    other = transformer.prepare(inputs.prompt(), inputs.scene(), [inputs.character(mask=mask)])
    x = inputs.latents()
    assert torch.equal(transformer(x, T, conditions), transformer(x, T, other))


def test_strength_multiplies_the_mask(transformer, conditions, inputs):
    x = inputs.latents()
    weak = transformer.prepare(inputs.prompt(), inputs.scene(), [inputs.character(strength=0.6)])
    early = conditions.with_voice_strength(0.6)
    assert torch.equal(transformer(x, T, weak), transformer(x, T, early))
    assert not torch.allclose(transformer(x, T, weak), transformer(x, T, conditions), atol=1e-4)


@pytest.mark.parametrize("options", [{"strength": 0.0}, {"mask": torch.zeros(1, 1, 1, 4, 6)}])
def test_a_character_that_nobody_hears_is_left_out(transformer, inputs, options):
    silent = transformer.prepare(inputs.prompt(), inputs.scene(), [inputs.character(**options)])
    nobody = transformer.prepare(inputs.prompt(), inputs.scene())
    assert silent.voices == ()
    x = inputs.latents()
    assert torch.equal(transformer(x, T, silent), transformer(x, T, nobody))


def test_each_character_has_a_voice_of_its_own(transformer, inputs):
    left = inputs.character(1, mask=inputs.mask(columns=slice(0, 2)))
    right = inputs.character(2, mask=inputs.mask(columns=slice(4, 6)))
    x, outs = inputs.latents(), []
    for people in ([left], [right], [left, right], [right, left]):
        conditions = transformer.prepare(inputs.prompt(), inputs.scene(), people)
        assert len(conditions.voices) == len(people)
        outs.append(transformer(x, T, conditions))
    torch.testing.assert_close(outs[2], outs[3])
    assert not torch.allclose(outs[2], outs[0], atol=1e-4)
    assert not torch.allclose(outs[2], outs[1], atol=1e-4)


def test_speech_becomes_keys_and_values_once_per_window(transformer, inputs):
    calls = []
    adapters = transformer.audio_adapters
    hooks = [adapter.to_kv.register_forward_hook(lambda *_: calls.append(1)) for adapter in adapters]
    conditions = transformer.prepare(inputs.prompt(), inputs.scene(), [inputs.character()])
    assert len(calls) == len(adapters) == 2
    for t in (900.0, 500.0, 100.0):
        transformer(inputs.latents(), torch.tensor([t]), conditions)
    for hook in hooks:
        hook.remove()
    assert len(calls) == 2


def test_adapters_stand_after_every_second_double_block(transformer, conditions, inputs):
    order = []
    named = {
        **{f"block {i}": block for i, block in enumerate(transformer.double_blocks)},
        **{f"adapter {i}": adapter for i, adapter in enumerate(transformer.audio_adapters)},
    }
    hooks = [
        module.register_forward_hook(lambda *_, name=name: order.append(name))
        for name, module in named.items()
    ]
    transformer(inputs.latents(), T, conditions)
    for hook in hooks:
        hook.remove()
    assert order == ["block 0", "block 1", "adapter 0", "block 2", "block 3", "adapter 1"]


def test_motion_and_frame_rate_are_seen(transformer, conditions, inputs):
    outs = [transformer(inputs.latents(), T, conditions)]
    for motion in (Motion.of(expression=60), Motion.of(pose=60), Motion.of(fps=12.5)):
        scene = replace(inputs.scene(), motion=motion)
        other = transformer.prepare(inputs.prompt(), scene, [inputs.character()])
        outs.append(transformer(inputs.latents(), T, other))
    for i, out in enumerate(outs):
        assert not any(torch.allclose(out, earlier, atol=1e-5) for earlier in outs[:i])


def test_the_reference_stands_before_the_video_and_aside_when_shifted():
    expected = [
        (time, row + (10 if time < 0 else 0), column + (20 if time < 0 else 0))
        for time in (-1, 0, 1)
        for row in range(2)
        for column in range(3)
    ]
    axes = image_positions(2, 2, 3, (10, 20))
    assert list(zip(*(axis.tolist() for axis in axes), strict=True)) == expected


def test_a_shifted_reference_is_seen_elsewhere(transformer, conditions, inputs):
    shifted = transformer.prepare(inputs.prompt(), inputs.scene(reference_shift=(0, 3)), [inputs.character()])
    x = inputs.latents()
    assert not torch.allclose(transformer(x, T, conditions), transformer(x, T, shifted), atol=1e-5)


def test_the_host_can_replace_attention(tiny_config, randomised, inputs):
    calls = []

    def counted(q, k, v, mask=None):
        calls.append(mask is not None)
        return attention(q, k, v, mask)

    network = randomised(AvatarTransformer(tiny_config, attention=counted))
    network(inputs.latents(), T, network.prepare(inputs.prompt(), inputs.scene(), [inputs.character()]))
    # The refiner's two blocks have a mask; four double blocks, two adapters and two single blocks have none.
    assert sorted(calls) == [False] * 8 + [True] * 2


def test_a_hosts_attention_for_one_call_runs_in_every_block(transformer, conditions, inputs):
    """As inside ComfyUI, where its user or another node picks the kernel."""
    calls = []

    def run(kind, number, block, *given):
        def chosen(q, k, v, mask=None):
            calls.append((kind, number))
            return attention(q, k, v, mask)

        return block(*given, attention=chosen)

    x = inputs.latents()
    found = transformer.predict(transformer.features(x, T, conditions, run), T, conditions, run)
    assert calls == [*(("double", i) for i in range(4)), ("single", 0), ("single", 1)]
    assert torch.equal(found, transformer(x, T, conditions))


def test_constructors_never_touch_weights(tiny_config):
    class Lazy(nn.Module):
        """A layer whose weights come with the checkpoint."""

        weight = bias = None

        def __init__(self, *_sizes, **_options) -> None:
            super().__init__()

    class Operations:
        Linear = Conv3d = LayerNorm = Lazy

    AvatarTransformer(replace(tiny_config, emotion=True), operations=Operations)


def test_half_precision_stays_near_float32(tiny_config, randomised, inputs):
    network = randomised(AvatarTransformer(tiny_config))
    x = inputs.latents()
    exact = network(x, T, network.prepare(inputs.prompt(), inputs.scene(), [inputs.character()]))
    network.bfloat16()
    prompt = replace(inputs.prompt(), states=inputs.prompt().states.bfloat16())
    rounded = network(x.bfloat16(), T, network.prepare(prompt, inputs.scene(), [inputs.character()]))
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).norm() / exact.norm() < 0.02


def test_block_norms_have_the_published_epsilon(tiny_config, randomised):
    network = randomised(AvatarTransformer(tiny_config))
    for name, parameter in network.named_parameters():
        if "mod" in name:  # a modulation of zero leaves the norm alone
            parameter.zero_()
    double, single, final = network.double_blocks[0], network.single_blocks[0], network.final_layer
    seen = []
    for layer in (
        double.img_attn_qkv, double.txt_attn_qkv, double.img_mlp.fc1, double.txt_mlp.fc1,
        single.linear1, final.linear,
    ):  # fmt: skip
        layer.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))

    quiet = torch.tensor([1e-3, -1e-3]).repeat(16)[None, None]  # variance 1e-6
    vec, table = torch.zeros(1, 1, 32), torch.stack([torch.ones(1, 16), torch.zeros(1, 16)])
    double(quiet, quiet, vec, table)
    single(quiet, vec, table)
    final(quiet, vec)
    assert len(seen) == 6
    for normalised in seen:
        torch.testing.assert_close(normalised, quiet / (1e-6 + 1e-6) ** 0.5)


def test_head_norms_have_the_published_epsilon_where_heads_are_placed(transformer):
    quiet = torch.full((1, 2, 3, 16), 1e-3)
    still = rotary_table(torch.zeros(3), 16)
    for norm in (transformer.double_blocks[0].txt_attn_k_norm, transformer.single_blocks[0].q_norm):
        expected = (1e-3 / (1e-6 + 1e-6) ** 0.5) * norm.weight
        for place in (tokenwise.place, tokenwise.place_by_heads):
            placed = place(quiet, quiet, norm, norm, still)
            torch.testing.assert_close(placed, expected.expand(1, 2, 6, 16))


def test_inputs_of_another_size_are_named(transformer, inputs):
    prompt, scene, character = inputs.prompt(), inputs.scene(), inputs.character()
    bad = {
        r"Text states are \(1, 8, 9\) .* needs \(batch, tokens, 10\) and \(batch, 6\)": (
            replace(prompt, states=prompt.states[..., :9]), scene, [],
        ),
        r"The text mask is \(1, 7\)": (replace(prompt, mask=prompt.mask[:, :7]), scene, []),
        "A prompt without any token": (replace(prompt, mask=prompt.mask * 0), scene, []),
        r"The reference is \(1, 4, 1, 4, 5\), .* even height and width": (
            prompt, replace(scene, reference=scene.reference[..., :5]), [],
        ),
        r"Speech features are \(1, 9, 10, 4, 3\), .* \(batch, frames, 10, 5, 3\)": (
            prompt, scene, [replace(character, audio=character.audio[:, :, :, :4])],
        ),
        "8 video frames are no whole number of latents": (
            prompt, scene, [replace(character, audio=character.audio[:, :8])],
        ),
        r"mask is \(1, 1, 2, 4, 6\), its speech lasts 3 latent frames": (
            prompt, scene, [replace(character, mask=character.mask.expand(-1, -1, 2, -1, -1))],
        ),
        r"mask is \(1, 1, 1, 2, 6\), the reference 4 x 6": (
            prompt, scene, [replace(character, mask=character.mask[..., :2, :])],
        ),
    }  # fmt: skip
    for message, arguments in bad.items():
        with pytest.raises(ValueError, match=message):
            transformer.prepare(*arguments)


def test_prompts_of_unequal_length_are_refused_in_one_batch(transformer, inputs):
    short, long = inputs.prompt(), inputs.prompt(words=3)
    both = type(short)(
        **{
            name: torch.cat([getattr(short, name), getattr(long, name)])
            for name in ("states", "mask", "pooled")
        }
    )
    with pytest.raises(ValueError, match=r"Prompts of \[6, 7\] tokens do not fit into one batch"):
        transformer.prepare(both, inputs.scene())


def test_windows_of_another_size_are_named(transformer, conditions, inputs):
    with pytest.raises(ValueError, match="Latents of 4 x 4 do not fit a reference of 4 x 6"):
        transformer(inputs.latents()[..., :4], T, conditions)
    with pytest.raises(ValueError, match=r"2 latent frames do not fit speech of \[3\]"):
        transformer(inputs.latents(frames=2), T, conditions)


def test_many_tokens_pass_in_chunks_and_nothing_changes(transformer, conditions, inputs, monkeypatch):
    x = inputs.latents()
    whole = transformer(x, T, conditions)
    rows = []
    hooks = [
        layer.register_forward_pre_hook(lambda _m, given: rows.append(given[0].shape[1]))
        for layer in (transformer.double_blocks[0].img_mlp.fc1, transformer.single_blocks[0].linear2)
    ]
    monkeypatch.setattr(tokenwise, "CHUNK", 5)
    chunked = transformer(x, T, conditions)
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(chunked, whole, atol=1e-6, rtol=1e-5)
    assert max(rows) == 5


@pytest.mark.parametrize("chunk", [1, 5, 11, 12, 16])
def test_chunks_of_tokens_give_the_same_bits(transformer, inputs, chunk, monkeypatch):
    """In whole numbers sums are exact, in whatever order a kernel adds: only a token out of place differs."""
    layer = copy.deepcopy(transformer.single_blocks[0].linear1)
    for parameter in layer.parameters():
        parameter.copy_(parameter.mul(30).round())
    x, others = (inputs.random(2, 12, 32, seed=seed).mul(4).round() for seed in (1, 2))

    def function(part, other):
        return layer(torch.cat([part[..., :16], other[..., 16:]], dim=-1))

    monkeypatch.setattr(tokenwise, "CHUNK", chunk)
    assert torch.equal(tokenwise.in_chunks(function, x, others), function(x, others))


def test_gradients_pass_chunks(transformer, conditions, inputs, monkeypatch):
    monkeypatch.setattr(tokenwise, "CHUNK", 5)
    x = inputs.latents().requires_grad_()
    transformer(x, T, conditions).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().max() > 0
