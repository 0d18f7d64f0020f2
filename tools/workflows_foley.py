"""The Foley workflows, from loading the models to listening."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from blueprint import Blueprint
from node_types import NodeType
from workflow_graph import Graph, Node, Output

CLIP = "hunyuan_av_hammer.mp4"
FPS = 24.0  # of videos that are made, not loaded
PROMPT = "a hammer striking metal"
POCKET = "pocket/foley/"

WEIGHTS = """
### As shipped: pocket weights
This runs at once, with tiny networks that come with the pack. What you hear is what they can do.

### For the real sound
Put the published files into your models folder and choose them in the loaders:

| loader | file | folder |
|---|---|---|
| Foley Model | `hunyuanvideo_foley.pth` | `diffusion_models` |
| Foley VAE | `vae_128d_48k.pth` | `vae` |
| Text encoder | the folder `larger_clap_general` | `text_encoders` |
| Video encoder | the folder `siglip2-base-patch16-512` | `clip_vision` |
| | `synchformer_state_dict.pth` | `foley` |
"""


@dataclass(frozen=True)
class Models:
    """The loaders that a graph has."""

    model: Node
    vae: Node
    clip: Node
    encoder: Node | None = None


def load_models(graph: Graph, *, part: str = "decoder", video: bool = True) -> Models:
    """The first column: what is loaded, and what to load for the real sound."""
    with graph.column("1 · Models", "blue", 380):
        model = graph.add("HunyuanAVFoleyModelLoader", model_file=f"{POCKET}transformer.safetensors")
        vae = graph.add("HunyuanAVFoleyVAELoader", vae_file=f"{POCKET}audio_vae.safetensors", part=part)
        clip = graph.add(
            "HunyuanAVFoleyTextEncoderLoader", text_encoder_file=f"{POCKET}clap/model.safetensors"
        )
        encoder = None
        if video:
            encoder = graph.add(
                "HunyuanAVFoleyVideoEncoderLoader",
                siglip_file=f"{POCKET}siglip2/model.safetensors",
                synchformer_file=f"{POCKET}synchformer.safetensors",
            )
        graph.note(WEIGHTS)
    return Models(model, vae, clip, encoder)


def watch(graph: Graph, models: Models) -> tuple[Node, Node, Node]:
    """The second column, for a video from a file. Returns the video, what is seen in it, and the prompt."""
    with graph.column("2 · Video and prompt", "green", 380):
        video = graph.add("LoadVideo", file=CLIP)
        features = graph.add("HunyuanAVFoleyVideoEncode", video_encoder=models.encoder, video=video)
        prompt = graph.add("HunyuanAVFoleyPrompt", clip=models.clip, positive=PROMPT)
    return video, features, prompt


def conditioning(graph: Graph, prompt: Node, features: Node, **options) -> Node:
    return graph.add(
        "HunyuanAVFoleyConditioning",
        positive=prompt["positive"], negative=prompt["negative"], features=features, **options,
    )  # fmt: skip


def sampler(graph: Graph, models: Models, prompt: Node, latent: Output | Node, **options) -> Node:
    return graph.add(
        "HunyuanAVFoleySampler",
        model=models.model, positive=prompt["positive"], negative=prompt["negative"], latent=latent,
        **options,
    )  # fmt: skip


def decoded(graph: Graph, models: Models, latent: Node | Output, **options) -> Node:
    return graph.add("HunyuanAVFoleyVAEDecode", latent=latent, vae=models.vae, **options)


def with_sound(graph: Graph, video: Node, audio: Node | Output, prefix: str) -> None:
    """The video again, with its new sound, as a file."""
    parts = graph.add("GetVideoComponents", video=video)
    joined = graph.add("CreateVideo", images=parts["images"], fps=parts["fps"], audio=audio)
    graph.add("SaveVideo", video=joined, filename_prefix=prefix)


def video_to_sound(graph: Graph) -> None:
    models = load_models(graph)
    video, features, prompt = watch(graph, models)
    with graph.column("3 · Sound", "purple"):
        conditioned = conditioning(graph, prompt, features)
        latent = sampler(graph, models, conditioned, conditioned["latent"], steps=25)
        audio = decoded(graph, models, latent)
        graph.note(
            "### Video to sound\nThe sound follows what is seen and when it happens; the prompt says what it "
            "is. One run makes up to 15 s: choose a part of a longer video with **start** and **length** in "
            "Foley Video Encode.\n\nAnother **seed** is another take. **cfg** is how closely the sound keeps "
            "to video and prompt. The published setting is 50 steps."
        )
    with graph.column("4 · Watch and listen", "orange"):
        plot = graph.add("HunyuanAVFoleySyncPlot", audio=audio, video=video)
    with graph.column("5 · Video with sound", "orange"):
        with_sound(graph, video, plot["audio"], "video/hunyuan_av_foley")


def long_video(graph: Graph) -> None:
    models = load_models(graph)
    with graph.column("2 · Film and shots", "green", 380):
        video = graph.add("LoadVideo", file=CLIP)
        shots = graph.add("HunyuanAVFoleyShots", video=video, prompts="")
        graph.note(
            "### Long video\nAny length: the film is watched shot by shot, window by window, and streamed to "
            "a file, so memory does not grow with it. A cancelled run goes on where it stopped when it is "
            "queued again.\n\nEvery cut begins a shot with its own clock. **prompts** may give each shot its "
            "own words; **prompt** in Foley Long Video is for all of them, and may change over time: "
            "`0:00 rain | 0:12 rain, thunder`."
        )
    with graph.column("3 · Sound for all of it", "purple", 380):
        film = graph.add(
            "HunyuanAVFoleyLongVideo",
            video=video, model=models.model, vae=models.vae, clip=models.clip, video_encoder=models.encoder,
            shots=shots["shots"], prompt=PROMPT, steps=25,
        )  # fmt: skip
    with graph.column("4 · Watch and listen", "orange"):
        graph.add("SaveVideo", video=film["video"], filename_prefix="video/hunyuan_av_long")
        graph.add("PreviewAny", "How the windows join", source=film["joins"])


def text_to_sound(graph: Graph) -> None:
    models = load_models(graph, video=False)
    with graph.column("2 · Prompt", "green", 380):
        prompt = graph.add(
            "HunyuanAVFoleyPrompt", clip=models.clip, positive="heavy rain on a tin roof, distant thunder"
        )
        empty = graph.add("HunyuanAVFoleyEmptyLatent", seconds=4.0)
        graph.note(
            "### Text to sound\nNo video: the length is up to you, 15 s at most. The model was trained with "
            "video on 8 s, and words alone give it less to go by."
        )
    with graph.column("3 · Sound", "purple"):
        audio = decoded(graph, models, sampler(graph, models, prompt, empty, steps=25))
    with graph.column("4 · Listen", "orange"):
        graph.add("SaveAudio", audio=audio, filename_prefix="audio/hunyuan_av_text")


def core_nodes(graph: Graph) -> None:
    models = load_models(graph)
    with graph.column("2 · Video and prompt", "green", 380):
        video = graph.add("LoadVideo", file=CLIP)
        features = graph.add("HunyuanAVFoleyVideoEncode", video_encoder=models.encoder, video=video)
        positive = graph.add("CLIPTextEncode", "Positive prompt", clip=models.clip, text=PROMPT)
        negative = graph.add("CLIPTextEncode", "Negative prompt", clip=models.clip, text="noisy, harsh")
    with graph.column("3 · ComfyUI's own sampler", "purple"):
        conditioned = graph.add(
            "HunyuanAVFoleyConditioning", positive=positive, negative=negative, features=features
        )
        latent = graph.add(
            "KSampler",
            model=models.model, positive=conditioned["positive"], negative=conditioned["negative"],
            latent_image=conditioned["latent"], steps=25, cfg=4.5, sampler_name="euler", scheduler="simple",
        )  # fmt: skip
        audio = graph.add("VAEDecodeAudio", samples=latent, vae=models.vae)
        graph.note(
            "### ComfyUI's own nodes\nMODEL, VAE, CLIP, CONDITIONING and LATENT are ComfyUI's: its samplers, "
            "schedulers, LoRA loaders, guidance and model patches work here. euler with the simple scheduler "
            "is the Foley Sampler, where steps divide 1000.\n\nTwo differences: CLIPTextEncode encodes each "
            "prompt alone (the model was trained on both together, see Foley Prompt), and VAEDecodeAudio "
            "makes loud sounds quieter (Foley VAE Decode does not)."
        )
    with graph.column("4 · Listen", "orange"):
        graph.add("SaveAudio", audio=audio, filename_prefix="audio/hunyuan_av_core")


def regenerate_a_range(graph: Graph) -> None:
    models = load_models(graph, part="both")
    video, features, prompt = watch(graph, models)
    with graph.column("3 · The sound there is", "green"):
        parts = graph.add("GetVideoComponents", video=video)
        known = graph.add("HunyuanAVFoleyVAEEncode", audio=parts["audio"], vae=models.vae)
        part = graph.add("HunyuanAVFoleyTimeMask", latent=known, start=1.5, end=3.0, fade=0.1)
        graph.note(
            "### Regenerate a time range\nSeconds **start** to **end** are made anew, the rest of the sound "
            "stays bit for bit. **fade** is how long old and new blend at both ends. Put several Foley Time "
            "Masks in a row for several ranges.\n\nThe sound here is the video's own; a Load Audio node does "
            "as well. It must be as long as the video."
        )
    with graph.column("4 · Only the range", "purple"):
        conditioned = conditioning(graph, prompt, features)
        latent = sampler(graph, models, conditioned, part, steps=25, seed=3)
        audio = decoded(graph, models, latent)
    with graph.column("5 · Before and after", "orange"):
        graph.add("PreviewAudio", "Before", audio=parts["audio"])
        graph.add("PreviewAudio", "After", audio=audio)
        joined = graph.add("CreateVideo", images=parts["images"], fps=parts["fps"], audio=audio)
        graph.add("SaveVideo", video=joined, filename_prefix="video/hunyuan_av_range")


def takes_side_by_side(graph: Graph) -> None:
    models = load_models(graph)
    _, features, prompt = watch(graph, models)
    with graph.column("3 · Three takes at once", "purple"):
        conditioned = conditioning(graph, prompt, features, batch_size=3)
        latent = sampler(graph, models, conditioned, conditioned["latent"], steps=25)
        graph.note(
            "### Takes side by side\n**batch_size** in Foley Conditioning makes several takes in one run. "
            "Take 1 sounds the same however many follow. A take that you like is made again alone by the "
            "same seed and batch_size, and only its Latent From Batch."
        )
    for take in range(3):
        with graph.column(f"Take {take + 1}", "orange", 300):
            one = graph.add("LatentFromBatch", samples=latent, batch_index=take)
            audio = decoded(graph, models, one)
            graph.add("SaveAudio", audio=audio, filename_prefix=f"audio/hunyuan_av_take_{take + 1}")


def text_to_video_to_sound(graph: Graph) -> None:
    with graph.column("1 · HunyuanVideo", "blue", 380):
        unet = graph.add("UNETLoader", unet_name="hunyuan_video_t2v_720p_bf16.safetensors")
        texts = graph.add(
            "DualCLIPLoader",
            clip_name1="clip_l.safetensors", clip_name2="llava_llama3_fp8_scaled.safetensors",
            type="hunyuan_video",
        )  # fmt: skip
        vae = graph.add("VAELoader", vae_name="hunyuan_video_vae_bf16.safetensors")
        graph.note(
            "### Text to video to sound\nThe upper part is ComfyUI's own HunyuanVideo graph, which needs its "
            "files in `diffusion_models`, `text_encoders` and `vae`. Any other video model does as well, Wan "
            "or LTX: connect its IMAGE to Foley Video Encode and set **fps** to the rate the video is saved "
            "with, here and in Create Video."
        )
    with graph.column("2 · What is seen", "green", 380):
        text = graph.add(
            "CLIPTextEncode", clip=texts,
            text="a blacksmith strikes a glowing piece of iron on an anvil, sparks fly, close shot",
        )  # fmt: skip
        guidance = graph.add("FluxGuidance", conditioning=text, guidance=6.0)
        empty = graph.add("EmptyHunyuanLatentVideo", width=848, height=480, length=97)
        noise = graph.add("RandomNoise", noise_seed=1)
        euler = graph.add("KSamplerSelect", sampler_name="euler")
        sigmas = graph.add("BasicScheduler", model=unet, scheduler="simple", steps=20)
    with graph.column("3 · The picture", "purple"):
        shifted = graph.add("ModelSamplingSD3", model=unet, shift=7.0)
        guider = graph.add("BasicGuider", model=shifted, conditioning=guidance)
        made = graph.add(
            "SamplerCustomAdvanced",
            noise=noise, guider=guider, sampler=euler, sigmas=sigmas, latent_image=empty,
        )  # fmt: skip
        images = graph.add("VAEDecodeTiled", samples=made["output"], vae=vae, tile_size=256)
    models = load_models(graph)
    graph.columns[-1].title = "4 · Foley models"
    with graph.column("5 · Sound for it", "green", 380):
        features = graph.add(
            "HunyuanAVFoleyVideoEncode", video_encoder=models.encoder, images=images, fps=FPS
        )
        prompt = graph.add(
            "HunyuanAVFoleyPrompt", clip=models.clip, positive="a hammer striking hot iron on an anvil"
        )
    with graph.column("6 · The sound", "purple"):
        conditioned = conditioning(graph, prompt, features)
        latent = sampler(graph, models, conditioned, conditioned["latent"])
        audio = decoded(graph, models, latent)
    with graph.column("7 · Watch and listen", "orange"):
        joined = graph.add("CreateVideo", images=images, fps=FPS, audio=audio)
        graph.add("SaveVideo", video=joined, filename_prefix="video/hunyuan_av_t2v")


def video_to_sound_blueprint(kinds: Mapping[str, NodeType]) -> Blueprint:
    """Video in; sound, and the video with it, out."""
    blueprint = Blueprint(
        "Video → Sound",
        "Synchronized 48 kHz sound for a silent video, up to 15 s, with HunyuanVideo-Foley.",
        kinds,
        [("video", "VIDEO")],
    )
    graph, video = blueprint.graph, blueprint.entry
    models = load_models(graph)
    with graph.column("2 · Video and prompt", "green", 380):
        features = graph.add("HunyuanAVFoleyVideoEncode", video_encoder=models.encoder, video=video)
        prompt = graph.add("HunyuanAVFoleyPrompt", clip=models.clip)
    with graph.column("3 · Sound", "purple"):
        conditioned = conditioning(graph, prompt, features)
        latent = sampler(graph, models, conditioned, conditioned["latent"])
        audio = decoded(graph, models, latent)
    with graph.column("4 · Video with sound", "orange"):
        parts = graph.add("GetVideoComponents", video=video)
        joined = graph.add("CreateVideo", images=parts["images"], fps=parts["fps"], audio=audio)
    blueprint.exit = {"audio": audio["audio"], "video": joined["VIDEO"]}
    blueprint.promoted = [
        (prompt, "positive"), (prompt, "negative"), (latent, "seed"), (latent, "steps"), (latent, "cfg"),
        (models.model, "model_file"), (models.vae, "vae_file"), (models.clip, "text_encoder_file"),
        (models.encoder, "siglip_file"), (models.encoder, "synchformer_file"),
    ]  # fmt: skip
    return blueprint


BLUEPRINTS = [video_to_sound_blueprint]

WORKFLOWS: Mapping[str, Callable[[Graph], None]] = {
    "foley_video_to_sound": video_to_sound,
    "foley_text_to_sound": text_to_sound,
    "foley_core_nodes": core_nodes,
    "foley_long_video": long_video,
    "foley_regenerate_a_range": regenerate_a_range,
    "foley_takes_side_by_side": takes_side_by_side,
    "foley_text_to_video_to_sound": text_to_video_to_sound,
}
