"""Runs within ComfyUI's process, by its Python: Avatar's objects under core's samplers and nodes, measured.

Usage: inside_avatar.py COMFYUI PACK FOLDER. Writes results.json and tensors into the folder.
"""

# Options must be set before anything of ComfyUI is imported.
# ruff: noqa: E402

import gc
import importlib.util
import json
import sys
import weakref
from pathlib import Path

comfyui, root, folder = map(Path, sys.argv[1:])
sys.path.insert(0, str(comfyui))
sys.argv = ["main.py", "--cpu", "--base-directory", str(folder)]

import comfy.options

comfy.options.enable_args_parsing()

spec = importlib.util.spec_from_file_location(
    "pack", root / "__init__.py", submodule_search_locations=[str(root)]
)
assert spec is not None
assert spec.loader is not None
sys.modules["pack"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)

import torch
from comfy import model_management, samplers
from comfy.cli_args import PerformanceFeature, args
from comfy_extras import nodes_custom_sampler, nodes_slg
from distances import apart
from pack import host, nodes
from pack.hunyuan.avatar.conditions import Character
from pack.hunyuan.sampling.schedule import flow_sigmas
from safetensors.torch import save_file

import nodes as core

STEPS = 10
SIZE = 64  # pixels
OPTIONS = {
    "scaled": {},
    "published": {"schedule": "published", "step_cache": "published", "steps": 24},
    "error_driven": {"step_cache": "error-driven", "cache_tolerance": 0.5},
    "overlapping": {"shift": 5, "overlap": 4, "step_cache": "off"},
    "faint": {"mask_strength": 0.3, "cfg": 3.0},
}


def pocket(kind):
    return host.model_path(kind, next(name for name in host.model_files(kind) if name.startswith("pocket")))


def run(node, **inputs):
    """A node's outputs; widgets are at their defaults where nothing else is given."""
    defaults = {s.id: s.default for s in node.define_schema().inputs if hasattr(s, "default")}
    out = node.execute(**{**defaults, **inputs}).args
    return out[0] if len(out) == 1 else out


def voice(seconds, seed):
    random = torch.Generator().manual_seed(seed)
    return {"waveform": torch.randn(1, 1, int(16_000 * seconds), generator=random) / 5, "sample_rate": 16_000}


def half(left):
    mask = torch.zeros(1, SIZE, SIZE)
    mask[:, 16:48, slice(0, 24) if left else slice(40, 64)] = 1
    return mask


def setting(seconds=5.6):
    """positive, negative and latent of a dialogue, made by the nodes."""
    encoder = host.avatar_text_encoder(pocket("llava"), pocket("avatar_clip"))
    listener = nodes.AvatarSpeechEncoderLoader.execute(
        next(name for name in host.model_files("whisper") if name.startswith("pocket"))
    ).args[0]
    image = torch.rand(1, SIZE, SIZE, 3, generator=torch.Generator().manual_seed(1))
    people = ()
    for i in range(2):
        speech = run(nodes.AvatarSpeechEncode, speech_encoder=listener, audio=voice(seconds - i, i))
        people = run(nodes.AvatarCharacter, speech=speech, mask=half(i == 0), characters=people)
    positive, negative = run(
        nodes.AvatarPrompt, text_encoder=encoder, image=image, positive="two people talk"
    )
    vae = host.avatar_vae(pocket("avatar_vae"))
    return run(
        nodes.AvatarConditioning,
        positive=positive,
        negative=negative,
        vae=vae,
        image=image,
        characters=people,
    )


def sampled(model, positive, negative, latent, **options):
    settings = {"seed": 7, "steps": STEPS, **options}
    out = run(
        nodes.AvatarSampler, model=model, positive=positive, negative=negative, latent=latent, **settings
    )
    return out["samples"]


def saved(conditions):
    """All tensors of a setting, for the same run without ComfyUI."""
    positive, negative, latent = conditions
    tensors = {"latent": latent["samples"]}
    for name, ((states, values),) in (("positive", positive), ("negative", negative)):
        tensors |= {
            name: states, f"{name}_pooled": values["pooled_output"], f"{name}_mask": values["avatar_mask"]
        }  # fmt: skip
    values = positive[0][1]
    tensors["reference"] = values["avatar_scene"].reference
    for i, who in enumerate(values["avatar_characters"]):
        tensors |= {f"audio_{i}": who.audio, f"mask_{i}": who.mask}
    return tensors


