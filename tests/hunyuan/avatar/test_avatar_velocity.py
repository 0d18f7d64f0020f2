from dataclasses import replace

import pytest
import torch
from pack.hunyuan.avatar import velocity as velocity_module
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


def test_large_windows_run_one_half_after_the_other(transformer, clip, inputs, monkeypatch):
    same_length = replace(clip, negative=inputs.prompt(3))
    schedule, x = published_schedule(4, cfg=7.5), inputs.latents(frames=33)
    together = RingVelocity(transformer, same_length, schedule, 33)(x, 1.0, 0)
    monkeypatch.setattr(velocity_module, "LARGEST_BATCH", 0)
    calls = calls_of(transformer, "features", monkeypatch)
    apart = RingVelocity(transformer, same_length, schedule, 33)(x, 1.0, 0)
    assert [arguments[0].shape[0] for arguments in calls] == [1, 1]
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-5)


def test_several_takes_equal_one_after_the_other(transformer, clip, inputs):
    velocity = RingVelocity(transformer, clip, published_schedule(4, cfg=7.5), RING)
    x = inputs.latents(2, frames=RING)
    both = velocity(x, 0.9, 1)
    for i in range(2):
        torch.testing.assert_close(both[i : i + 1], velocity(x[i : i + 1], 0.9, 1), atol=1e-5, rtol=1e-5)


def test_cached_steps_run_no_block_but_the_last(transformer, clip, inputs, monkeypatch):
    schedule = [replace(step, cached=i in (1, 2)) for i, step in enumerate(published_schedule(4, cfg=7.5))]
    calls = calls_of(transformer, "features", monkeypatch)
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


def test_speech_of_a_window_that_stays_is_heard_once(transformer, clip, inputs, monkeypatch):
    calls = calls_of(transformer, "listen", monkeypatch)
    velocity = RingVelocity(transformer, clip, published_schedule(4, cfg=7.5), 33)
    calls.clear()  # those of the prompts
    list(denoise_ring(velocity, inputs.latents(frames=33), SIGMAS))
    assert len(calls) == 2


def test_silence_is_heard_once_where_windows_move(transformer, clip, inputs, monkeypatch):
    calls = calls_of(transformer, "listen", monkeypatch)
    velocity = RingVelocity(transformer, clip, published_schedule(4, cfg=7.5), RING)
    calls.clear()
    list(denoise_ring(velocity, inputs.latents(frames=RING), SIGMAS))
    assert len(calls) == 1 + 4 * 2


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
    calls = calls_of(transformer, "features", monkeypatch)
    velocity = RingVelocity(transformer, clip, schedule, 33)
    list(denoise_ring(velocity, inputs.latents(frames=33), SIGMAS, heun))
    assert len(calls) == 2 * 2  # both stages of the first step, both halves


def test_speech_longer_than_the_ring_is_refused(transformer, clip, inputs):
    long = replace(clip, characters=(inputs.character(frames=45),))
    with pytest.raises(
        ValueError, match="Speech of 177 frames and a mask of 1 do not fit a ring of 40 latents"
    ):
        RingVelocity(transformer, long, published_schedule(4, cfg=7.5), RING)
