"""Words and what was seen, as CONDITIONING."""

import torch
from pack import nodes


def test_both_prompts_are_encoded_together_and_padded_to_the_longer(run, clip, prompts):
    (positive,), (negative,) = prompts
    states = clip.cond_stage_model.encode("noisy, harsh", "steps on gravel")
    assert torch.equal(negative[0], states[0])
    assert torch.equal(positive[0], states[1])
    assert positive[0].shape == negative[0].shape == (1, 17, 64)  # one token a byte, a start and an end
    assert not positive[0].requires_grad


def test_the_high_quality_tag_stands_before_the_words(run, clip):
    tagged, _ = run(nodes.FoleyPrompt, clip=clip, positive="rain", high_quality=True)
    written, _ = run(nodes.FoleyPrompt, clip=clip, positive="high-quality, rain")
    assert torch.equal(tagged[0][0], written[0][0])
    alone, _ = run(nodes.FoleyPrompt, clip=clip, positive=" ", high_quality=True)
    assert torch.equal(alone[0][0], run(nodes.FoleyPrompt, clip=clip, positive="high-quality")[0][0][0])


def test_entries_carry_the_clip_and_what_is_hidden(conditioning, features):
    positive, negative, latent = conditioning
    for entry in (positive[0][1], negative[0][1]):
        assert entry["foley_visual"] is features.visual
        assert entry["foley_sync"] is features.sync
    assert positive[0][1]["foley_drop"] == frozenset()
    assert negative[0][1]["foley_drop"] == {"visual", "sync"}
    assert latent["samples"].shape[-1] == features.timing.latent_frames
    assert not latent["samples"].any()


def test_other_values_of_an_entry_are_kept(run, prompts, features):
    (positive,), negative = prompts
    marked = [[positive[0], {"mine": 7}]]
    result, *_ = run(nodes.FoleyConditioning, positive=marked, negative=negative, features=features)
    assert result[0][1]["mine"] == 7