def custom(model, positive, negative, latent):
    """SamplerCustomAdvanced with the guider, at the same levels and noise."""
    guider = run(nodes.AvatarGuider, model=model, positive=positive, negative=negative)
    noise = nodes_custom_sampler.RandomNoise().execute(7).args[0]
    sampler = samplers.sampler_object("euler")
    sigmas = flow_sigmas(STEPS, shift=5.0)
    out = nodes_custom_sampler.SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent)
    return out.args[0]["samples"]


def ksampler(model, positive, negative, latent, sampler="euler"):
    return core.common_ksampler(model, 7, STEPS, 4.5, sampler, "simple", positive, negative, latent)[0][
        "samples"
    ]


def by_hand(model, conditions, x):
    """One evaluation of the network, for a single window, under whatever weights are loaded."""
    model.model.current_patcher = model
    ((states, values),) = conditions
    entry = model.model.extra_conds(noise=torch.zeros_like(x), device=x.device, cross_attn=states, **values)
    cond = entry["avatar"].process_cond(batch_size=len(x)).cond
    return model.model.apply_model(x, torch.full((len(x),), 0.7), avatar=cond)


def loaded(model, memory):
    """The model with so many bytes of room; 0 is as many as it wants."""
    model.unpatch_model(model.offload_device)
    model.patch_model(model.load_device, lowvram_model_memory=memory)
    return model


LORA_FORMS = {
    "generic": ("diffusion_model.{}.lora_A.weight", "diffusion_model.{}.lora_B.weight"),
    "diffusion_pipe": ("transformer.{}.lora_A.weight", "transformer.{}.lora_B.weight"),
    "kohya": ("lora_unet_{}.lora_down.weight", "lora_unet_{}.lora_up.weight"),
}


def with_lora(model, form, names=("double_blocks.0.img_attn_qkv", "single_blocks.1.linear1")):
    """LoraLoaderModelOnly's way, with a LoRA as made for HunyuanVideo."""
    random = torch.Generator().manual_seed(5)
    tensors = {}
    for name in names:
        out_size, in_size = model.model.diffusion_model.get_submodule(name).weight.shape
        spelt = name.replace(".", "_") if form == "kohya" else name
        down, up = LORA_FORMS[form]
        tensors[down.format(spelt)] = torch.randn(4, in_size, generator=random) / 8
        tensors[up.format(spelt)] = torch.randn(out_size, 4, generator=random) / 8
    (folder / "models" / "loras").mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "models" / "loras" / f"{form}.safetensors")
    return core.LoraLoaderModelOnly().load_lora_model_only(model, f"{form}.safetensors", 1.0)[0]


def loras(model, given, plain):
    found = {}
    for form in LORA_FORMS:
        patched = with_lora(model, form)
        found[f"lora_keys_{form}"] = len(patched.patches)
        found[f"lora_acts_{form}"] = apart(sampled(patched, *given, steps=2), plain)
    save_file(
        {"some_other_model.lora_A.weight": torch.zeros(4, 4)}, folder / "models/loras/alien.safetensors"
    )
    try:
        core.LoraLoaderModelOnly().load_lora_model_only(model, "alien.safetensors", 1.0)
    except ValueError as error:
        found["alien_lora"] = str(error)
    return found


def blocks_of(model):
    network = model.model.diffusion_model
    return [*network.double_blocks, *network.single_blocks]


def cancelled(model, given):
    """How many blocks still begin after a cancel in the middle of one."""
    begun = []

    def cancel(_module, _inputs):
        begun.append(0)
        if len(begun) == 3:
            model_management.interrupt_current_processing(True)

    hooks = [block.register_forward_pre_hook(cancel) for block in blocks_of(model)]
    try:
        sampled(model, *given)
    except model_management.InterruptProcessingException:
        return len(begun) - 3
    finally:
        for hook in hooks:
            hook.remove()
        model_management.interrupt_current_processing(False)
    return None


