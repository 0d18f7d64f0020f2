"""Foley models whose layers stay packed, within ComfyUI's process: what core's nodes do to them."""

import subprocess
import sys
import weakref
from pathlib import Path

import comfy
import torch
from comfy import hooks, memory_management
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras.nodes_lora_extract import LORAType, calc_lora_model
from comfy_extras.nodes_model_merging import ModelMergeSimple, ModelSubtract
from distances import apart, far
from given import folder, foley, host, ksampler, path, pocket, setting
from measure_native import by_hand, loaded, lora
from pack import nodes
from pack.host.comfyui.packed_layers import PackedOperations, is_quantized, quantized
from pack.host.comfyui.packed_patcher import NETWORK
from pack.host.planned_memory import unpacking_bytes
from pack.hunyuan.layers.packed import packed_layers
from pack.model_loaders.foley_packed import load_packed_transformer
from safetensors.torch import load_file

CONVERT = Path(__file__).parents[2] / "tools" / "convert.py"
FORMS = ("int8", "Q8_0", "Q4_K")
EVERYTHING = 1e9  # bytes
WIDE = "single_blocks.0.modulation.linear"  # a layer that is not packed


@torch.inference_mode()
def measure():
    _, *given = setting()
    plain = foley(host.foley_model(path("foley_model"), torch.float32), *given)
    results = {form: of_form(form, given, plain) for form in FORMS}
    with_joined = with_lora(packed("Q8_0"))
    compiled = with_joined.clone()
    set_torch_compile_wrapper(compiled, backend="aot_eager")
    results["compiled"] = apart(*(foley(m, *given, steps=1) for m in (compiled, with_joined)))
    return {"packed": results}


def of_form(form, given, plain):
    model, unpacked = packed(form), numbers_of(form)
    pairs = pairs_of(model, unpacked)
    sounds = {name: [foley(m, *given) for m in pair] for name, pair in pairs.items()}
    sound, with_joined = sounds[""][0], pairs["lora_"][0]

    results = {f"{name}beside_unpacked": apart(*pair) for name, pair in sounds.items()}
    results |= {f"{name}acts": apart(pair[0], sound) for name, pair in sounds.items() if name}
    results |= {"error": far(sound, plain), "lora_gone": apart(foley(model, *given), sound)}
    results |= kept(model, unpacked, form) | hooked(pairs, given, sound)
    results["hook_gone"] = apart(foley(model, *given), sound)
    for name, pair in pairs.items():
        if not name.startswith("merge_into"):
            results |= moved(pair[0], name, *given)
    results |= saved(pairs, form, given, sounds) | wrapped(with_joined, given)
    results["still_packed"] = sum(map(is_quantized, model.model.diffusion_model.parameters()))
    return results


def pairs_of(model, unpacked):
    """What nodes make of the packed model, and of the same weights unpacked."""
    other = host.foley_model(path("foley_model"), None)
    merge = ModelMergeSimple().merge
    return {
        "": (model, unpacked),
        "lora_": (with_lora(model), with_lora(unpacked)),
        "merge_": (merge(model, other, 0.5)[0], merge(unpacked, other, 0.5)[0]),
        "merge_into_": (merge(other, model, 0.5)[0], merge(other, unpacked, 0.5)[0]),
    }


