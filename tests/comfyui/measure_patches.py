"""Nodes that patch attention, blocks, guidance or whole steps, on our MODEL within ComfyUI's process."""

import logging
from contextlib import contextmanager

import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras import nodes_apg, nodes_cfg, nodes_easycache, nodes_pag
from distances import apart
from given import core, foley, host, path, setting

try:
    from comfy_extras import nodes_nag
except ImportError:  # ComfyUIs before 0.14
    nodes_nag = None


@torch.inference_mode()
def measure():
    model, *given = setting()
    plain = foley(model, *given)
    scales = {"text_scale": 1.2, "video_scale": 0.8, "sync_scale": 0.5}
    patched = {
        "pag": nodes_pag.PerturbedAttentionGuidance.execute(model, 3.0),
        "easycache": nodes_easycache.EasyCacheNode.execute(model, 0.5, 0.1, 0.95, False),
        "lazycache": nodes_easycache.LazyCacheNode.execute(model, 0.5, 0.1, 0.95, False),
        "zero_star": nodes_cfg.CFGZeroStar.execute(model),
        "norm": nodes_cfg.CFGNorm.execute(model, 0.5),
        "apg": nodes_apg.APG.execute(model, 0.5, 5.0, 0.0),
    }
    if nodes_nag:
        patched["nag"] = nodes_nag.NAGuidance.execute(model, 5.0, 0.5, 1.5)
    results = {"said_of_plain": said_while(lambda: foley(model, *given))}
    for name, out in patched.items():
        with listening() as said:
            sound = foley(out.args[0], *given)
        results |= {f"{name}_acts": apart(sound, plain), f"{name}_finite": bool(sound.isfinite().all())}
        results[f"said_of_{name}"] = said
    if nodes_nag:
        # Four passes, not two: a node that tells positive from negative must find both where it looks.
        results["nag_acts_on_scales"] = apart(
            foley(patched["nag"].args[0], *given, **scales), foley(model, *given, **scales)
        )
    results["easycache_of_nothing"] = apart(
        foley(nodes_easycache.EasyCacheNode.execute(model, 0.0, 0.1, 0.95, False).args[0], *given), plain
    )

    compiled = model.clone()
    set_torch_compile_wrapper(compiled, backend="eager")
    results["compiled"] = apart(foley(compiled, *given, steps=2), foley(model, *given, steps=2))
    return results | unheard(model, given, plain)


def unheard(model, given, plain):
    """What is said where a node cannot act on this model, and that the sound is as without it."""
    positive, negative, latent = given
    of_unet = model.clone()
    of_unet.set_model_output_block_patch(lambda h, skipped, options: (h * 2, skipped))
    elsewhere = model.clone()
    elsewhere.set_model_attn1_replace(lambda q, k, v, extra: v, "input", 3)
    clip = host.foley_text_encoder(path("clap"))
    alone = core.CLIPTextEncode().encode(clip, "a dog barks twice, far away, in the rain")[0]
    longer = [[alone[0][0], positive[0][1]]]
    comparing = model.clone()
    comparing.set_model_attn1_output_patch(lambda out, options: out)
    with listening() as said_of_unet:
        unet_acts = apart(foley(of_unet, *given), plain)
    return {
        "unet_acts": unet_acts,
        "said_of_unet": said_of_unet,
        "said_of_elsewhere": said_while(lambda: foley(elsewhere, *given, steps=1)),
        "said_of_lengths": said_while(lambda: foley(comparing, longer, negative, latent, steps=1)),
    }


def said_while(act):
    with listening() as said:
        act()
    return said


@contextmanager
def listening():
    """Collects this pack's warnings."""
    said = []

    class Listener(logging.Handler):
        def emit(self, record):
            said.append(record.getMessage())

    log, listener = logging.getLogger("pack"), Listener(logging.WARNING)
    log.addHandler(listener)
    try:
        yield said
    finally:
        log.removeHandler(listener)