def counted(model, given):
    """Calls of what the clip has once, and rows that pass the first and the last blocks, in a run."""
    network = model.model.diffusion_model
    once = {
        "audio_proj": network.audio_proj, "to_kv": network.audio_adapter_blocks[0].to_kv,
        "portrait": network.ref_in, "prompt": network.txt_in.input_embedder, "motion": network.fps_proj,
    }  # fmt: skip
    calls = dict.fromkeys(once, 0)
    rows = {"first": 0, "last": 0}

    def count(name):
        return lambda *_: calls.update({name: calls[name] + 1})

    def add(name):
        return lambda _module, inputs: rows.update({name: rows[name] + len(inputs[0])})

    hooks = [module.register_forward_hook(count(name)) for name, module in once.items()]
    hooks.append(network.double_blocks[0].register_forward_pre_hook(add("first")))
    hooks.append(network.double_blocks[-1].register_forward_pre_hook(add("last")))
    sampled(model, *given, step_cache="off")
    for hook in hooks:
        hook.remove()
    return {f"calls_{name}": n for name, n in calls.items()} | {f"rows_{name}": n for name, n in rows.items()}


def core_vae(folder):
    """Core's own HunyuanVideo VAE with random weights of the published size, on a picture; and ours."""
    from comfy.sd import VAE
    from pack.hunyuan.avatar.video_vae import VideoVAE

    torch.manual_seed(0)
    network = VideoVAE().eval().requires_grad_(False)
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    theirs = VAE(sd=dict(weights), dtype=torch.float32)
    path = folder / "video_vae.safetensors"
    save_file(weights, path)
    ours = host.avatar_vae(path)
    pixels = torch.rand(1, 3, 1, 64, 320, generator=torch.Generator().manual_seed(2)) * 2 - 1
    found = [host.avatar_reference(vae, pixels) for vae in (theirs, ours)]
    path.unlink()
    try:
        host.video_vae(theirs)
        refusal = ""
    except ValueError as error:
        refusal = str(error)
    return {"core_vae": apart(*found), "core_vae_size": float(found[1].std()), "core_vae_refusal": refusal}


def decoded(latent):
    """Core's decode node on our VAE, and ours."""
    vae = host.avatar_vae(pocket("avatar_vae"))
    ours = run(nodes.AvatarVAEDecode, latent=latent, vae=vae)
    frames = core.VAEDecode().decode(vae, latent)[0]
    pixels = core.VAEEncode().encode(vae, ours[:1])[0]["samples"]
    video = run(nodes.AvatarDecodeVideo, latent=latent, vae=vae, audio=voice(5.6, 0))
    return {
        "core_decode": apart(frames[: len(ours)], ours),
        "frames": len(ours),
        "core_frames": len(frames),
        "core_encode": list(pixels.shape),
        "video_size": list(video.get_dimensions()),
        "video_seconds": float(video.get_duration()),
    }


