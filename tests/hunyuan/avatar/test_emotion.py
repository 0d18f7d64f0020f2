from dataclasses import replace

import pytest
import torch
from pack.hunyuan.avatar.transformer import AvatarTransformer

T = torch.tensor([500.0])


def conditions_of(network, inputs, strength=1.0, seed=5):
    picture = inputs.latents(frames=1, seed=seed)
    scene = inputs.scene(emotion=picture, emotion_strength=strength)
    return network.prepare(inputs.prompt(), scene, [inputs.character()])


def without(network, inputs):
    return network.prepare(inputs.prompt(), inputs.scene(), [inputs.character()])


def test_released_files_have_none_and_say_so(transformer, inputs):
    with pytest.raises(ValueError, match=r"no audio emotion module: its file holds no tensors named emotion"):
        conditions_of(transformer, inputs)


def test_strength_zero_is_exactly_no_picture(emotional, inputs):
    x = inputs.latents()
    shown, plain = conditions_of(emotional, inputs, strength=0.0), without(emotional, inputs)
    assert torch.equal(emotional(x, T, shown), emotional(x, T, plain))


def test_the_module_itself_is_the_identity_at_strength_zero(emotional, inputs):
    video = inputs.random(2, 12, 32)
    picture = emotional.emotion.embed(inputs.latents(rows=2, frames=1))
    assert torch.equal(emotional.emotion(video, 1, picture, 0.0), video)


def test_without_a_picture_the_module_does_nothing(emotional, inputs):
    weights = {name: value for name, value in emotional.state_dict().items() if "emotion" not in name}
    plain = AvatarTransformer(replace(emotional.config, emotion=False)).requires_grad_(False)
    plain.load_state_dict(weights)
    x = inputs.latents()
    assert torch.equal(plain(x, T, without(plain, inputs)), emotional(x, T, without(emotional, inputs)))


def test_pictures_and_strengths_make_a_difference(emotional, inputs):
    x = inputs.latents()
    outs = [
        emotional(x, T, without(emotional, inputs)),
        emotional(x, T, conditions_of(emotional, inputs)),
        emotional(x, T, conditions_of(emotional, inputs, strength=0.5)),
        emotional(x, T, conditions_of(emotional, inputs, seed=6)),
    ]
    assert all(out.shape == x.shape for out in outs)
    for i, out in enumerate(outs):
        assert not any(torch.allclose(out, other, atol=1e-4) for other in outs[:i])


def test_the_effect_in_a_block_is_proportional_to_the_strength(emotional, inputs):
    video, picture = inputs.random(1, 12, 32), emotional.emotion.embed(inputs.latents(frames=1))
    half, full = (emotional.emotion(video, 0, picture, strength) - video for strength in (0.5, 1.0))
    torch.testing.assert_close(2 * half, full, atol=1e-5, rtol=1e-5)


def test_every_video_token_reads_the_picture_and_the_reference_does_not(emotional, inputs):
    seen = []
    hook = emotional.emotion.blocks[0].to_q.register_forward_hook(lambda _m, i, _o: seen.append(i[0].shape))
    emotional(inputs.latents(), T, conditions_of(emotional, inputs))
    hook.remove()
    assert seen == [(1, 1, inputs.frames * 6, 32)]


def test_gradients_reach_the_module_and_the_picture(emotional, inputs):
    try:
        emotional.emotion.requires_grad_(True)
        picture = inputs.latents(frames=1, seed=5).requires_grad_()
        conditions = emotional.prepare(inputs.prompt(), inputs.scene(emotion=picture), [inputs.character()])
        emotional(inputs.latents(), T, conditions).square().sum().backward()
        assert picture.grad is not None
        assert picture.grad.abs().sum() > 0
        for name, parameter in emotional.emotion.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name
    finally:
        emotional.emotion.requires_grad_(False)
        emotional.zero_grad()
