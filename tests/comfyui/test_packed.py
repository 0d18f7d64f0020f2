"""Layers that stay packed inside a real ComfyUI: fewer bytes, the numbers of the same weights unpacked."""

import pytest

pytestmark = pytest.mark.comfyui

FORMS = {"int8": 0.56, "Q8_0": 0.57, "Q4_K": 0.49}  # shares of the pocket's bytes; modulations are 3/10 of it
CLOSE = 1e-5
JOINED = [
    "lora_",
    "merge_",
    "merge_into_",
    "hook_",
    "hook_on_lora_",
    "keyframe_",
    "model_hook_",
    "extracted_",
]


@pytest.fixture(params=FORMS)
def numbers(inside, request):
    return {"form": request.param, **inside[0]["packed"][request.param]}


def test_every_packed_layer_stays_packed_whatever_is_done(numbers):
    assert numbers["still_packed"] == numbers["packed"] == numbers["packable"] > 40


def test_it_takes_the_bytes_that_it_stores(numbers):
    assert numbers["size"] < FORMS[numbers["form"]] * numbers["full_size"]


def test_memory_is_planned_for_unpacking(numbers):
    assert numbers["planned_for_unpacking"] == pytest.approx(1)


@pytest.mark.parametrize("name", ["", "saved_", "all_extracted_", *JOINED])
def test_it_is_the_sound_of_the_same_weights_unpacked(numbers, name):
    assert numbers[f"{name}beside_unpacked"] < CLOSE


@pytest.mark.parametrize("name", JOINED)
def test_what_is_asked_of_it_is_heard(numbers, name):
    assert numbers[f"{name}acts"] > 0.01


def test_packing_is_heard_too(numbers):
    assert numbers["error"] > 0.001


@pytest.mark.parametrize("name", ["lora_gone", "hook_gone"])
def test_nothing_stays_behind(numbers, name):
    assert numbers[name] < CLOSE


@pytest.mark.parametrize("of", ["", "lora_", "merge_"])
def test_wherever_weights_lie_the_numbers_are_the_same(numbers, of):
    for state in ("unloaded", "half", "again", "partial"):
        assert numbers[f"{of}{state}"] == 0
    assert 0.15 < numbers[f"{of}half_loaded"] / numbers["size"] < 0.6
    assert numbers[f"{of}left_behind"] == 0


def test_what_joins_a_weight_is_rounded_once(numbers):
    assert numbers["joined_in"] == ["torch.float32", "torch.bfloat16"]


def test_whoever_holds_a_weight_holds_it_after_a_move_and_a_reference_stops_none(numbers):
    assert numbers["moved"] == [True, True, "torch.float16", "torch.float32"]


def test_a_layer_is_copied_as_cores_streams_do(numbers):
    """Into one buffer of bytes, of which each tensor becomes a part."""
    assert numbers["gathered"] == 0


def test_it_is_saved_and_extracted_as_numbers(numbers):
    assert numbers["saved"] == ["torch.float32"]
    assert numbers["extracted_keys"] > 80
    assert numbers["extracted_packed"] == 0


def test_a_block_that_a_node_has_compiled_keeps_its_loras(numbers):
    assert numbers["wrapped"] < CLOSE


def test_compiled_with_a_lora_it_is_the_same(inside):
    assert inside[0]["packed"]["compiled"] < CLOSE
