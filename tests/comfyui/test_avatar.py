"""Avatar under core's samplers and nodes, within a real ComfyUI; and the same video as without it."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
from pack import host, nodes
from pack.host.planned_memory import avatar_share
from pack.hunyuan.avatar.conditions import AvatarScene, Character, Motion
from safetensors.torch import load_file

pytestmark = pytest.mark.comfyui
CLOSE = 1e-4  # of latents that reach 15, float32
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def inside(installation, tmp_path_factory):
    """What `inside_avatar.py` measured within ComfyUI's own process: numbers by name, and tensors."""
    path, python = installation
    folder = tmp_path_factory.mktemp("inside_avatar")
    command = [python, str(ROOT / "tests/comfyui/inside_avatar.py"), str(path), str(ROOT), str(folder)]
    run = subprocess.run(command, cwd=path, capture_output=True, text=True, check=False, timeout=1800)
    assert run.returncode == 0, run.stderr[-4000:]
    return json.loads((folder / "results.json").read_text()), folder


@pytest.fixture(scope="module")
def numbers(inside):
    return inside[0]


@pytest.fixture(scope="module")
def latents(inside):
    return load_file(inside[1] / "latents.safetensors")


@pytest.fixture(scope="module")
def model():
    file = next(name for name in host.model_files("avatar_model") if name.startswith("pocket"))
    return host.avatar_model(host.model_path("avatar_model", file), None, torch.float32)


def standalone(model, given, **options):
    """The sampler without ComfyUI, on what ComfyUI's was given."""
    scene = AvatarScene(reference=given["reference"], motion=Motion.of())
    people = tuple(Character(audio=given[f"audio_{i}"], mask=given[f"mask_{i}"]) for i in range(2))
    positive, negative = (
        [
            [
                given[name],
                {
                    "pooled_output": given[f"{name}_pooled"],
                    "avatar_mask": given[f"{name}_mask"],
                    "avatar_scene": scene,
                    "avatar_characters": people,
                    "avatar_silent": name == "negative",
                },
            ]
        ]
        for name in ("positive", "negative")
    )
    defaults = {s.id: s.default for s in nodes.AvatarSampler.define_schema().inputs if hasattr(s, "default")}
    out = nodes.AvatarSampler.execute(
        model,
        positive,
        negative,
        {"samples": given["latent"]},
        **{**defaults, "seed": 7, "steps": 10, **options},
    )
    return out.args[0]["samples"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("scaled", {}),
        ("published", {"schedule": "published", "step_cache": "published", "steps": 24}),
        ("error_driven", {"step_cache": "error-driven", "cache_tolerance": 0.5}),
        ("overlapping", {"shift": 5, "overlap": 4, "step_cache": "off"}),
        ("faint", {"mask_strength": 0.3, "cfg": 3.0}),
    ],
)
def test_both_hosts_make_the_same_video(model, latents, name, options):
    assert (latents[name] - standalone(model, latents, **options)).abs().max() < CLOSE


def test_both_hosts_make_the_same_video_of_one_window(model, inside, latents):
    short = load_file(inside[1] / "short.safetensors")
    assert short["latent"].shape[2] == 33
    assert (latents["one_window"] - standalone(model, short)).abs().max() < CLOSE


def test_the_sampler_is_cores_custom_sampler_with_the_guider(numbers):
    assert numbers["custom"] < CLOSE


def test_a_run_leaves_nothing_behind(numbers):
    assert numbers["run_is_gone"]
    assert numbers["after_cancel"] == 0


def test_core_plans_for_the_prompt_of_a_small_picture_too(numbers):
    share = avatar_share(8 * 8) / avatar_share(80 * 80)
    assert share > 2
    assert 100 * numbers["small_memory"] / numbers["large_memory"] == pytest.approx(share)


def test_ksampler_goes_around_the_ring_too(numbers):
    assert numbers["ksampler_finite"]
    assert numbers["ksampler_differs"] > CLOSE  # its guidance does not change


@pytest.mark.parametrize("name", ["partial", "partial_lora"])
def test_weights_left_behind_give_the_same_bits(numbers, name):
    assert numbers[name] == 0
    assert numbers[name.replace("partial", "partial_loaded")] < numbers["model_size"] / 10


@pytest.mark.parametrize("form", ["generic", "diffusion_pipe", "kohya"])
def test_a_lora_made_for_hunyuanvideo_attaches_in_every_form_that_core_reads(numbers, form):
    assert numbers[f"lora_keys_{form}"] == 2
    assert numbers[f"lora_acts_{form}"] > 0.01 * numbers["size"]


def test_a_lora_of_which_nothing_fits_is_refused(numbers):
    assert "Nothing in this LoRA fits Avatar's transformer" in numbers["alien_lora"]


@pytest.mark.parametrize("name", ["skip_double", "skip_single", "swapped", "fp8_e4m3fn"])
def test_what_is_done_to_the_model_is_seen(numbers, name):
    assert numbers[name] > 0.01 * numbers["size"]


@pytest.mark.parametrize("name", ["wrapped", "any_order", "aside"])
def test_what_changes_nothing_is_not_seen(numbers, name):
    assert numbers[name] < 1e-5


def test_cancel_acts_within_one_block(numbers):
    assert numbers["blocks_after_cancel"] == 0


def test_a_step_computes_nothing_that_the_clip_has_once(numbers):
    """Three entries (positive, negative, silent) prepare the prompt; two people are heard in two chunks each,
    and as silence in two entries."""
    found = {
        name: numbers[f"calls_{name}"] for name in ("portrait", "prompt", "motion", "audio_proj", "to_kv")
    }
    assert found == {"portrait": 3, "prompt": 3, "motion": 3, "audio_proj": 8, "to_kv": 8}


def test_halves_with_the_same_prompt_share_the_first_blocks(numbers):
    windows, steps, early = 2, 10, 2
    assert numbers["rows_last"] == 2 * windows * steps
    assert numbers["rows_first"] == windows * (2 * early + (steps - early))


def test_cores_vae_encodes_the_reference_alike_and_is_refused_for_decoding(numbers):
    assert numbers["core_vae"] < 1e-5 * max(1, numbers["core_vae_size"])
    assert "frames see later ones" in numbers["core_vae_refusal"]


def test_cores_decode_node_gives_our_frames(numbers):
    assert numbers["core_decode"] < 1e-5
    assert (numbers["frames"], numbers["core_frames"]) == (140, 4 * 36 - 3)
    assert numbers["core_encode"] == [1, 16, 1, 8, 8]


def test_the_streamed_video_is_as_long_as_the_speech(numbers):
    assert numbers["video_size"] == [64, 64]
    assert abs(numbers["video_seconds"] - 5.6) < 0.04


@pytest.mark.parametrize(("name", "share"), [("bf16", 0.51), ("fp8_e4m3fn", 0.4)])
def test_weights_are_stored_as_chosen_and_the_video_stays_near(numbers, name, share):
    assert numbers[f"stored_{name}"] < share * numbers["model_size"]
    assert numbers[name] < numbers["size"]


def test_products_are_wide_unless_comfyui_was_started_for_8_bit_ones(numbers):
    assert numbers["wide_products"] == [True]
    assert numbers["narrow_products"] == [False]


def test_every_model_is_known_and_gone_when_comfyui_frees_memory(numbers):
    assert {"AvatarModel", "HostedVideoVAE", "Llava", "ClipText"} <= set(numbers["known"])
    assert numbers["left_in_list"] == numbers["left_in_memory"] == 0
