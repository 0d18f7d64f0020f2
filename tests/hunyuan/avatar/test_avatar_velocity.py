from dataclasses import replace

import pytest
import torch
from pack.hunyuan.avatar import velocity as velocity_module
from pack.hunyuan.avatar.audio_adapter import hear
from pack.hunyuan.avatar.conditions import Character
from pack.hunyuan.avatar.ring import windows
from pack.hunyuan.avatar.schedule import published_schedule, scaled_schedule
from pack.hunyuan.avatar.velocity import AvatarClip, RingVelocity, denoise_ring
from pack.hunyuan.sampling.schedule import flow_sigmas
from pack.hunyuan.sampling.solvers import heun

RING = 40
SIGMAS = flow_sigmas(4, shift=5.0)


@pytest.fixture(scope="module")
def clip(inputs):
    return AvatarClip(
        positive=inputs.prompt(1),
        negative=inputs.prompt(2, words=3),
        scene=inputs.scene(),
        characters=(inputs.character(frames=30),),
    )


def calls_of(module, name, monkeypatch):
    """How often a method of a module is called."""
    calls, method = [], getattr(module, name)

    def counted(*arguments):
        calls.append(arguments)
        return method(*arguments)

    monkeypatch.setattr(module, name, counted)
    return calls


def test_averaged_velocities_are_the_mean_of_euler_steps(transformer, clip, inputs):
    velocity = RingVelocity(transformer, clip, published_schedule(4, cfg=7.5), RING)
    x = inputs.latents(frames=RING)
    (first, *_) = denoise_ring(velocity, x, SIGMAS)

    start, end = SIGMAS[:2].tolist()
    arrived = [[] for _ in range(RING)]
    for window in windows(RING, 0):
        part = x[:, :, window.latents]
        after = part + (end - start) * velocity.window_velocity(part, start, 0, window)
        for i, place in enumerate(window.latents.tolist()):
            arrived[place].append(after[:, :, i])
    expected = torch.stack([torch.stack(each).mean(0) for each in arrived], dim=2)
    torch.testing.assert_close(first, expected, atol=1e-5, rtol=1e-5)


def test_the_two_halves_differ_in_prompt_and_speech(transformer, clip, inputs):
    schedule = published_schedule(20, cfg=7.5)
    velocity = RingVelocity(transformer, clip, schedule, 33)
    (window,) = windows(33, 0)
    x, t = inputs.latents(frames=33), torch.tensor([1000.0])
    quiet = replace(clip.characters[0], audio=torch.zeros(1, 129, 10, 5, 3))
    loud = replace(quiet, audio=torch.cat([clip.characters[0].audio, quiet.audio[:, 117:]], dim=1))
    for step in (0, 10):
        strength = schedule[step].voice_strength
        unguided, guided = (
            transformer(x, t, transformer.prepare(prompt, clip.scene, [replace(who, strength=strength)]))
            for prompt, who in (
                (clip.negative if step == 0 else clip.positive, quiet),
                (clip.positive, loud),
            )
        )
        expected = unguided + schedule[step].guidance * (guided - unguided)
        found = velocity.window_velocity(x, 1.0, step, window)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("large", [True, False])
def test_large_windows_and_those_short_of_memory_run_one_half_after_the_other(
    transformer, clip, inputs, monkeypatch, large
):
    same_length = replace(clip, negative=inputs.prompt(3))
    schedule, x = published_schedule(4, cfg=7.5), inputs.latents(frames=33)
    together = RingVelocity(transformer, same_length, schedule, 33)(x, 1.0, 0)
    if large:
        monkeypatch.setattr(velocity_module, "LARGEST_BATCH", 0)
    calls = calls_of(transformer, "speak", monkeypatch)
    apart = RingVelocity(transformer, same_length, schedule, 33, together=large)(x, 1.0, 0)
    assert [arguments[0].image.shape[0] for arguments in calls] == [1, 1]
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-5)


def test_several_takes_equal_one_after_the_other(transformer, clip, inputs):
    velocity = RingVelocity(transformer, clip, published_schedule(4, cfg=7.5), RING)
    x = inputs.latents(2, frames=RING)
    both = velocity(x, 0.9, 1)
    for i in range(2):
        torch.testing.assert_close(both[i : i + 1], velocity(x[i : i + 1], 0.9, 1), atol=1e-5, rtol=1e-5)


