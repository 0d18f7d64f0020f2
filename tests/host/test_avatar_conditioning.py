import pytest
import torch
from pack.host.avatar_conditioning import (
    avatar_clip,
    check_ring,
    empty_latent,
    entry_of,
    on_device,
    silenced,
    with_scene,
)
from pack.hunyuan.avatar.conditions import AvatarPrompt, AvatarScene, Character, Motion
from pack.hunyuan.avatar.timing import AvatarTiming


@pytest.fixture
def prompt():
    return AvatarPrompt(
        states=torch.rand(1, 8, 4).half(), mask=torch.ones(1, 8, dtype=torch.int64), pooled=torch.rand(1, 3)
    )


@pytest.fixture
def scene():
    return AvatarScene(reference=torch.rand(1, 16, 1, 4, 6), motion=Motion.of())


@pytest.fixture
def people():
    return (Character(audio=torch.rand(1, 5, 10, 5, 3), mask=torch.ones(1, 1, 1, 4, 6)),)


def test_a_prompt_travels_in_an_entry_and_comes_back(prompt, scene, people):
    positive = with_scene(entry_of(prompt), scene, people, silent=False)
    negative = with_scene(entry_of(prompt), scene, people, silent=True)
    clip = avatar_clip(positive, negative)
    assert torch.equal(clip.positive.states, prompt.states.float())
    assert torch.equal(clip.negative.mask, prompt.mask)
    assert clip.scene is scene
    assert clip.characters is people
    assert on_device(clip, torch.device("meta")).scene.reference.is_meta
    assert not on_device(clip, torch.device("meta")).characters[0].audio.is_meta


def test_copies_leave_the_original_alone(prompt, scene, people):
    entry = entry_of(prompt)
    spoken = with_scene(entry, scene, people, silent=False)
    assert "avatar_scene" not in entry[0][1]
    assert silenced(spoken)[0][1]["avatar_silent"]
    assert not spoken[0][1]["avatar_silent"]


def test_what_is_missing_is_named(prompt, scene, people):
    entry = entry_of(prompt)
    whole = with_scene(entry, scene, people, silent=False)
    foreign = [[torch.rand(1, 8, 4), {"pooled_output": None}]]
    for positive, negative, message in (
        (entry, whole, "Connect Avatar Conditioning between"),
        (whole, [], "negative conditioning has 0 entries"),
        (whole, foreign, "holds no prompt for Avatar"),
    ):
        with pytest.raises(ValueError, match=message):
            avatar_clip(positive, negative)


def test_an_empty_latent_is_a_ring(scene):
    latent = empty_latent(2, scene, AvatarTiming(140, fit=True), 25)
    assert latent["samples"].shape == (2, 16, 36, 4, 6)
    assert (latent["avatar_frames"], latent["avatar_fps"]) == (140, 25.0)
    check_ring(latent, 16)


@pytest.mark.parametrize("shape", [(1, 16, 32, 4, 6), (1, 4, 40, 4, 6), (1, 16, 40)])
def test_latents_that_are_no_ring_are_refused(shape):
    with pytest.raises(ValueError, match="Avatar needs \\(takes, 16, 33 or more, height, width\\)"):
        check_ring({"samples": torch.zeros(shape)}, 16)
