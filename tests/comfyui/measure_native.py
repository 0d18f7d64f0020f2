"""What core's nodes do to our objects, within ComfyUI's process: sampling, weights, sound, memory."""

import gc
import weakref
from unittest.mock import patch

import comfy
import torch
from comfy import hooks, model_management, samplers
from comfy_extras import (
    nodes_audio,
    nodes_context_windows,
    nodes_model_advanced,
    nodes_model_merging,
    nodes_slg,
)
from distances import apart, far, off
from given import core, folder, foley, ksampler, path, pocket, setting
from pack import host, nodes
from pack.hunyuan.foley.positions import Positions
from pack.hunyuan.sampling.schedule import flow_sigmas
from safetensors.torch import load_file, save_file


def lora(model, strength, *more, file="test.safetensors"):
    """LoraLoaderModelOnly's way, with a LoRA for one layer of every kind of block. more: further layers."""
    network = model.model.diffusion_model
    random = torch.Generator().manual_seed(5)
    tensors = {}
    layers = "triple_blocks.0.audio_mlp.fc1", "single_blocks.0.linear_qkv", "single_blocks.0.linear1"
    for name in (*layers, *more):
        weight = network.get_submodule(name).weight
        shape = (weight.shape[1], *weight.shape[2:]) if weight.ndim > 2 else (weight.shape[1],)
        tensors[f"diffusion_model.{name}.lora_A.weight"] = torch.randn(4, *shape, generator=random) / 8
        up = torch.randn(weight.shape[0], 4, *(1 for _ in shape[1:]), generator=random) / 8
        tensors[f"diffusion_model.{name}.lora_B.weight"] = up
    (folder / "models" / "loras").mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "models" / "loras" / file)
    return core.LoraLoaderModelOnly().load_lora_model_only(model, file, strength)[0]


def rounded(small):
    """The model in float32 with the values that another one stores in fewer bits."""
    model = host.foley_model(path("foley_model"), torch.float32)
    weights = {name: tensor.float() for name, tensor in small.model.diffusion_model.state_dict().items()}
    model.model.diffusion_model.load_state_dict(weights)
    return model


def by_hand(model, conditioning, x):
    """One evaluation of the network under whatever weights are loaded."""
    model.model.current_patcher = model
    noise = torch.zeros_like(x)
    entry = model.model.extra_conds(
        noise=noise, device=x.device, cross_attn=conditioning[0][0], **conditioning[0][1]
    )
    given = {key: cond.process_cond(batch_size=len(x)).cond for key, cond in entry.items()}
    return model.model.apply_model(x, torch.full((len(x),), 0.7), **given)


def loaded(model, memory):
    """The model with so many bytes of room; 0 is as many as it wants."""
    model.unpatch_model(model.offload_device)
    model.patch_model(model.load_device, lowvram_model_memory=memory)
    return model


def positions_made(run):
    """How often rotary tables and resampling indexes are made meanwhile."""
    made = []

    def counted(*lengths):
        made.append(lengths)
        return of(*lengths)

    of = Positions.of
    with patch.object(Positions, "of", counted):
        run()
    return len(made)