def saved(pairs, form, given, sounds):
    """A model with a LoRA as a file that loads again, and what is extracted: the LoRA, and all of it."""
    file = folder / f"{form}.safetensors"
    comfy.sd.save_checkpoint(str(file), pairs["lora_"][0])
    again = foley(host.foley_model(file, None), *given)
    changed, models = pairs["lora_"], pairs[""]
    differences = [ModelSubtract().merge(*pair, 1.0)[0] for pair in zip(changed, models, strict=True)]
    (ours, theirs), (all_of_ours, all_of_theirs) = map(extracted, differences), map(extracted, changed)
    return {
        "saved": sorted({str(value.dtype) for value in load_file(file).values()}),
        "saved_beside_unpacked": apart(again, sounds["lora_"][1]),
        "extracted_keys": len(ours.keys() & theirs.keys()),
        "extracted_beside_unpacked": max(apart(ours[name], theirs[name]) for name in theirs),
        "extracted_acts": max(float(value.abs().max()) for value in ours.values()),
        "all_extracted_beside_unpacked": max(apart(all_of_ours[k], all_of_theirs[k]) for k in all_of_theirs),
        "extracted_packed": sum(map(is_quantized, [*ours.values(), *all_of_ours.values()])),
    }


def extracted(model):
    """What the node that extracts LoRAs writes, without making its matrices small."""
    written = calc_lora_model(model, 4, NETWORK, NETWORK, {}, LORAType.FULL_DIFF, bias_diff=False)
    return {name: value.float() if not is_quantized(value) else value for name, value in written.items()}


def wrapped(model, given):
    """With a block that another node has compiled: its weights are found though they have other names now."""
    block, sound = f"{NETWORK}single_blocks.0", foley(model, *given)
    other = model.clone()
    other.add_object_patch(block, torch.compile(other.get_model_object(block), backend="eager"))
    # Core itself, asked to load them anew, would not find those that are not packed.
    return {"wrapped": max(apart(foley(other, *given), sound) for _ in range(2))}


def packed(form):
    """As the loader gives it: for int8 by the choice of a weight dtype, else from a file that is packed."""
    if form == "int8":
        return nodes.FoleyModelLoader.execute(pocket("foley_model"), "int8").args[0]
    return nodes.FoleyModelLoader.execute(converted(form).name, "default").args[0]


def converted(form):
    target = folder / "models" / "diffusion_models" / f"{form}.gguf"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(CONVERT), str(path("foley_model")), str(target), "--packing", form]
        subprocess.run(command, check=True)
    return target


def without_comfyui(form):
    """The transformer as it is outside ComfyUI, whose layers hold the same bytes."""
    file, packing = (path("foley_model"), form) if form == "int8" else (converted(form), None)
    return load_packed_transformer(file, packing)


def numbers_of(form):
    """The same weights as float32 in an ordinary model."""
    source = without_comfyui(form)
    state = source.state_dict() | {
        f"{name}.weight": layer.unpacked(torch.float32) for name, layer in packed_layers(source).items()
    }
    model = host.foley_model(path("foley_model"), torch.float32)
    own = model.model.diffusion_model.state_dict()
    model.model.diffusion_model.load_state_dict({name: state[name].float() for name in own})
    return model


def with_lora(model):
    return lora(model, 1.0, WIDE, file="packed.safetensors")


def kept(model, unpacked, form):
    """How many weights stay packed, in how many bytes, and copied as core's streams copy them."""
    weights = [weight for weight in model.model.diffusion_model.parameters() if is_quantized(weight)]
    bias, room = torch.randn(5), memory_management.vram_aligned_size
    buffers = [torch.zeros(room([weight, bias]), dtype=torch.uint8) for weight in weights]
    differences = []
    for weight, buffer in zip(weights, buffers, strict=True):
        copy, other = memory_management.interpret_gathered_like([weight, bias], buffer)
        copy.copy_(weight)
        other.copy_(bias)
        differences += [apart(copy.dequantize(), weight.dequantize()), apart(other, bias)]
    shape, layers = (2, 128, 60), packed_layers(without_comfyui(form))
    largest = max(unpacking_bytes(layer.shape) for layer in layers.values())
    return {
        "packed": len(weights),
        "packable": len(layers),
        "size": model.model_size(),
        "full_size": unpacked.model_size(),
        "planned_for_unpacking": (model.memory_required(shape) - unpacked.memory_required(shape)) / largest,
        "gathered": max(differences),
        "joined_in": joined_in(next(iter(layers.values()))),
        "moved": converted_weights(next(iter(layers.values()))),
    }