def test_cached_steps_run_no_block_but_the_last(transformer, clip, inputs, monkeypatch):
    schedule = [replace(step, cached=i in (1, 2)) for i, step in enumerate(published_schedule(4, cfg=7.5))]
    calls = calls_of(transformer, "speak", monkeypatch)
    states = list(
        denoise_ring(RingVelocity(transformer, clip, schedule, RING), inputs.latents(frames=RING), SIGMAS)
    )
    assert len(states) == 4
    assert len(calls) == 2 * 2 * 2  # full steps, windows, halves of unequal length
    uncached = [replace(step, cached=False) for step in schedule]
    exact = list(
        denoise_ring(RingVelocity(transformer, clip, uncached, RING), inputs.latents(frames=RING), SIGMAS)
    )
    torch.testing.assert_close(states[0], exact[0])
    assert not torch.allclose(states[1], exact[1], atol=1e-4)


@pytest.mark.parametrize("ring", [33, RING, 70])
def test_nothing_is_computed_in_a_step_that_the_clip_has_once(transformer, clip, inputs, ring):
    """Counted: layers that see the prompt before time does, the portrait, motion, or speech."""
    once = {
        "audio_proj": transformer.audio_proj,
        "to_kv": transformer.audio_adapters[1].to_kv,
        "norm1": transformer.audio_adapters[1].norm1,
        "embedded prompt": transformer.txt_in.input_embedder,
        "mean of the prompt": transformer.txt_in.c_embedder,
        "portrait": transformer.ref_in,
        "portrait among all": transformer.before_proj,
        "face": transformer.motion_exp,
        "head": transformer.motion_pose,
        "frame rate": transformer.fps_proj,
        "pooled prompt": transformer.vector_in,
    }
    calls = dict.fromkeys(once, 0)
    hooks = [
        module.register_forward_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
        for name, module in once.items()
    ]
    velocity = RingVelocity(transformer, clip, scaled_schedule(8, cfg=7.5), ring)
    prepared = dict(calls)
    list(denoise_ring(velocity, inputs.latents(frames=ring), flow_sigmas(8, shift=5.0)))
    for hook in hooks:
        hook.remove()
    assert calls == prepared
    speech = -(-4 * ring // 129) + 1  # a window's worth at a time, and silence
    for name in ("audio_proj", "to_kv", "norm1"):
        assert calls.pop(name) == speech
    assert set(calls.values()) == {2}  # both prompts


def test_the_cost_of_hearing_scales_with_the_masks_area(transformer, clip, inputs):
    """Counted: video tokens that ask for speech, in every adapter."""
    asked = []
    hooks = [
        adapter.to_q.register_forward_hook(lambda _m, given, _out: asked.append(given[0].numel() // 32))
        for adapter in transformer.audio_adapters
    ]
    found = []
    for columns in (2, 4, 6):
        asked.clear()
        people = (inputs.character(frames=30, mask=inputs.mask(slice(0, 4), slice(0, columns))),)
        velocity = RingVelocity(
            transformer, replace(clip, characters=people), scaled_schedule(8, cfg=7.5), 33
        )
        velocity(inputs.latents(frames=33), 0.9, 7)
        found.append(sum(asked))
    for hook in hooks:
        hook.remove()
    tokens = 33 * 2  # in a column of tokens
    assert found == [2 * 2 * tokens * columns for columns in (1, 2, 3)]  # halves and adapters


def test_halves_of_the_same_prompt_share_the_blocks_before_anyone_is_heard(transformer, clip, inputs):
    rows = {f"{kind} {i}": 0 for kind, count in (("double", 4), ("single", 2)) for i in range(count)}

    def counting(name):
        return lambda _module, given, _out: rows.update({name: rows[name] + given[0].shape[0]})

    hooks = [
        block.register_forward_hook(counting(f"{kind} {i}"))
        for kind, blocks in (("double", transformer.double_blocks), ("single", transformer.single_blocks))
        for i, block in enumerate(blocks)
    ]
    schedule, found = published_schedule(20, cfg=7.5), {}
    for step in (0, 10):
        rows.update(dict.fromkeys(rows, 0))
        RingVelocity(transformer, clip, schedule, 33)(inputs.latents(frames=33), 0.9, step)
        found[step] = dict(rows)
    for hook in hooks:
        hook.remove()
    assert set(found[0].values()) == {2}
    assert found[10] == {**dict.fromkeys(rows, 2), "double 0": 1, "double 1": 1}


@pytest.mark.parametrize("largest", [0, 64 * 112])
def test_sharing_changes_nothing(transformer, clip, inputs, monkeypatch, largest):
    monkeypatch.setattr(velocity_module, "LARGEST_BATCH", largest)
    schedule, x = published_schedule(20, cfg=7.5), inputs.latents(2, frames=33)
    shared = RingVelocity(transformer, clip, schedule, 33)(x, 0.9, 10)
    # A negative prompt that is the positive one gives the same halves without sharing.
    apart = [replace(step, negative=True) for step in schedule]
    same = replace(clip, negative=clip.positive)
    torch.testing.assert_close(
        shared, RingVelocity(transformer, same, apart, 33)(x, 0.9, 10), atol=1e-5, rtol=1e-5
    )


def test_a_character_who_is_silent_is_as_one_with_zeros(transformer, clip, inputs):
    """The guided half of a silent character is the unguided one: guidance has nothing to go away from."""
    quiet = replace(clip.characters[0], audio=torch.zeros(1, 1, 10, 5, 3))
    schedule = published_schedule(20, cfg=7.5)
    x = inputs.latents(frames=RING)
    one, other = (
        RingVelocity(transformer, replace(clip, characters=(quiet,)), each, RING)(x, 0.9, 10)
        for each in (schedule, [replace(step, guidance=0.0) for step in schedule])
    )
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_swapped_voices_swap_what_each_mask_hears(transformer, clip, inputs):
    left, right = inputs.mask(columns=slice(0, 2)), inputs.mask(columns=slice(4, 6))
    first, second = inputs.audio(30, seed=3), inputs.audio(30, seed=4)
    x, schedule = inputs.latents(frames=RING), published_schedule(20, cfg=7.5)

    def said(*pairs):
        people = tuple(Character(audio=audio, mask=mask) for audio, mask in pairs)
        return RingVelocity(transformer, replace(clip, characters=people), schedule, RING)(x, 0.9, 10)

    together = said((first, left), (second, right))
    torch.testing.assert_close(together, said((second, right), (first, left)), atol=1e-6, rtol=1e-5)
    assert not torch.allclose(together, said((second, left), (first, right)), atol=1e-4)

    # Before the first block that mixes them, each mask's tokens hear their own speech alone.
    (window,) = windows(33, 0)
    conditions = [
        RingVelocity(transformer, replace(clip, characters=people), schedule, 33)._speaking(
            schedule[10], window, 1
        )[1]
        for people in (
            (Character(audio=first, mask=left), Character(audio=second, mask=right)),
            (Character(audio=second, mask=left), Character(audio=first, mask=right)),
        )
    ]
    image, adapter = inputs.random(1, 34 * 6, 32), transformer.audio_adapters[0]
    heard, swapped = (
        (hear(image, each.voices, adapter, 0) - image).view(34, 2, 3, 32) for each in conditions
    )
    assert heard[:, :, 1].abs().max() == heard[0].abs().max() == 0  # no mask there, and the portrait
    assert ((heard - swapped)[1:31, 0, ::2].abs().amax(-1) > 0).all()
    (alone,) = RingVelocity(
        transformer, replace(clip, characters=(Character(audio=second, mask=left),)), schedule, 33
    )._speaking(schedule[10], window, 1)[1:]
    only = (hear(image, alone.voices, adapter, 0) - image).view(34, 2, 3, 32)
    torch.testing.assert_close(swapped[:, :, 0], only[:, :, 0], atol=1e-6, rtol=1e-5)


def test_the_ring_may_lie_apart_from_the_network_and_features_apart_from_both(transformer, clip, inputs):
    schedule = [replace(step, cached=i == 1) for i, step in enumerate(published_schedule(4, cfg=7.5))]
    x = inputs.latents(frames=RING)
    (*_, here), (*_, kept) = (
        denoise_ring(RingVelocity(transformer, clip, schedule, RING, keep_on=device), x, SIGMAS)
        for device in (None, "cpu")
    )
    assert torch.equal(here, kept)


def test_a_moving_mask_moves_with_the_windows(transformer, clip, inputs):
    still = clip.characters[0]
    moving = replace(still, mask=still.mask.expand(-1, -1, RING, -1, -1))
    x, schedule = inputs.latents(frames=RING), published_schedule(4, cfg=7.5)
    found, expected = (
        RingVelocity(transformer, replace(clip, characters=(who,)), schedule, RING)(x, 0.9, 3)
        for who in (moving, still)
    )
    torch.testing.assert_close(found, expected)


def test_solvers_with_stages_stay_in_their_step(transformer, clip, inputs, monkeypatch):
    schedule = [replace(step, cached=i > 0) for i, step in enumerate(scaled_schedule(4, cfg=7.5))]
    calls = calls_of(transformer, "speak", monkeypatch)
    velocity = RingVelocity(transformer, clip, schedule, 33)
    list(denoise_ring(velocity, inputs.latents(frames=33), SIGMAS, heun))
    assert len(calls) == 2 * 2  # both stages of the first step, both halves


def test_speech_longer_than_the_ring_is_refused(transformer, clip, inputs):
    long = replace(clip, characters=(inputs.character(frames=45),))
    with pytest.raises(
        ValueError, match="Speech of 177 frames and a mask of 1 do not fit a ring of 40 latents"
    ):
        RingVelocity(transformer, long, published_schedule(4, cfg=7.5), RING)