@torch.inference_mode()
def measure():
    model, positive, negative, latent = given = setting()
    plain = foley(*given)
    tensors = {
        "positive": positive[0][0], "negative": negative[0][0], "latent": latent["samples"],
        "visual": positive[0][1]["foley_visual"], "sync": positive[0][1]["foley_sync"],
        "euler": plain,
        "heun": foley(*given, solver="heun"), "midpoint": foley(*given, solver="midpoint", steps=7),
        "rk4": foley(*given, solver="rk4", steps=5), "half": foley(*given, denoise=0.5),
        "scales": foley(*given, text_scale=1.2, video_scale=0.8, sync_scale=0.5),
        "one_branch": foley(*given, cfg=1.0), "deaf": foley(*given, text_scale=0.0),
        "no_clock": foley(*given, sync_scale=0.0),
        "batch": foley(model, positive, negative, {"samples": latent["samples"].repeat(3, 1, 1)}),
    }  # fmt: skip
    part = {**latent, "samples": plain, "noise_mask": torch.zeros(1, 1, plain.shape[-1])}
    part["noise_mask"][..., 20:40] = 1
    tensors["part"] = foley(model, positive, negative, part, seed=9)
    spans = {"at_first": (4.5, 4.5, 4.5, 0.0, 0.6), "later": (5.4, 3.6, 2.25, 0.3, 1.0)}
    for name, guided in spans.items():
        guider = nodes.FoleyGuider.execute(model, positive, negative, *guided).args[0]
        tensors[name] = host.sample(guider, latent, flow_sigmas(10), "euler", 7)
    save_file({name: t.clone().contiguous() for name, t in tensors.items()}, folder / "latents.safetensors")

    results = {"ksampler": off(plain, ksampler(*given)), "size": float(plain.std())}
    fresh = host.foley_model(path("foley_model"), None)
    results["positions_made"] = positions_made(lambda: ksampler(fresh, *given[1:]))
    takes = {"samples": latent["samples"].repeat(3, 1, 1)}
    results["sway"] = off(foley(model, positive, negative, takes, cfg=4.5 * 1.0001), tensors["batch"])
    results["another_seed"] = off(foley(*given, seed=8), plain)
    results["a_step_fewer"] = off(foley(*given, steps=9), plain)
    results["model_size"] = model.model_size()
    results["ksampler_half"] = off(tensors["half"], ksampler(*given, denoise=0.5))
    results["batch"] = off(tensors["batch"], ksampler(model, positive, negative, takes))
    results["take"] = off(tensors["batch"][:1], plain)
    results["rows"] = off(
        foley(model, positive, negative, {"samples": latent["samples"], "batch_index": [2]}),
        tensors["batch"][2:],
    )

    shifted = nodes_model_advanced.ModelSamplingSD3().patch(model, 3.0)[0]
    results["shift"] = off(foley(shifted, *given[1:]), ksampler(shifted, *given[1:]))
    results["shift_acts"] = apart(foley(shifted, *given[1:]), plain)

    with_lora = lora(model, 1.0)
    results["lora_keys"] = len(with_lora.patches)
    results["lora_acts"] = apart(foley(with_lora, *given[1:]), plain)
    results["lora_gone"] = apart(foley(*given), plain)

    x = torch.randn(2, *latent["samples"].shape[1:], generator=torch.Generator().manual_seed(1))
    for name, patched in (("", model), ("_lora", with_lora)):
        whole = by_hand(loaded(patched, 0), positive, x)
        results[f"partial{name}"] = apart(by_hand(loaded(patched, 1), positive, x), whole)
        results[f"partial_loaded{name}"] = patched.model.model_loaded_weight_memory
        patched.unpatch_model(patched.offload_device)

    skipping = nodes_slg.SkipLayerGuidanceDiT.execute(model, 3.0, 0.0, 1.0, "0", "").args[0]
    results["skip_joint"] = apart(foley(skipping, *given[1:]), plain)
    skipping = nodes_slg.SkipLayerGuidanceDiT.execute(model, 3.0, 0.0, 1.0, "", "0").args[0]
    results["skip_audio"] = apart(foley(skipping, *given[1:]), plain)
    untouched = model.clone()
    for kind, number in (("double_block", 0), ("single_block", 0)):
        untouched.set_model_patch_replace(
            lambda args, extra: extra["original_block"](args), "dit", kind, number
        )
    results["wrapped"] = apart(foley(untouched, *given[1:]), plain)

    seen = []

    def watch(func, *args, **kwargs):
        options = kwargs["transformer_options"]
        seen.append((options["block_type"], options["block_index"]))
        return func(*args, **kwargs)

    watched = model.clone()
    watched.model_options["transformer_options"]["optimized_attention_override"] = watch
    results["override"] = apart(foley(watched, *given[1:], steps=2), foley(*given, steps=2))
    config = model.model.diffusion_model.config
    results["attention_blocks"] = len(set(seen)) - config.joint_depth - config.audio_depth

    hooked = [[states, {**values, "hooks": hooks.HookGroup()}] for states, values in positive]
    hook = hooks.WeightHook(strength_model=1.0)
    hook.weights = load_file(folder / "models" / "loras" / "test.safetensors")
    hooked[0][1]["hooks"].add(hook)
    results["hook_acts"] = apart(ksampler(model, hooked, negative, latent), plain)

    merged = nodes_model_merging.ModelMergeSimple().merge(
        model, host.foley_model(path("foley_model"), None), 0.5
    )[0]
    results["merge"] = apart(foley(merged, *given[1:]), plain)
    saved = folder / "merged.safetensors"
    comfy.sd.save_checkpoint(str(saved), merged)
    results["reloaded"] = apart(foley(host.foley_model(saved, None), *given[1:]), plain)

    for name in ("bf16", "fp16", "fp8_e4m3fn", "fp8_e5m2"):
        small = nodes.FoleyModelLoader.execute(pocket("foley_model"), name).args[0]
        stored = {p.dtype for p in small.model.diffusion_model.parameters()}
        results[f"stored_{name}"] = sorted(map(str, stored))
        sound = foley(small, *given[1:])
        results[name] = far(sound, plain)
        results[f"{name}_beside_rounded"] = far(sound, foley(rounded(small), *given[1:]))

    sigmas = flow_sigmas(7)
    guider = nodes.FoleyGuider.execute(model, positive, negative, 4.5, 4.5, 4.5).args[0]
    noise = comfy.sample.prepare_noise(latent["samples"], 7)
    custom = guider.sample(noise, latent["samples"], samplers.sampler_object("euler"), sigmas, seed=7)
    results["custom"] = off(custom, foley(*given, steps=7))

    return results | context_windows() | core_sound(plain)


