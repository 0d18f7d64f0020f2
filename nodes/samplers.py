"""Nodes that make the sound: noise levels, guidance, and the sampler itself."""

from typing import Any

from .. import host
from ..hunyuan.sampling.guidance import GuidanceScales
from ..hunyuan.sampling.schedule import flow_sigmas
from ..hunyuan.sampling.solvers import SOLVERS
from .loaders import CATEGORY

io = host.io

STEPS = io.Int.Input(
    "steps",
    default=50,
    min=1,
    max=1000,
    tooltip="Steps from noise to sound. Fewer are faster and rougher; above 50 little changes.",
)
SOLVER = io.Combo.Input(
    "solver",
    options=list(SOLVERS),
    default="euler",
    tooltip="How a step is made. euler is the published one; heun and midpoint take twice, rk4 four times as "
    "long for each step and need fewer steps.",
)
CFG = io.Float.Input(
    "cfg",
    default=4.5,
    min=0.0,
    max=20.0,
    step=0.1,
    tooltip="How closely the sound keeps to video and prompt. High values sound harsh; 1 or "
    "less is no guidance, twice as fast.",
)
DENOISE = io.Float.Input(
    "denoise",
    default=1.0,
    min=0.0,
    max=1.0,
    step=0.01,
    tooltip="How much of the latent is made anew: 1 is all of it, 0.5 keeps the course of a sound and "
    "changes its detail, 0 changes nothing.",
)
MODEL = io.Model.Input("model", tooltip="From the Foley Model Loader.")
POSITIVE = io.Conditioning.Input(
    "positive", tooltip="From Foley Conditioning; for sound from text alone, from Foley Prompt."
)
NEGATIVE = io.Conditioning.Input("negative", tooltip="From the same node as positive.")


def seed_input(same: str):
    """What the noise is drawn from. same: what the same seed does."""
    return io.Int.Input(
        "seed",
        default=0,
        min=0,
        max=0xFFFF_FFFF_FFFF_FFFF,
        control_after_generate=True,
        tooltip=f"Another seed is another take; the same one {same} on every device.",
    )


SEED = seed_input("sounds the same")


def scale_input(input_id: str, what: str, **options: Any):
    """How strongly one modality guides the sound."""
    return io.Float.Input(input_id, min=0.0, max=20.0, step=0.1, tooltip=what, **options)


RELATIVE_SCALES = [  # of what leads the sound, beside cfg
    scale_input("text_scale", "Guidance by the prompt, in multiples of cfg.", default=1.0, advanced=True),
    scale_input(
        "video_scale",
        "Guidance by what is in the picture, in multiples of cfg.",
        default=1.0,
        advanced=True,
    ),
    scale_input(
        "sync_scale",
        "Guidance by when things happen, in multiples of cfg. Experimental where it is not video_scale.",
        default=1.0,
        advanced=True,
    ),
]


def relative_scales(cfg: float, text_scale: float, video_scale: float, sync_scale: float) -> GuidanceScales:
    """The widgets of cfg and RELATIVE_SCALES as scales."""
    return GuidanceScales(text=cfg * text_scale, video=cfg * video_scale, sync=cfg * sync_scale)


def share_input(input_id: str, what: str, default: float):
    """A place in the sampling."""
    return io.Float.Input(
        input_id,
        default=default,
        min=0.0,
        max=1.0,
        step=0.001,
        optional=True,
        advanced=True,
        tooltip=f"{what}, as a share of the sampling: 0 is its beginning, 1 its end. Steps without guidance "
        "take half the time or less.",
    )


class FoleySigmas(io.ComfyNode):
    """steps, shift, denoise -> SIGMAS."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVFoleySigmas",
            display_name="Foley Sigmas",
            category=CATEGORY,
            description="The evenly spaced noise levels of HunyuanVideo-Foley, exact for every number of "
            "steps, for custom samplers.",
            search_aliases=["flow matching scheduler", "linear sigmas"],
            inputs=[
                STEPS,
                io.Float.Input(
                    "shift",
                    default=1.0,
                    min=0.01,
                    max=100.0,
                    step=0.01,
                    tooltip="1 is as published. Above 1 more of the steps go to the noisy beginning, where "
                    "the course of the sound is decided.",
                ),
                DENOISE,
            ],
            outputs=[
                io.Sigmas.Output(display_name="sigmas", tooltip="One level more than steps; the last is 0.")
            ],
        )

    @classmethod
    def execute(cls, steps: int, shift: float, denoise: float) -> io.NodeOutput:
        return io.NodeOutput(flow_sigmas(steps, shift=shift, denoise=denoise))


class FoleyGuider(io.ComfyNode):
    """MODEL, positive, negative, text/video/sync scales -> GUIDER."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVFoleyGuider",
            display_name="Foley Guider",
            category=CATEGORY,
            description="Guidance with a scale for each thing that leads the sound, for custom samplers. "
            "Three equal scales are the published guidance and take two passes a step; unequal ones take up "
            "to four.",
            search_aliases=["cfg guider", "multi guidance"],
            inputs=[
                MODEL,
                POSITIVE,
                NEGATIVE,
                scale_input("text_scale", "How closely the sound keeps to the prompt.", default=4.5),
                scale_input(
                    "video_scale", "How much the sound comes from what is in the picture.", default=4.5
                ),
                scale_input(
                    "sync_scale",
                    "How sharply the sound follows when things happen. Apart from video_scale this is "
                    "experimental: in training both were hidden together.",
                    default=4.5,
                ),
                share_input("guidance_start", "Where guidance begins to act", 0.0),
                share_input("guidance_end", "Where guidance stops to act", 1.0),
            ],
            outputs=[io.Guider.Output(display_name="guider", tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Any,
        negative: Any,
        text_scale: float,
        video_scale: float,
        sync_scale: float,
        guidance_start: float = 0.0,
        guidance_end: float = 1.0,
    ) -> io.NodeOutput:
        scales = GuidanceScales(text=text_scale, video=video_scale, sync=sync_scale)
        span = guidance_start, guidance_end
        return io.NodeOutput(host.foley_guider(model, positive, negative, scales, span))


class FoleySampler(io.ComfyNode):
    """MODEL, positive, negative, LATENT, widgets -> LATENT."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVFoleySampler",
            display_name="Foley Sampler",
            category=CATEGORY,
            description="Makes the sound, from noise, for the video and the prompt. At its defaults it is "
            "the published sampler.",
            search_aliases=["mmdit sampler", "ksampler", "foley", "video to audio", "sound effects"],
            inputs=[
                MODEL,
                POSITIVE,
                NEGATIVE,
                io.Latent.Input(
                    "latent",
                    tooltip="From Foley Conditioning or Foley Empty Latent; or a sound, with a Foley Time "
                    "Mask or denoise below 1.",
                ),
                SEED,
                STEPS,
                CFG,
                SOLVER,
                DENOISE,
                *RELATIVE_SCALES,
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The sound, for Foley VAE Decode.")],
        )

    @classmethod
    def execute(
        cls, model: Any, positive: Any, negative: Any, latent: dict[str, Any], seed: int, steps: int,
        cfg: float, solver: str, denoise: float, text_scale: float, video_scale: float, sync_scale: float,
    ) -> io.NodeOutput:  # fmt: skip
        scales = relative_scales(cfg, text_scale, video_scale, sync_scale)
        guider = host.foley_guider(model, positive, negative, scales)
        samples = host.sample(guider, latent, flow_sigmas(steps, denoise=denoise), solver, seed)
        return io.NodeOutput({**latent, "samples": samples})
