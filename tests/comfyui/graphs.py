"""Graphs as ComfyUI queues them, on the pocket weights."""

MODELS = {
    "model": ("HunyuanAVFoleyModelLoader", {"weight_dtype": "fp32"}),
    "vae": ("HunyuanAVFoleyVAELoader", {"part": "both"}),
    "clip": ("HunyuanAVFoleyTextEncoderLoader", {}),
    "eyes": ("HunyuanAVFoleyVideoEncoderLoader", {}),
}
FILES = {
    "model": [("model_file", "transformer.safetensors")],
    "vae": [("vae_file", "audio_vae.safetensors")],
    "clip": [("text_encoder_file", "clap/model.safetensors")],
    "eyes": [("siglip_file", "siglip2/model.safetensors"), ("synchformer_file", "synchformer.safetensors")],
}


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def loaders(*names):
    """Our loaders, with the pocket files."""
    files = {name: {widget: f"pocket/foley/{file}" for widget, file in FILES[name]} for name in names}
    return {name: node(MODELS[name][0], **MODELS[name][1], **files[name]) for name in names}


def prompt(positive="a dog barks twice"):
    return node(
        "HunyuanAVFoleyPrompt", clip=["clip", 0], positive=positive, negative="noisy", high_quality=False
    )


def sampler(conditioned, latent, **options):
    values = {
        "seed": 7, "steps": 10, "cfg": 4.5, "solver": "euler", "denoise": 1.0,
        "text_scale": 1.0, "video_scale": 1.0, "sync_scale": 1.0,
    }  # fmt: skip
    return node(
        "HunyuanAVFoleySampler", model=["model", 0], positive=[conditioned, 0], negative=[conditioned, 1],
        latent=latent, **{**values, **options},
    )  # fmt: skip


def from_text(seconds=1.0, **options):
    return {
        **loaders("model", "vae", "clip"),
        "prompt": prompt(),
        "empty": node("HunyuanAVFoleyEmptyLatent", seconds=seconds, batch_size=1),
        "sound": sampler("prompt", ["empty", 0], **options),
        "decoded": node("HunyuanAVFoleyVAEDecode", latent=["sound", 0], vae=["vae", 0]),
        "saved": node("SaveAudio", audio=["decoded", 0], filename_prefix="text"),
    }


def from_video():
    common = {"model": ["model", 0], "positive": ["seen", 0], "negative": ["seen", 1]}
    return {
        **loaders("model", "vae", "clip", "eyes"),
        "prompt": prompt(),
        "video": node("LoadVideo", file="clip.mp4"),
        "features": node(
            "HunyuanAVFoleyVideoEncode", video_encoder=["eyes", 0], video=["video", 0],
            fps=24.0, start=0.0, length=0.0,
        ),
        "seen": node(
            "HunyuanAVFoleyConditioning", positive=["prompt", 0], negative=["prompt", 1],
            features=["features", 0], batch_size=1,
        ),
        "ours": sampler("seen", ["seen", 2]),
        "core": node(
            "KSampler", latent_image=["seen", 2], seed=7, steps=10, cfg=4.5, sampler_name="euler",
            scheduler="simple", denoise=1.0, **common,
        ),
        "guider": node("HunyuanAVFoleyGuider", text_scale=4.5, video_scale=4.5, sync_scale=4.5, **common),
        "sigmas": node("HunyuanAVFoleySigmas", steps=10, shift=1.0, denoise=1.0),
        "noise": node("RandomNoise", noise_seed=7),
        "euler": node("KSamplerSelect", sampler_name="euler"),
        "custom": node(
            "SamplerCustomAdvanced", noise=["noise", 0], guider=["guider", 0], sampler=["euler", 0],
            sigmas=["sigmas", 0], latent_image=["seen", 2],
        ),
        **{
            f"save_{name}": node("SaveLatent", samples=[name, 0], filename_prefix=name)
            for name in ("ours", "core", "custom")
        },
        "decoded": node("HunyuanAVFoleyVAEDecode", latent=["ours", 0], vae=["vae", 0]),
        "saved": node("SaveAudio", audio=["decoded", 0], filename_prefix="video"),
    }  # fmt: skip
