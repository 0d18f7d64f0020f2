"""Plans for small memory: the best that fits, and what is counted for them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.host.standalone.activations import of_foley, of_module, peak_bytes
from pack.host.standalone.memory_plan import (
    CONTEXT,
    GB,
    FoleyForm,
    Needs,
    blocks_of,
    candidates,
    carry_out,
    plan_memory,
    spread,
)
from pack.host.standalone.streaming import byte_size, slots_of
from pack.host.standalone.turns import Turns
from pack.hunyuan.foley.config import XL, XXL, FoleyConfig
from pack.hunyuan.foley.transformer import FoleyTransformer
from pack.hunyuan.layers.packing import FP8, INT8
from pack.model_loaders.foley_packed import packable_layers
from torch import nn

# Sizes of the published encoders and decoder in float32, counted from their classes; activations as counted.
OTHERS = [
    Needs(int(0.80 * GB), int(0.40 * GB)),
    Needs(int(0.47 * GB), GB // 8),
    Needs(int(0.28 * GB), GB // 4),
]
CONFIG = FoleyConfig(
    hidden_size=32, num_heads=2, joint_depth=2, audio_depth=3,
    latent_channels=6, text_size=10, visual_size=12, sync_size=14,
)  # fmt: skip


def tensors_of(network):
    return [slot.tensor for slot in slots_of(network)]


def form(config, packing=None, dtype=torch.bfloat16, rows=2, seconds=10.0):
    names = packable_layers(FoleyTransformer(config, device="meta")) if packing else []
    name = packing.name if packing else "bfloat16"
    return FoleyForm(
        name=name, packing=packing and name, config=config, packings=dict.fromkeys(names, packing),
        dtype=dtype, rows=rows, seconds=seconds,
    )  # fmt: skip


@pytest.fixture(scope="module")
def published():
    return {name: [form(config), form(config, INT8)] for name, config in (("xl", XL), ("xxl", XXL))}


@pytest.mark.parametrize(
    ("network", "gigabytes", "expected"),
    [
        ("xxl", 16, "bfloat16, all networks stay"),
        ("xxl", 12, "bfloat16, networks take turns"),
        ("xxl", 8, "int8, networks take turns"),
        ("xxl", 6, "int8, blocks"),
        ("xxl", 4, "int8, blocks"),
        ("xl", 8, "bfloat16, networks take turns"),
        ("xl", 4, "int8, blocks"),
        ("xl", 3, "int8, blocks"),
    ],
)
def test_a_card_gets_the_best_form_that_fits(published, network, gigabytes, expected):
    plan = plan_memory(gigabytes * GB, published[network], OTHERS)
    print(f"{network} {gigabytes} GB: {plan}")
    said = str(plan).removeprefix("weights as ")
    assert said.startswith(expected.split()[0])
    for part in expected.split():
        assert part in said, said
    assert plan.peak <= gigabytes * GB


def test_too_little_says_what_is_the_least(published):
    with pytest.raises(
        ValueError, match=r"1 GB are too little: the least that works is 2\.\d+ GB, with weights as"
    ):
        plan_memory(GB, published["xl"], OTHERS)


@settings(deadline=None, max_examples=50)
@given(budget=st.integers(1 * GB, 20 * GB))
def test_more_memory_never_gives_a_plan_that_takes_less_than_it_could(published, budget):
    forms = published["xxl"]
    fitting = [plan for plan in candidates(forms, OTHERS) if plan.peak <= budget]
    if not fitting:
        with pytest.raises(ValueError, match="too little"):
            plan_memory(budget, forms, OTHERS)
        return
    chosen = plan_memory(budget, forms, OTHERS)
    assert (chosen.form, chosen.streamed, chosen.together) == (
        fitting[0].form, fitting[0].streamed, fitting[0].together,
    )  # fmt: skip


def test_streamed_blocks_lie_as_far_apart_as_can_be():
    assert spread(3, 9) == (0, 3, 6)
    assert spread(9, 9) == tuple(range(9))
    assert len(set(spread(17, 54))) == 17


def test_planned_bytes_of_weights_are_those_of_the_published_network(published):
    plain, packed = published["xxl"]
    exact = sum(value.numel() for value in plain.network.state_dict().values())
    assert plain.weights.on_device(()) == pytest.approx(2 * exact, rel=1e-3)
    assert len(plain.weights.blocks) == XXL.joint_depth + XXL.audio_depth
    narrow = sum(plain.network.get_submodule(name).weight.numel() for name in packed.packings)
    assert packed.weights.on_device(()) == pytest.approx(2 * exact - narrow, rel=2e-3)
    assert byte_size(form(XXL, FP8).network) == byte_size(packed.network)


# --- what is counted


def test_the_peak_is_what_lives_at_once():
    def run():
        a = torch.empty(1000, dtype=torch.float32, device="meta")
        b = a + 1
        del a
        c = b * 2
        del b
        return c.view(10, 100)[:3]

    assert peak_bytes(run) == 8000


def test_a_modules_peak_leaves_the_module_where_it_is():
    module = nn.Sequential(nn.Linear(10, 1000), nn.ReLU(), nn.Linear(1000, 10))
    assert of_module(module, torch.empty(5, 10, device="meta")) == 2 * 5 * 1000 * 4
    assert module[0].weight.device.type == "cpu"


def test_few_blocks_stand_for_all(monkeypatch):
    from pack.host.standalone import activations

    short = of_foley(CONFIG, {}, torch.float32, 2, 4.0)
    whole = of_foley(
        FoleyConfig(**{**vars(CONFIG), "joint_depth": 5, "audio_depth": 9}), {}, torch.float32, 2, 4.0
    )
    text_kv = 2 * 3 * 2 * activations.TEXT_TOKENS * 32 * 4
    assert whole - short == text_kv


def test_unpacking_is_counted():
    plain = of_foley(XXL, {}, torch.bfloat16, 2, 2.0)
    packed = of_foley(XXL, form(XXL, INT8).packings, torch.bfloat16, 2, 2.0)
    largest = max(p.numel() for p in form(XXL).network.parameters())
    assert packed - plain >= largest * 2 * 0.9


def test_longer_and_more_at_once_take_more():
    counts = [
        of_foley(CONFIG, {}, torch.float32, rows, seconds) for rows, seconds in ((1, 2), (1, 8), (2, 8))
    ]
    assert counts[0] < counts[1] < counts[2]


# --- carrying it out; the meta device stands for an accelerator


def on_meta(*networks):
    tensors = [tensor for network in networks for tensor in tensors_of(network)]
    places = {
        tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes()
        for tensor in tensors
        if tensor.is_meta
    }
    return sum(places.values())


def test_networks_come_when_they_are_called_and_the_others_go():
    first, second, third = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 4)
    Turns([[first, second], [third]], "meta")
    x = torch.zeros(1, 4)
    assert second(x).is_meta
    assert on_meta(first) == on_meta(second) == 80
    assert not on_meta(third)
    assert third(x).is_meta
    assert (on_meta(first), on_meta(third)) == (0, 80)
    assert first(input=x).is_meta
    assert first.weight.is_meta
    assert not third.weight.is_meta
    assert third.weight.numel() == 16


def test_inside_a_network_a_layer_alone_brings_all_of_it():
    network, other = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), nn.Linear(4, 4)
    Turns([[network], [other]], "meta")
    other(torch.zeros(1, 4))
    network[1](torch.zeros(1, 4, device="meta"))
    assert network[0].weight.is_meta
    assert not other.weight.is_meta


def test_a_network_keeps_its_values_through_turns():
    network, other, x = nn.Linear(4, 4), nn.Linear(4, 4), torch.randn(2, 4)
    expected = network(x)
    Turns([[network], [other]], "cpu")
    with torch.inference_mode():
        other(x), network(x), other(x)
    torch.testing.assert_close(network(x), expected, rtol=0, atol=0)


@pytest.mark.parametrize("count", [3, 5])
def test_weights_on_the_device_are_what_was_planned(count):
    planned = form(CONFIG, dtype=torch.float32)
    streamed = spread(count, 5)
    plan = next(plan for plan in candidates([planned], []) if plan.streamed == streamed)
    network = FoleyTransformer(CONFIG).requires_grad_(False)
    carry_out(plan, network, [[nn.Linear(2, 2)]], torch.device("meta"))
    peak = 0

    def look(*_):
        nonlocal peak
        peak = max(peak, on_meta(network))

    for block in blocks_of(network):
        block.register_forward_pre_hook(look)
        block.register_forward_hook(look)
    given = [torch.empty(1, n, c, device="meta") for n, c in ((5, 10), (8, 12), (24, 14))]
    network(
        torch.empty(1, 6, 50, device="meta"), torch.full((1,), 400.0, device="meta"), network.prepare(*given)
    )
    # One of both places is let go of by the block that leaves it, and filled for one that has not come yet.
    largest = max(planned.weights.blocks[number] for number in streamed)
    assert planned.weights.on_device(streamed) - largest <= peak + 256 * len(tensors_of(network))
    assert peak <= planned.weights.on_device(streamed)


def test_together_all_networks_go_to_the_device():
    planned = form(CONFIG, dtype=torch.float32)
    plan = plan_memory(GB * 8, [planned], [Needs(24, 0)])
    assert plan.together
    network, small = FoleyTransformer(CONFIG), nn.Linear(2, 2)
    carry_out(plan, network, [[small]], torch.device("meta"))
    assert all(tensor.is_meta for module in (network, small) for tensor in tensors_of(module))
    assert plan.peak >= CONTEXT + byte_size(network)
