"""Whole graphs on pocket weights, as a user would wire them."""

import copy

import pytest
import torch
from pack import host, nodes
from pack.hunyuan.sampling.schedule import flow_sigmas

SAMPLES = 960  # per latent frame


def sampled(run, model, conditioning, **settings):
    positive, negative, latent = conditioning
    inputs = {"model": model, "positive": positive, "negative": negative, "latent": latent, "steps": 3}
    return run(nodes.FoleySampler, **(inputs | settings))


def same(old, new) -> bool:
    """Whether two nests of lists and dictionaries hold the same, tensors compared bit for bit."""
    if isinstance(old, torch.Tensor):
        return torch.equal(old, new)
    if isinstance(old, dict):
        return old.keys() == new.keys() and all(same(old[key], new[key]) for key in old)
    if isinstance(old, (list, tuple)):
        return len(old) == len(new) and all(map(same, old, new))
    return old == new


def test_video_and_words_become_sound_as_long_as_the_video(run, model, vae, conditioning, features):
    latent = sampled(run, model, conditioning, seed=1)
    audio = run(nodes.FoleyVAEDecode, vae=vae, latent=latent)
    assert features.sync_frames == 31  # the last of 30 frames at 24 fps is shown at 1.208 s
    assert latent["samples"].shape == (1, 128, 62)
    assert (latent["type"], audio["sample_rate"]) == ("audio", 48_000)
    assert audio["waveform"].shape == (1, 1, 62 * SAMPLES)
    assert audio["waveform"].dtype == torch.float32
    assert 0.01 < audio["waveform"].std() <= 1


def test_words_alone_become_sound_of_the_asked_length(run, model, vae, prompts):
    positive, negative = prompts
    latent = run(nodes.FoleyEmptyLatent, seconds=0.7, batch_size=2)
    made = sampled(run, model, (positive, negative, latent))
    audio = run(nodes.FoleyVAEDecode, vae=vae, latent=made)
    assert audio["waveform"].shape == (2, 1, 35 * SAMPLES)


def test_a_seed_is_a_take_and_take_one_is_the_same_in_every_batch(run, model, prompts, features):
    positive, negative = prompts
    batches = [
        run(nodes.FoleyConditioning, positive=positive, negative=negative, features=features, batch_size=size)
        for size in (1, 3)
    ]
    one, three = (sampled(run, model, batch, seed=5)["samples"] for batch in batches)
    torch.testing.assert_close(one[0], three[0], rtol=1e-4, atol=1e-4)
    assert (three[0] - three[1]).abs().max() > 0.1
    assert torch.equal(one, sampled(run, model, batches[0], seed=5)["samples"])
    assert (one - sampled(run, model, batches[0], seed=6)["samples"]).abs().max() > 0.1


def test_the_sampler_follows_the_published_loop(run, model, conditioning, prompts, features):
    steps, cfg = 4, 3.0
    transformer = model.diffusion_model
    (positive,), (negative,) = prompts
    seen = transformer.prepare(positive[0], features.visual, features.sync)
    empty = transformer.prepare(negative[0], features.visual, features.sync, {"visual", "sync"})
    x = torch.randn(1, 128, 62, generator=torch.Generator().manual_seed(9))
    sigmas = torch.linspace(1, 0, steps + 1)
    with torch.no_grad():
        for i in range(steps):
            time = sigmas[i : i + 1] * 1000
            unguided = transformer(x, time, empty)
            x = x + (unguided + cfg * (transformer(x, time, seen) - unguided)) * (sigmas[i + 1] - sigmas[i])
    made = sampled(run, model, conditioning, seed=9, steps=steps, cfg=cfg)
    torch.testing.assert_close(made["samples"], x, rtol=1e-5, atol=1e-5)


def test_scales_are_multiples_of_cfg_and_the_prompt_can_be_taken_out(run, model, clip, features):
    made = []
    for words in ("rain", "bells"):
        positive, negative = run(nodes.FoleyPrompt, clip=clip, positive=words)
        clip_conditions = run(
            nodes.FoleyConditioning, positive=positive, negative=negative, features=features
        )
        made.append(
            [sampled(run, model, clip_conditions, text_scale=scale)["samples"] for scale in (0.0, 1.0)]
        )
    (rain_unheard, rain), (bells_unheard, bells) = made
    torch.testing.assert_close(rain_unheard, bells_unheard, rtol=1e-4, atol=1e-4)
    assert (rain - bells).abs().max() > 1e-3


def test_every_solver_makes_nearly_the_same_sound_and_none_is_another(run, model, prompts):
    latent = run(nodes.FoleyEmptyLatent, seconds=0.1)
    made = {
        solver: sampled(run, model, (*prompts, latent), cfg=1.0, steps=40, solver=solver)["samples"]
        for solver in ("euler", "heun", "midpoint", "rk4")
    }
    for solver, sound in made.items():
        distances = {
            other: float((sound - made[other]).norm() / sound.norm()) for other in made if other != solver
        }
        assert all(0 < distance < 0.2 for distance in distances.values()), (solver, distances)


def test_a_masked_part_is_made_anew_and_the_rest_is_kept_bit_for_bit(run, model, conditioning):
    positive, negative, _ = conditioning
    sound = sampled(run, model, conditioning, seed=1)
    part = run(nodes.FoleyTimeMask, latent=sound, start=0.4, end=0.8, fade=0.1)
    changed = sampled(run, model, (positive, negative, part), seed=2)["samples"]
    kept = part["noise_mask"][0, 0] == 0
    assert torch.equal(changed[..., kept], sound["samples"][..., kept])
    inside = part["noise_mask"][0, 0] == 1
    assert inside.sum() == 20
    assert ((changed - sound["samples"])[..., inside].abs().amax(dim=1) > 0.01).all()


