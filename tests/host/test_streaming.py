"""Blocks that wait in host memory: the same numbers, copied one ahead, in the room of two blocks."""

import pytest
import torch
from pack.host.standalone.streaming import BlockStream, slots_of
from pack.hunyuan.foley.config import FoleyConfig
from pack.hunyuan.foley.transformer import FoleyTransformer
from pack.hunyuan.layers.packed import packed_layers, use_packed
from pack.hunyuan.layers.packing import INT8
from pack.model_loaders.foley_packed import packable_layers

CONFIG = FoleyConfig(
    hidden_size=32, num_heads=2, joint_depth=2, audio_depth=3,
    latent_channels=6, text_size=10, visual_size=12, sync_size=14,
)  # fmt: skip


def made(packed: bool = False, config: FoleyConfig = CONFIG) -> FoleyTransformer:
    generator = torch.Generator().manual_seed(0)
    network = FoleyTransformer(config).requires_grad_(False).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    if packed:
        weights = {name: network.get_submodule(name).weight for name in packable_layers(network)}
        use_packed(network, dict.fromkeys(weights, INT8))
        for name, layer in packed_layers(network).items():
            layer.weight.data, layer.scale = INT8.pack(weights[name])
            if layer.bias is not None:
                torch.nn.init.normal_(layer.bias, generator=generator)
    return network


def tensors_of(network):
    return [slot.tensor for slot in slots_of(network)]


def blocks_of(network):
    return [*network.triple_blocks, *network.single_blocks]


def velocity(network, seed=1, device="cpu"):
    generator = torch.Generator().manual_seed(seed)
    text, visual, sync, x = (
        torch.randn(shape, generator=generator).to(device)
        for shape in ((2, 5, 10), (2, 8, 12), (2, 24, 14), (2, 6, 50))
    )
    conditions = network.prepare(text, visual, sync)
    return network(x, torch.tensor([400.0, 400.0], device=device), conditions)


@pytest.fixture(params=["no_grad", "inference_mode"])
def mode(request):
    return torch.no_grad if request.param == "no_grad" else torch.inference_mode


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("streamed", [slice(None), slice(None, None, 2), slice(1, 2)])
def test_a_streamed_network_gives_the_same_bits(mode, packed, streamed):
    with mode():
        expected = [velocity(made(packed), seed) for seed in (1, 2)]
    network = made(packed)
    BlockStream(network, blocks_of(network)[streamed], "cpu")
    with mode():
        for seed, whole in enumerate(expected, 1):
            assert torch.equal(velocity(network, seed), whole)


def test_each_block_is_copied_once_a_pass_one_ahead_of_its_use():
    network, told = made(), []
    blocks = blocks_of(network)
    stream = BlockStream(network, blocks, "cpu")
    for number, block in enumerate(blocks):
        block.register_forward_hook(lambda *_, number=number: told.append((number, len(stream.copies))))
    conditions = network.prepare(*(torch.randn(1, n, c) for n, c in ((5, 10), (8, 12), (24, 14))))
    for first in (True, False, False, False):
        with torch.no_grad():
            network(torch.randn(1, 6, 50), torch.tensor([400.0]), conditions)
        if first:  # it began with what `prepare` had left, which runs joint blocks alone
            stream.copies.clear()
            told.clear()
    # The first block was brought while the last one computed.
    assert list(stream.copies) == [1, 2, 3, 4, 0] * 3
    # When a block is done, its successor has been copied, and no other.
    assert told == [(number % 5, number + 1) for number in range(15)]


def test_blocks_lie_in_two_places_as_large_as_the_largest_and_nowhere_else_on_the_device():
    network = made(packed=True)
    blocks = blocks_of(network)
    stream = BlockStream(network, blocks, "cpu")
    largest = max(sum(-(-tensor.nbytes // 256) * 256 for tensor in tensors_of(block)) for block in blocks)
    assert stream.device_bytes == 2 * largest

    places, seen = {place.data_ptr(): place.nbytes for place in stream.places}, set()

    def storages(module, inputs):
        seen.update(tensor.untyped_storage().data_ptr() for tensor in tensors_of(module))

    layers = [
        module for block in blocks for module in block.modules() if list(module.parameters(recurse=False))
    ]
    for module in layers:
        module.register_forward_pre_hook(storages)
    with torch.no_grad():
        velocity(network)
    assert seen == set(places)
    # And where a block is not in use, it lies in host memory.
    resting = [block for block in blocks if block is not blocks[-1]]
    (memory,) = {host.memory.untyped_storage().data_ptr() for host in stream.blocks}
    for block in resting:
        assert {tensor.untyped_storage().data_ptr() for tensor in tensors_of(block)} == {memory}


def test_closing_leaves_a_plain_network():
    network = made()
    stream = BlockStream(network, blocks_of(network), "cpu")
    with torch.no_grad():
        streamed = velocity(network)
        stream.close()
        assert torch.equal(velocity(network), streamed)
    assert not stream.places
    assert network.triple_blocks[0].audio_self_proj._forward_pre_hooks == {}


def test_only_what_is_given_is_streamed():
    network = made()
    blocks = blocks_of(network)
    stream = BlockStream(network, blocks[:3], "cpu")
    assert [host.block for host in stream.blocks] == blocks[:3]
    assert not any(module._forward_pre_hooks for module in blocks[3].modules())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("packed", [False, True])
def test_on_a_gpu_the_bits_are_those_of_resident_blocks_in_the_room_of_two(packed):
    """Wide enough that copies take longer than computing: a copy that came too early or late would show."""
    wide = FoleyConfig(
        **{**vars(CONFIG), "hidden_size": 768, "num_heads": 6, "joint_depth": 3, "audio_depth": 5}
    )
    resident = made(packed, wide).cuda()
    with torch.inference_mode():
        expected = [velocity(resident, seed, "cuda") for seed in range(3)]
    whole = sum(tensor.nbytes for tensor in tensors_of(resident))
    del resident
    torch.cuda.empty_cache()

    network = made(packed, wide)
    before = torch.cuda.memory_allocated()
    stream = BlockStream(network, blocks_of(network), "cuda")
    stays = torch.cuda.memory_allocated() - before
    assert stream.device_bytes < stays < 0.5 * whole
    assert stream.blocks[0].memory.is_pinned()
    with torch.inference_mode():
        for _ in range(3):
            for seed, answer in enumerate(expected):
                assert torch.equal(velocity(network, seed, "cuda"), answer)
    stream.close()
