import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.hunyuan.avatar.audio_adapter import CrossAdapter, by_latent, hear, token_mask, tokens_inside
from pack.hunyuan.avatar.conditions import Voice
from pack.hunyuan.layers.attention import attention

FRAMES, ROWS, COLUMNS = 3, 2, 3
TOKENS = ROWS * COLUMNS


@pytest.fixture(scope="module")
def adapter(randomised):
    return randomised(CrossAdapter(16, 8, 1, attention=attention))


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def voice_of(adapter, mask, seed=0):
    source = by_latent(random(mask.shape[0], 4 * FRAMES - 3, 4, 16, seed=seed))
    places, weights = tokens_inside(token_mask(mask, FRAMES))
    return Voice(keys_values=adapter.keys_values(source)[:, None], places=places, weights=weights)


def hear_everywhere(image, voices, masks, adapter):
    """The slow way: all video tokens hear all voices, and the mask picks."""
    video = image[:, TOKENS:].unflatten(1, (FRAMES, TOKENS))
    for voice, mask in zip(voices, masks, strict=True):
        heard = adapter(image[:, TOKENS:].unflatten(1, (FRAMES, TOKENS)), voice.keys_values[:, 0])
        video = video + token_mask(mask, FRAMES)[..., None] * heard
    return torch.cat([image[:, :TOKENS], video.flatten(1, 2)], dim=1)


def random_mask(seed, rows=1, frames=1):
    generator = torch.Generator().manual_seed(seed)
    shape = (rows, 1, frames, 2 * ROWS, 2 * COLUMNS)
    return torch.rand(shape, generator=generator) * (torch.rand(shape, generator=generator) < 0.4)


def test_a_latent_hears_its_four_video_frames_and_the_first_one_hears_one_four_times():
    frames = torch.arange(9.0)[None, :, None, None].expand(1, 9, 2, 1)
    heard = by_latent(frames)[0, :, ::2, 0].tolist()
    assert heard == [[0, 0, 0, 0], [1, 2, 3, 4], [5, 6, 7, 8]]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 2), st.sampled_from([1, FRAMES]), st.integers(1, 3))
def test_hearing_inside_the_masks_equals_hearing_everywhere_masked(adapter, seed, rows, frames, people):
    masks = [random_mask(seed + i, rows, frames) for i in range(people)]
    voices = [voice_of(adapter, mask, seed=i) for i, mask in enumerate(masks)]
    image = random(rows, (1 + FRAMES) * TOKENS, 16, seed=seed)
    torch.testing.assert_close(
        hear(image, voices, adapter, 0), hear_everywhere(image, voices, masks, adapter), atol=1e-5, rtol=1e-5
    )


def test_only_tokens_inside_the_mask_are_computed(adapter):
    mask = torch.zeros(1, 1, 1, 2 * ROWS, 2 * COLUMNS)
    mask[..., :2, :4] = 0.5  # two tokens
    seen = []
    hook = adapter.to_q.register_forward_hook(lambda _m, inputs, _o: seen.append(tuple(inputs[0].shape)))
    image = random(1, (1 + FRAMES) * TOKENS, 16)
    after = hear(image, [voice_of(adapter, mask)], adapter, 0)
    hook.remove()
    assert seen == [(1, FRAMES, 2, 16)]
    changed = (after != image).any(-1)[0].unflatten(0, (1 + FRAMES, ROWS, COLUMNS)).nonzero().tolist()
    assert changed == [[frame, 0, column] for frame in (1, 2, 3) for column in (0, 1)]


def test_a_latent_frame_hears_no_other_frame(adapter):
    mask, image = torch.ones(1, 1, 1, 2 * ROWS, 2 * COLUMNS), random(1, (1 + FRAMES) * TOKENS, 16)
    tokens = random(1, 4 * FRAMES - 3, 4, 16)
    other = tokens.clone()
    other[:, 5:] += 1  # video frames of the third latent
    places, weights = tokens_inside(token_mask(mask, FRAMES))
    before, after = (
        hear(
            image,
            [Voice(keys_values=adapter.keys_values(by_latent(t))[:, None], places=places, weights=weights)],
            adapter, 0,
        )
        for t in (tokens, other)
    )  # fmt: skip
    frames = (before != after).any(-1)[0].unflatten(0, (1 + FRAMES, TOKENS)).any(-1).tolist()
    assert frames == [False, False, False, True]


def test_disjoint_speakers_do_not_disturb_each_other(adapter):
    left, right = (torch.zeros(1, 1, 1, 2 * ROWS, 2 * COLUMNS) for _ in range(2))
    left[..., :2], right[..., 4:] = 1, 1
    voices = [voice_of(adapter, left, seed=1), voice_of(adapter, right, seed=2)]
    image = random(1, (1 + FRAMES) * TOKENS, 16)
    together = hear(image, voices, adapter, 0)
    assert torch.equal(together, hear(image, voices[::-1], adapter, 0))
    one_by_one = hear(hear(image, voices[:1], adapter, 0), voices[1:], adapter, 0)
    torch.testing.assert_close(together, one_by_one)


def test_frames_of_unequal_masks_are_filled_up_with_silent_tokens():
    mask = torch.zeros(1, 3, TOKENS)
    mask[0, 0, 4], mask[0, 1, :3] = 0.5, 1
    places, weights = tokens_inside(mask)
    assert places.shape == (1, 3, 3)
    assert weights.tolist() == [[[0.5, 0, 0], [1, 1, 1], [0, 0, 0]]]
    assert places[0, :2, 0].tolist() == [TOKENS + 4, 2 * TOKENS]
    assert all(len(set(row)) == 3 for row in places[0].tolist())


def test_norms_have_the_published_epsilon(adapter):
    quiet = torch.tensor([1e-3, -1e-3]).repeat(8)  # variance 1e-6
    expected = quiet / (1e-6 + 1e-5) ** 0.5
    for norm in (adapter.norm1, adapter.norm2):
        torch.testing.assert_close(norm(quiet), expected * norm.weight + norm.bias)