def test_two_masks_choose_both_parts(run, conditioning):
    latent = conditioning[2]
    first = run(nodes.FoleyTimeMask, latent=latent, start=0.0, end=0.2, fade=0.0)
    both = run(nodes.FoleyTimeMask, latent=first, start=0.8, end=1.0, fade=0.0)
    assert both["noise_mask"].flatten().nonzero().flatten().tolist() == [*range(10), *range(40, 50)]


def test_less_denoise_stays_closer_to_the_sound_and_none_changes_nothing(run, model, conditioning):
    positive, negative, _ = conditioning
    sound = sampled(run, model, conditioning, seed=1, steps=8)
    settings = {"seed": 1, "steps": 8}
    distances = [
        (
            sampled(run, model, (positive, negative, sound), denoise=d, **settings)["samples"]
            - sound["samples"]
        ).norm()
        for d in (0.0, 0.25, 1.0)
    ]
    assert distances[0] == 0
    assert distances[1] > 0


def test_no_node_changes_its_inputs(run, model, vae, clip, video_encoder, images):
    mask = torch.ones(1, 40, 56)
    before = copy.deepcopy((images, mask))
    features = run(nodes.FoleyVideoEncode, video_encoder=video_encoder, images=images, mask=mask)
    assert same((images, mask), before)

    positive, negative = run(nodes.FoleyPrompt, clip=clip, positive="rain")
    run(nodes.FoleyConditioning, positive=positive, negative=negative, features=features)
    assert (positive[0][1], negative[0][1]) == ({}, {})

    positive, negative, latent = run(
        nodes.FoleyConditioning, positive=positive, negative=negative, features=features
    )
    before = copy.deepcopy((positive, negative, latent))
    masked = run(nodes.FoleyTimeMask, latent=latent)
    assert "noise_mask" not in latent
    made = sampled(run, model, (positive, negative, masked))
    run(nodes.FoleyVAEDecode, vae=vae, latent=made)
    for old, new in zip(before, (positive, negative, latent), strict=True):
        assert same(old, new)


def test_unknown_keys_of_a_latent_are_passed_on(run, model, conditioning):
    positive, negative, latent = conditioning
    assert sampled(run, model, (positive, negative, {**latent, "mine": 7}))["mine"] == 7


def test_sigmas_are_the_exact_even_levels(run):
    assert torch.equal(run(nodes.FoleySigmas, steps=7), torch.linspace(1, 0, 8))
    assert run(nodes.FoleySigmas, steps=7, denoise=0.5).shape == (8,)
    shifted = run(nodes.FoleySigmas, steps=2, shift=3.0)
    torch.testing.assert_close(shifted, torch.tensor([1.0, 0.75, 0.0]))


def test_latents_of_another_length_than_the_video_are_named_with_both_lengths(run, model, conditioning):
    positive, negative, _ = conditioning
    latent = run(nodes.FoleyEmptyLatent, seconds=4.0)
    with pytest.raises(ValueError, match=r"latents are 4\.00 s long.*0\.96 to 1\.24 s.*Foley Conditioning"):
        sampled(run, model, (positive, negative, latent))


def test_latents_of_a_picture_are_refused(run, model, conditioning):
    positive, negative, _ = conditioning
    with pytest.raises(ValueError, match=r"latents are \(1, 4, 64, 64\).*Foley Empty Latent"):
        sampled(run, model, (positive, negative, {"samples": torch.zeros(1, 4, 64, 64)}))


def test_a_mask_of_a_picture_is_refused(run, model, conditioning):
    positive, negative, latent = conditioning
    latent = {**latent, "noise_mask": torch.ones(1, 1, 64, 64)}
    with pytest.raises(ValueError, match=r"noise mask is \(1, 1, 64, 64\).*Foley Time Mask"):
        sampled(run, model, (positive, negative, latent))


def test_combined_prompts_are_refused(run, model, conditioning):
    positive, negative, latent = conditioning
    with pytest.raises(ValueError, match="positive conditioning has 2 entries"):
        sampled(run, model, (positive * 2, negative, latent))


def test_a_vae_of_another_model_is_refused(run, conditioning):
    class PictureVae:
        first_stage_model = torch.nn.Identity()

    with pytest.raises(ValueError, match="not Foley's"):
        run(nodes.FoleyVAEDecode, vae=PictureVae(), latent=conditioning[2])


def test_an_empty_part_of_a_sound_cannot_be_chosen(run, conditioning):
    with pytest.raises(ValueError, match="Nothing lies from 2 to 1 s"):
        run(nodes.FoleyTimeMask, latent=conditioning[2], start=2.0, end=1.0)


def test_a_guider_acts_in_its_part_of_the_sampling(run, model, conditioning):
    positive, negative, latent = conditioning

    def made(scale=4.5, **part):
        scales = dict.fromkeys(("text_scale", "video_scale", "sync_scale"), scale)
        guider = run(nodes.FoleyGuider, model=model, positive=positive, negative=negative, **scales, **part)
        return host.sample(guider, latent, flow_sigmas(5), "euler", 3)

    always, at_first = made(), made(guidance_end=0.6)
    assert torch.equal(made(guidance_start=0.0, guidance_end=1.0), always)
    assert torch.equal(made(guidance_end=0.0), made(1.0))
    assert (at_first - always).abs().max() > 1e-3
    assert (at_first - made(1.0)).abs().max() > 1e-3
    with pytest.raises(ValueError, match=r"Guidance from 0\.7 to 0\.2"):
        made(guidance_start=0.7, guidance_end=0.2)