def context_windows():
    given = setting(4.0)
    node = nodes_context_windows.ContextWindowsManualNode
    windows = node.execute(given[0], 100, 40, "standard_static", 1, False, "pyramid", 2, False).args[0]
    finite = bool(foley(windows, *given[1:], steps=2).isfinite().all())

    model = given[0].model
    if not hasattr(comfy.model_base.BaseModel, "resize_cond_for_context_window"):
        return {"windows_finite": finite, "window_places": None}
    window = comfy.context_windows.IndexListContextWindow(list(range(64, 164)), dim=2, total_frames=200)
    places = {}
    for key, tokens in (("foley_visual", 32), ("foley_sync", 88), ("foley_text_kv", 20)):
        numbered = torch.arange(tokens).reshape(1, tokens, 1)
        cond = comfy.conds.CONDRegular(numbered)
        part = model.resize_cond_for_context_window(key, cond, window, given[3]["samples"], "cpu")
        places[key] = part.cond.flatten().tolist()
    places["foley_text_kv"] = None if places["foley_text_kv"] == list(range(20)) else "cut"
    return {"windows_finite": finite, "window_places": places}


def core_sound(latents):
    """Core's audio nodes on our VAE, and its text encode node on our CLIP."""
    vae, clip = host.foley_vae(path("foley_vae"), "both"), host.foley_text_encoder(path("clap"))
    audio = nodes_audio.VAEDecodeAudio.execute(vae, {"samples": latents}).args[0]
    tiled = vae.decode_tiled(latents, tile_x=32, tile_y=32, overlap=8)
    encoded = nodes_audio.VAEEncodeAudio.execute(vae, audio).args[0]
    core_text = core.CLIPTextEncode().encode(clip, "a dog barks")[0][0][0]
    ours = nodes.FoleyPrompt.execute(clip, "a dog barks", "a dog barks", False).args[0][0][0]
    return {
        "core_rate": audio["sample_rate"],
        "core_samples": audio["waveform"].shape[-1],
        "core_samples_tiled": tiled.shape[1],
        "core_encoded_frames": encoded["samples"].shape[-1],
        "core_text": apart(core_text, ours),
    }


def everything_goes():
    """How many of our networks are left after ComfyUI let go of all models and we of our outputs."""
    model, positive, negative, latent = setting()
    vae = host.foley_vae(path("foley_vae"), "both")
    clip = host.foley_text_encoder(path("clap"))
    encoder = nodes.FoleyVideoEncoderLoader.execute(pocket("siglip"), pocket("synchformer")).args[0]
    with torch.inference_mode(), host.resident(vae), host.resident(encoder):
        nodes.FoleyPrompt.execute(clip, "a dog barks", "noisy", False)
        foley(model, positive, negative, latent, steps=2)
    known = [type(m.model).__name__ for m in model_management.loaded_models()]
    networks = model.model, vae.first_stage_model, clip.cond_stage_model, encoder.visual, encoder.sync
    kept = [weakref.ref(network) for network in networks]
    model_management.unload_all_models()
    left = len(model_management.loaded_models())
    del model, vae, clip, encoder, networks
    gc.collect()
    return {"known": known, "left_in_list": left, "left_in_memory": sum(ref() is not None for ref in kept)}
