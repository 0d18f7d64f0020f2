"""Nodes that make the talking video: guidance, and the sampler itself."""

from typing import Any

from .. import host
from ..hunyuan.avatar.ring import SHIFT
from ..hunyuan.avatar.schedule import SCHEDULES, STEP_CACHES
from ..hunyuan.avatar.settings import CFG, STEPS, AvatarSettings
from ..hunyuan.avatar.step_cache import TOLERANCE
from ..hunyuan.avatar.timing import WINDOW_LATENTS
from .avatar_sockets import AVATAR_CATEGORY
from .samplers import seed_input

io = host.io

MODEL = io.Model.Input("model", tooltip="From the Avatar Model Loader.")
POSITIVE = io.Conditioning.Input("positive", tooltip="From Avatar Conditioning.")
NEGATIVE = io.Conditioning.Input("negative", tooltip="From the same Avatar Conditioning.")
GUIDANCE = [
    io.Float.Input(
        "cfg",
        default=CFG,
        min=1.0,
        max=20.0,
        step=0.1,
        tooltip="How closely the first fifth of the steps keeps to the prompt; after them, guidance is by "
        "the speech alone and falls from 6.5 to 3.5.",
    ),
    io.Combo.Input(
        "schedule",
        options=list(SCHEDULES),
        default="scaled",
        tooltip="When guidance changes: scaled to the number of steps, or as published, at step 10 of "
        "however many. At 50 steps both are the same.",
    ),
    io.Float.Input(
        "mask_strength",
        default=1.0,
        min=0.0,
        max=4.0,
        step=0.05,
        tooltip="How strongly all voices act inside their masks: 1 as trained.",
    ),
]
RING = [
    io.Combo.Input(
        "step_cache",
        options=list(STEP_CACHES),
        default="scaled",
        tooltip="Which steps start from what the last full step left, which saves most of their work. scaled "
        "fits any number of steps; published is made for 50 and leaves old features at the end of others; "
        "error-driven measures how fast they age; off computes all.",
    ),
    io.Float.Input(
        "cache_tolerance",
        default=TOLERANCE,
        min=0.0,
        max=1.0,
        step=0.01,
        advanced=True,
        tooltip="Of an error-driven cache: how far off a step may be, as a fraction. Less is slower and more "
        "exact.",
    ),
    io.Int.Input(
        "shift",
        default=SHIFT,
        min=0,
        max=WINDOW_LATENTS - 1,
        advanced=True,
        tooltip="Latent frames (of 4 frames) by which windows move from step to step in videos over 5 s, so "
        "that no seam stays in place: 10 as published, 3 to 7 in the paper.",
    ),
    io.Int.Input(
        "overlap",
        default=0,
        min=0,
        max=WINDOW_LATENTS // 2,
        advanced=True,
        tooltip="Latent frames that neighbouring windows share. 0 as published; more is smoother and slower.",
    ),
]


def settings_of(
    cfg: float, schedule: str, mask_strength: float, step_cache: str, cache_tolerance: float, shift: int,
    overlap: int,
) -> AvatarSettings:  # fmt: skip
    """The widgets as settings."""
    return AvatarSettings(
        cfg=cfg, schedule=schedule, mask_strength=mask_strength, step_cache=step_cache,
        tolerance=cache_tolerance, shift=shift, overlap=overlap,
    )  # fmt: skip


class AvatarGuider(io.ComfyNode):
    """MODEL, positive, negative, cfg, schedule, mask strength, ring -> GUIDER."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVAvatarGuider",
            display_name="Avatar Guider",
            category=AVATAR_CATEGORY,
            description="Avatar's changing guidance, for custom samplers: by prompt and speech first, then "
            "by speech alone. Noise levels as published come from Foley Sigmas at shift 5.",
            search_aliases=["cfg guider", "audio guidance"],
            inputs=[MODEL, POSITIVE, NEGATIVE, *GUIDANCE, *RING],
            outputs=[io.Guider.Output(display_name="guider", tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(
        cls, model: Any, positive: Any, negative: Any, cfg: float, schedule: str, mask_strength: float,
        step_cache: str, cache_tolerance: float, shift: int, overlap: int,
    ) -> io.NodeOutput:  # fmt: skip
        settings = settings_of(cfg, schedule, mask_strength, step_cache, cache_tolerance, shift, overlap)
        return io.NodeOutput(host.avatar_guider(model, positive, negative, settings))


class AvatarSampler(io.ComfyNode):
    """MODEL, positive, negative, LATENT, widgets -> LATENT."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVAvatarSampler",
            display_name="Avatar Sampler",
            category=AVATAR_CATEGORY,
            description="Makes the talking video, from noise, of any length: windows of 5 s move around it "
            "from step to step.",
            search_aliases=["ksampler", "talking head", "audio driven animation"],
            inputs=[
                MODEL,
                POSITIVE,
                NEGATIVE,
                io.Latent.Input("latent", tooltip="From Avatar Conditioning."),
                seed_input("gives the same"),
                io.Int.Input(
                    "steps",
                    default=STEPS,
                    min=1,
                    max=1000,
                    tooltip="Steps from noise to video. 50 as published; 25 take half the time and lose some "
                    "detail.",
                ),
                *GUIDANCE,
                *RING,
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The video, for the nodes that decode.")
            ],
        )

    @classmethod
    def execute(
        cls, model: Any, positive: Any, negative: Any, latent: dict[str, Any], seed: int, steps: int,
        cfg: float, schedule: str, mask_strength: float, step_cache: str, cache_tolerance: float, shift: int,
        overlap: int,
    ) -> io.NodeOutput:  # fmt: skip
        settings = settings_of(cfg, schedule, mask_strength, step_cache, cache_tolerance, shift, overlap)
        guider = host.avatar_guider(model, positive, negative, settings)
        return io.NodeOutput({**latent, "samples": host.avatar_sample(guider, latent, steps, seed)})
