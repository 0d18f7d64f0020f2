"""Core's nodes on our MODEL, VAE and CLIP, within a real ComfyUI; and the same sound as without it."""

import pytest
import torch
from distances import off
from pack import host, nodes
from pack.hunyuan.sampling.schedule import flow_sigmas
from safetensors.torch import load_file

pytestmark = pytest.mark.comfyui


@pytest.fixture(scope="module")
def numbers(inside):
    return inside[0]


@pytest.fixture(scope="module")
def close(numbers):
    """How far latents may be apart that are the same, as a share of their largest value.

    They differ in how many rows one product of matrices has (three takes at once, or one; both guidance rows,
    or each), and so in the order of its sums, in float32. How much of that is left after ten steps depends on
    the weights: trained ones lead some takes apart that were close. So it is compared with what a
    ten-thousandth more of guidance does to them, a thousand such roundings.
    """
    return numbers["sway"]


@pytest.fixture(scope="module")
def latents(inside):
    return load_file(inside[1] / "latents.safetensors")


@pytest.fixture(scope="module")
def given(latents):
    """Model, positive and negative without ComfyUI, as ComfyUI's nodes were given them."""
    clip = {"foley_visual": latents["visual"], "foley_sync": latents["sync"]}
    positive = [[latents["positive"], {**clip, "foley_drop": frozenset()}]]
    negative = [[latents["negative"], {**clip, "foley_drop": frozenset({"visual", "sync"})}]]
    file = next(name for name in host.model_files("foley_model") if name.startswith("pocket"))
    return host.foley_model(host.model_path("foley_model", file), torch.float32), positive, negative


@pytest.fixture(scope="module")
def standalone(latents, given):
    """The sampler without ComfyUI."""

    def sampled(latent=None, **options):
        defaults = {
            "seed": 7, "steps": 10, "cfg": 4.5, "solver": "euler", "denoise": 1.0,
            "text_scale": 1.0, "video_scale": 1.0, "sync_scale": 1.0,
        }  # fmt: skip
        latent = {"samples": latents["latent"]} if latent is None else latent
        out = nodes.FoleySampler.execute(*given, latent, **{**defaults, **options})
        return out.args[0]["samples"]

    return sampled


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("euler", {}),
        ("heun", {"solver": "heun"}),
        ("midpoint", {"solver": "midpoint", "steps": 7}),
        ("rk4", {"solver": "rk4", "steps": 5}),
        ("half", {"denoise": 0.5}),
        ("scales", {"text_scale": 1.2, "video_scale": 0.8, "sync_scale": 0.5}),
        ("one_branch", {"cfg": 1.0}),
        ("deaf", {"text_scale": 0.0}),
        ("no_clock", {"sync_scale": 0.0}),
    ],
)
def test_both_hosts_make_the_same_sound(latents, standalone, close, name, options):
    assert off(latents[name], standalone(**options)) < close


@pytest.mark.parametrize(
    ("name", "guided"), [("at_first", (4.5, 4.5, 4.5, 0.0, 0.6)), ("later", (5.4, 3.6, 2.25, 0.3, 1.0))]
)
def test_both_hosts_guide_in_the_same_part_of_the_sampling(latents, given, close, name, guided):
    guider = nodes.FoleyGuider.execute(*given, *guided).args[0]
    made = host.sample(guider, {"samples": latents["latent"]}, flow_sigmas(10), "euler", 7)
    assert off(latents[name], made) < close
    assert (latents[name] - latents["euler" if name == "at_first" else "scales"]).abs().max() > 0.01


def test_both_hosts_make_the_same_batch(latents, standalone, close):
    batch = standalone({"samples": latents["latent"].repeat(3, 1, 1)})
    assert off(latents["batch"], batch) < close


def test_both_hosts_change_the_same_part_and_keep_the_rest_bit_for_bit(latents, standalone, close):
    mask = torch.zeros(1, 1, latents["euler"].shape[-1])
    mask[..., 20:40] = 1
    part = standalone({"samples": latents["euler"], "noise_mask": mask}, seed=9)
    assert off(latents["part"], part) < close
    kept = mask[0, 0] == 0
    assert torch.equal(latents["part"][..., kept], latents["euler"][..., kept])
    assert (latents["part"] - latents["euler"]).abs().max() > 0.1


@pytest.mark.parametrize("name", ["ksampler", "ksampler_half", "batch", "take", "rows", "shift", "custom"])
def test_foley_sampler_is_cores(numbers, close, name):
    assert numbers[name] < close


@pytest.mark.parametrize("name", ["another_seed", "a_step_fewer"])
def test_what_is_not_the_same_sound_is_not_close(numbers, close, name):
    assert numbers[name] > 10 * close


@pytest.mark.parametrize("name", ["shift_acts", "lora_acts", "hook_acts", "skip_joint", "skip_audio"])
def test_what_nodes_do_to_the_model_is_heard(numbers, name):
    assert numbers[name] > 0.01 * numbers["size"]