def joined_in(stored):
    """The dtype in which something joins a packed weight of a model in bfloat16, and that of the answer."""
    layer, dtypes = hosted(stored), []
    layer.weight_function = [lambda weight: (dtypes.append(weight.dtype), weight)[1]]
    out = layer(torch.zeros(1, stored.shape[1], dtype=torch.bfloat16))
    return [str(dtype) for dtype in (*dtypes, out.dtype)]


def converted_weights(stored):
    """Whether who holds a weight still does after a move; its dtypes after moves, referred to or not."""
    layer = hosted(stored)
    held = layer.weight
    layer.to(torch.float16)
    follows, dtypes = held is layer.weight, [layer.weight.dtype]
    reference = weakref.ref(layer.weight)
    layer.to(torch.float32)
    dtypes.append(layer.weight.dtype if reference() is held else None)
    return [follows, is_quantized(layer.weight), *map(str, dtypes)]


def hosted(stored):
    """One of core's layers, in bfloat16, with a packed weight."""
    layer = PackedOperations.Linear(*reversed(stored.shape), dtype=torch.bfloat16)
    layer.weight = torch.nn.Parameter(quantized(stored, torch.bfloat16), requires_grad=False)
    return layer


def hooked(pairs, given, sound):
    """LoRAs that hold for one conditioning alone, and one of them for the first steps alone."""
    positive, negative, latent = given
    results = {}
    for name, of, ends in (("hook_", "", 1.0), ("hook_on_lora_", "lora_", 1.0), ("keyframe_", "", 0.4)):
        hook = hooks.WeightHook(strength_model=1.0)
        hook.weights = load_file(folder / "models" / "loras" / "packed.safetensors")
        hook.hook_keyframe = hooks.HookKeyframeGroup()
        for strength, start in ((1.0, 0.0), (0.0, ends)):
            hook.hook_keyframe.add(hooks.HookKeyframe(strength=strength, start_percent=start))
        group = hooks.HookGroup()
        group.add(hook)
        with_hooks = [[states, {**values, "hooks": group}] for states, values in positive]
        made = [ksampler(m, with_hooks, negative, latent) for m in pairs[of]]
        results |= {f"{name}acts": apart(made[0], sound), f"{name}beside_unpacked": apart(*made)}

    # A hook that turns the model into another one by half.
    weights = hooks.get_patch_weights_from_model(host.foley_model(path("foley_model"), torch.float32))
    halves = hooks.create_hook_model_as_lora(
        weights_model=weights, weights_clip=None, strength_model=0.5, strength_clip=0.0
    )
    with_hooks = [[states, {**values, "hooks": halves}] for states, values in positive]
    made = [ksampler(m, with_hooks, negative, latent) for m in pairs[""]]
    return results | {"model_hook_acts": apart(made[0], sound), "model_hook_beside_unpacked": apart(*made)}


def moved(model, name, positive, _, latent):
    """One evaluation with all weights loaded, with all taken away again, with half of them, and with none."""
    x = torch.randn(2, *latent["samples"].shape[1:], generator=torch.Generator().manual_seed(1))
    whole = by_hand(loaded(model, 0), positive, x)
    results = {}

    def note(state):
        results[f"{name}{state}"] = apart(by_hand(model, positive, x), whole)

    model.partially_unload(model.offload_device, EVERYTHING)
    note("unloaded")
    model.partially_load(model.load_device, model.model_size() / 2)
    results[f"{name}half_loaded"] = model.model.model_loaded_weight_memory
    note("half")
    model.partially_load(model.load_device, EVERYTHING)
    note("again")
    loaded(model, 1)
    note("partial")
    model.unpatch_model(model.offload_device)
    results[f"{name}left_behind"] = sum(
        len(layer.weight_function) for layer in model.model.packed_layers.values()
    )
    return results
