"""One device, by name or by what there is; networks come when they are used and go when room is needed."""

import gc

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pack.host.standalone import memory
from pack.host.standalone.memory import Patcher, Placement, resident, to_evict
from torch import nn


class Holder:
    """A model object that is not a module itself."""

    def __init__(self, module: nn.Module) -> None:
        self.patcher = Patcher(module)


def test_a_cpu_computes_in_float32_unless_told_otherwise():
    assert Placement.choose("cpu") == Placement(torch.device("cpu"), torch.float32)
    assert Placement.choose("cpu", "bfloat16").dtype == torch.bfloat16


def test_the_environment_names_the_device_and_an_argument_outdoes_it(monkeypatch):
    monkeypatch.setenv("HUNYUAN_AV_DEVICE", "nowhere")
    with pytest.raises(ValueError, match=r"There is no device nowhere"):
        Placement.choose()
    assert Placement.choose("cpu").device == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:99", "mps:1"])
def test_a_device_that_this_machine_lacks_is_named(name):
    with pytest.raises(ValueError, match=rf"no device {name}"):
        Placement.choose(name)


def test_an_unknown_dtype_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no dtype int8.*float32, bfloat16, float16"):
        Placement.choose("cpu", "int8")


def test_the_device_is_yielded_for_modules_and_for_what_holds_one(monkeypatch):
    monkeypatch.setenv("HUNYUAN_AV_DEVICE", "cpu")
    with resident(nn.Linear(2, 2), Holder(nn.Linear(2, 2))) as device:
        assert device == torch.device("cpu")


def test_being_resident_keeps_no_network_alive(monkeypatch):
    monkeypatch.setenv("HUNYUAN_AV_DEVICE", "cpu")
    module = nn.Linear(2, 2)
    with resident(module):
        pass
    assert module in memory._idle
    before = len(memory._idle)
    del module
    gc.collect()
    assert len(memory._idle) == before - 1


def test_a_failure_inside_passes(monkeypatch):
    monkeypatch.setenv("HUNYUAN_AV_DEVICE", "cpu")
    with pytest.raises(KeyboardInterrupt), resident(nn.Linear(2, 2)):
        raise KeyboardInterrupt


@given(st.lists(st.integers(0, 100)), st.integers(0, 300), st.integers(0, 600))
def test_the_longest_unused_go_first_and_no_more_than_needed(sizes, free, needed):
    named = list(enumerate(sizes))
    evicted = to_evict(named, free=free, needed=needed)
    assert evicted == list(range(len(evicted)))
    gained = free + sum(sizes[: len(evicted)])
    assert gained >= needed or len(evicted) == len(sizes)
    assert not evicted or gained - sizes[len(evicted) - 1] < needed


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_network_stays_on_the_gpu_until_another_needs_the_room(monkeypatch):
    monkeypatch.setenv("HUNYUAN_AV_DEVICE", "cuda")
    free, _ = torch.cuda.mem_get_info()
    size = int(0.4 * (free - memory.WORKING_MEMORY))
    first, second, third = (nn.Linear(1, size // 4, bias=False) for _ in range(3))
    for module in (first, second):
        with resident(module) as device:
            assert module.weight.device == device
    assert first.weight.is_cuda
    with resident(third):
        assert not first.weight.is_cuda
        assert second.weight.is_cuda
        assert third.weight.is_cuda