PATCHES = ["nag", "pag", "easycache", "lazycache", "zero_star", "norm", "apg"]


@pytest.mark.parametrize("name", PATCHES)
def test_what_nodes_patch_is_heard_and_needs_no_warning(numbers, name):
    if f"{name}_acts" not in numbers:
        pytest.skip(f"this ComfyUI has no node for {name}")
    assert numbers[f"{name}_acts"] > 0.01 * numbers["size"]
    assert numbers[f"{name}_finite"]
    assert numbers[f"said_of_{name}"] == []


def test_nag_finds_positive_and_negative_among_more_branches_than_two(numbers):
    if "nag_acts" not in numbers:
        pytest.skip("this ComfyUI has no node for nag")
    assert numbers["nag_acts_on_scales"] > 0.01 * numbers["size"]


def test_a_patch_that_cannot_act_is_said_to_change_nothing(numbers):
    assert numbers["said_of_plain"] == []
    assert numbers["unet_acts"] == 0
    for name, words in {
        "unet": "patched output_block_patch",
        "elsewhere": "replaced attention in [('input', 3)]",
        "lengths": "run one after the other",
    }.items():
        (sentence,) = numbers[f"said_of_{name}"]
        assert words in sentence


@pytest.mark.parametrize(
    "name", ["lora_gone", "wrapped", "override", "merge", "reloaded", "easycache_of_nothing", "compiled"]
)
def test_what_changes_nothing_is_not_heard(numbers, name):
    assert numbers[name] < 1e-5


def test_a_lora_reaches_linear_layers_and_convolutions(numbers):
    assert numbers["lora_keys"] == 3


@pytest.mark.parametrize("name", ["partial", "partial_lora"])
def test_weights_left_behind_give_the_same_bits(numbers, name):
    assert numbers[name] == 0
    assert numbers[name.replace("partial", "partial_loaded")] < numbers["model_size"] / 10


def test_where_tokens_stand_is_worked_out_once_for_all_steps(numbers):
    assert numbers["positions_made"] == 1


def test_every_block_asks_the_hosts_attention(numbers):
    assert numbers["attention_blocks"] == 0


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("bf16", ["bfloat16"]),
        ("fp16", ["float16"]),
        ("fp8_e4m3fn", ["bfloat16", "float8_e4m3fn"]),
        ("fp8_e5m2", ["bfloat16", "float8_e5m2"]),
    ],
)
def test_weights_are_stored_as_chosen(numbers, name, stored):
    """And nothing else happens to them: the sound is that of a float32 model with weights rounded so."""
    assert numbers[f"stored_{name}"] == [f"torch.{dtype}" for dtype in stored]
    assert numbers[f"{name}_beside_rounded"] < 1e-5
    assert numbers["fp8_e5m2"] > numbers["fp8_e4m3fn"] > 1e-3


def test_a_context_window_gets_its_part_of_the_clip(numbers):
    if numbers["window_places"] is None:
        pytest.skip("this ComfyUI does not ask a model about context windows")
    # Latents 64 to 164 of 200: seconds 1.28 to 3.28; 16 frames at 8 fps, and 5 segments from the fifth on.
    assert numbers["window_places"] == {
        "foley_visual": list(range(10, 26)),
        "foley_sync": list(range(32, 72)),
        "foley_text_kv": None,
    }
    assert numbers["windows_finite"]


@pytest.mark.parametrize("way", ["helper_suite", "trimmed"])
def test_a_clip_is_seen_alike_however_it_comes(numbers, way):
    if f"seen_{way}" not in numbers:
        pytest.skip("this ComfyUI cannot trim a VIDEO")
    assert numbers[f"seen_{way}"] < 1e-5
    assert numbers["seen_elsewhere"] > 0.01


@pytest.mark.parametrize("way", ["images", "made"])
def test_comfyuis_own_images_differ_as_their_colours_do(numbers, way):
    """Newer ComfyUIs convert colours in float, where FFmpeg spreads them otherwise at edges: that is all.

    Older ones convert as this pack does.
    """
    assert min(numbers[f"seen_{way}"], numbers[f"{way}_beside_float"]) < 1e-5
    assert numbers[f"seen_{way}"] < numbers["seen_elsewhere"] / 2


def test_a_long_video_is_never_loaded_as_images(numbers):
    assert numbers["long_frames"] == 74
    assert numbers["long_mebibytes"] < 50


def test_every_model_is_known_and_gone_when_comfyui_frees_memory(numbers):
    assert {"FoleyModel", "HostedAudioVAE", "HostedTextEncoder", "ModuleList"} <= set(numbers["known"])
    assert numbers["left_in_list"] == numbers["left_in_memory"] == 0


def test_core_encode_and_decode_keep_length_and_rate(numbers):
    assert numbers["core_rate"] == 48_000
    assert numbers["core_samples"] == numbers["core_samples_tiled"] == 960 * 60
    assert numbers["core_encoded_frames"] == 60


def test_core_text_encode_is_one_prompt_of_ours_alone(numbers):
    assert numbers["core_text"] < 1e-5