@torch.inference_mode()
def measure():
    given = positive, negative, latent = setting()
    model = host.avatar_model(pocket("avatar_model"), None, torch.float32)
    tensors = {name: sampled(model, *given, **options) for name, options in OPTIONS.items()}
    plain = tensors["scaled"]
    short = setting(2.0)
    tensors["one_window"] = sampled(model, *short)
    save_file(
        {name: x.clone().contiguous() for name, x in (tensors | saved(given)).items()},
        folder / "latents.safetensors",
    )
    save_file(
        {name: x.clone().contiguous() for name, x in saved(short).items()}, folder / "short.safetensors"
    )

    results = {"size": float(plain.std()), "custom": apart(custom(model, *given), plain)}
    results["run_is_gone"] = "avatar_run" not in model.model_options["transformer_options"]
    constant = ksampler(model, *given)
    results["ksampler_finite"] = bool(constant.isfinite().all())
    results["ksampler_differs"] = apart(constant, plain)
    results["heun_near"] = apart(ksampler(model, *given, sampler="heun"), constant)
    results["model_size"] = model.model_size()
    required = model.model.memory_required
    results["small_memory"] = required([1, 16, 33, 8, 8])
    results["large_memory"] = required(input_shape=[1, 16, 33, 80, 80])

    x = torch.randn(1, *latent["samples"].shape[1:2], 33, 8, 8, generator=torch.Generator().manual_seed(1))
    entry = [[states, {**values, "avatar_characters": ()}] for states, values in positive]
    patched = with_lora(model, "generic")
    for name, each in (("", model), ("_lora", patched)):
        whole = by_hand(loaded(each, 0), entry, x)
        results[f"partial{name}"] = apart(by_hand(loaded(each, 1), entry, x), whole)
        results[f"partial_loaded{name}"] = each.model.model_loaded_weight_memory
        each.unpatch_model(each.offload_device)

    two = sampled(model, *given, steps=2)
    results |= loras(model, given, two)
    for kind, layers in (("double", ("0", "")), ("single", ("", "0"))):
        skipping = nodes_slg.SkipLayerGuidanceDiT.execute(model, 3.0, 0.0, 1.0, *layers).args[0]
        results[f"skip_{kind}"] = apart(sampled(skipping, *given, steps=2), two)
    aside = nodes_slg.SkipLayerGuidanceDiT.execute(model, 0.0, 0.0, 1.0, "0", "0").args[0]
    results["aside"] = apart(sampled(aside, *given), plain)
    untouched = model.clone()
    for kind in ("double_block", "single_block"):
        untouched.set_model_patch_replace(lambda args, extra: extra["original_block"](args), "dit", kind, 0)
    results["wrapped"] = apart(sampled(untouched, *given, steps=2), two)

    results["blocks_after_cancel"] = cancelled(model, given)
    results["after_cancel"] = apart(sampled(model, *given), plain)
    results |= counted(model, given) | decoded({**latent, "samples": plain}) | core_vae(folder)

    first, second = positive[0][1]["avatar_characters"]
    swapped = (Character(audio=second.audio, mask=first.mask), Character(audio=first.audio, mask=second.mask))
    turned = [[states, {**values, "avatar_characters": swapped}] for states, values in positive]
    back = [[states, {**values, "avatar_characters": (second, first)}] for states, values in positive]
    results["swapped"] = apart(sampled(model, turned, negative, latent, steps=2), two)
    results["any_order"] = apart(sampled(model, back, negative, latent, steps=2), two)

    for name in ("bf16", "fp8_e4m3fn"):
        small = nodes.AvatarModelLoader.execute(
            next(n for n in host.model_files("avatar_model") if n.startswith("pocket")),
            name,
            "beside the model",
        ).args[0]
        results[f"stored_{name}"] = small.model_size()
        results[name] = apart(sampled(small, *given, steps=2), two)
    return results | {
        "wide_products": wide_products(set()),
        "narrow_products": wide_products({PerformanceFeature.Fp8MatrixMultiplication}),
    }


def wide_products(fast: set) -> list[bool]:
    """Of an 8-bit model's layers, what is said of full precision in products. fast: what `--fast` has set."""
    before, args.fast = args.fast, fast
    try:
        model = host.avatar_model(pocket("avatar_model"), None, torch.float8_e4m3fn)
    finally:
        args.fast = before
    layers = model.model.diffusion_model.double_blocks.modules()
    said = [getattr(layer, "_full_precision_mm_config", None) for layer in layers]
    return sorted({wide for wide in said if wide is not None})


def everything_goes():
    """How many of our networks are left after ComfyUI let go of all models and we of our outputs."""
    model, vae = host.avatar_model(pocket("avatar_model"), None, None), host.avatar_vae(pocket("avatar_vae"))
    encoder = host.avatar_text_encoder(pocket("llava"), pocket("avatar_clip"))
    with (
        torch.inference_mode(),
        host.resident(vae),
        host.resident(*encoder.parts),
        host.resident(Held(model)),
    ):
        known = [type(m.model).__name__ for m in model_management.loaded_models()]
    kept = [
        weakref.ref(m)
        for m in (model.model, vae.first_stage_model, encoder.encoder.llava, encoder.encoder.clip)
    ]
    model_management.unload_all_models()
    left = len(model_management.loaded_models())
    del model, vae, encoder
    gc.collect()
    return {"known": known, "left_in_list": left, "left_in_memory": sum(ref() is not None for ref in kept)}


class Held:
    def __init__(self, patcher):
        self.patcher = patcher


results = measure() | everything_goes()
(folder / "results.json").write_text(json.dumps(results, indent=1))
