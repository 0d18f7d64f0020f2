"""Block streaming under the Avatar transformer, whose blocks run in two parts, one of them twice a step."""

import pytest
import torch
from pack.host.standalone.streaming import BlockStream
from pack.hunyuan.avatar.conditions import AvatarPrompt, AvatarScene, Character, Motion
from pack.hunyuan.avatar.transformer import AvatarTransformer
from pack.model_loaders.avatar import load_transformer
from pack.model_loaders.avatar_folder import POCKET, find_avatar

FRAMES, HEIGHT, WIDTH = 3, 4, 6  # latents


def blocks_of(network: AvatarTransformer) -> list[torch.nn.Module]:
    return [*network.double_blocks, *network.single_blocks]


def pocket() -> AvatarTransformer:
    return load_transformer(find_avatar(POCKET, None).transformer, torch.float32)


def step(network: AvatarTransformer) -> list[torch.Tensor]:
    """What a guided step runs: the opening once, then the rest with speech and in silence."""
    config, generator = network.config, torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(shape, generator=generator)

    prompt = AvatarPrompt(
        states=random(1, 6, config.text_size), mask=torch.ones(1, 6), pooled=random(1, config.pooled_size)
    )
    latents = random(1, config.latent_channels, FRAMES, HEIGHT, WIDTH)
    scene = AvatarScene(reference=latents[:, :, :1], motion=Motion.of())
    speech = random(
        1, 4 * FRAMES - 3, 10, config.audio_features // (10 * config.audio_size), config.audio_size
    )
    mask, t = torch.ones(1, 1, 1, HEIGHT, WIDTH), torch.tensor([500.0])
    velocities = []
    opening = None
    for audio in (speech, torch.zeros_like(speech)):
        conditions = network.prepare(prompt, scene, [Character(audio=audio, mask=mask)])
        opening = opening or network.open(latents, t, conditions)
        velocities.append(network.predict(network.speak(opening, t, conditions), t, conditions))
    return velocities


def test_the_pocket_network_gives_the_same_bits_streamed():
    with torch.inference_mode():
        expected = step(pocket())
    network = pocket()
    stream = BlockStream(network, blocks_of(network), "cpu")
    with torch.inference_mode():
        for _ in range(2):
            for velocity, whole in zip(step(network), expected, strict=True):
                assert torch.equal(velocity, whole)
    assert not torch.equal(*expected)
    assert set(stream.copies) == set(range(len(blocks_of(network))))


def test_a_host_need_not_stream_all_blocks():
    network = pocket()
    with torch.inference_mode():
        expected = step(network)
    BlockStream(network, list(network.single_blocks), "cpu")
    with torch.inference_mode():
        for velocity, whole in zip(step(network), expected, strict=True):
            assert torch.equal(velocity, whole)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_too():
    network = pocket()
    stream = BlockStream(network, blocks_of(network), "cuda")
    assert all(parameter.device.type == "cpu" for parameter in network.single_blocks.parameters())
    assert network.final_layer.linear.weight.is_cuda
    assert all(place.is_cuda for place in stream.places)
