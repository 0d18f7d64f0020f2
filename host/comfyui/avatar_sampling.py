"""Avatar's changing guidance as core's GUIDER, and its sampler on core's machinery."""

from collections.abc import Mapping
from typing import Any

import latent_preview
import torch
from comfy import model_management, utils
from comfy.samplers import CFGGuider, sampler_object, sampling_function
from torch import Tensor

from ...hunyuan.avatar.settings import AvatarSettings
from ...hunyuan.sampling.denoise import draw_noise
from ...hunyuan.sampling.schedule import flow_sigmas
from ..avatar_conditioning import Conditioning, check_ring, only_entry, silenced
from .avatar_model import AvatarModel
from .avatar_run import RUN_KEY, AvatarRun


class AvatarGuider(CFGGuider):
    """GUIDER: a model, what it follows, and how.

    In early steps the negative prompt leads away, later the positive prompt in silence.
    Raises: ValueError for another model, or a conditioning with no entry or several.
    """

    def __init__(
        self, model: Any, positive: Conditioning, negative: Conditioning, settings: AvatarSettings
    ) -> None:
        if not isinstance(model.model, AvatarModel):
            raise ValueError("This MODEL is not Avatar's. Connect one from the Avatar Model Loader.")
        super().__init__(model)
        self.settings = settings
        only_entry("positive", positive)
        only_entry("negative", negative)
        self.inner_set_conds({"positive": positive, "negative": negative, "silent": silenced(positive)})
        self.set_cfg(settings.cfg)

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: Any = None, seed: int | None = None
    ) -> Tensor:
        """The guided estimate of the data; x, answer: (b, c, ring, h, w)."""
        run: AvatarRun = model_options["transformer_options"][RUN_KEY]
        run.go_to(float(timestep[0]))
        away = self.conds["negative" if run.plan.negative else "silent"]
        # At a guidance of exactly 1 core would leave one half out, and later steps may start from it.
        both = {**model_options, "disable_cfg1_optimization": True}
        return sampling_function(
            self.inner_model, x, timestep, away, self.conds["positive"], run.plan.guidance,
            model_options=both, seed=seed,
        )  # fmt: skip


avatar_guider = AvatarGuider


def avatar_sample(guider: AvatarGuider, latent: Mapping[str, Any], steps: int, seed: int) -> Tensor:
    """The video at the end of the steps, from the noise that `seed` gives.

    latent: LATENT, empty. A shift that the MODEL was given (ModelSamplingSD3) is that of the noise levels.
    Returns (b, c, ring latents, h, w) at the VAE's scale, float32, where ComfyUI keeps what nodes hand on.
    """
    model = guider.model_patcher
    check_ring(latent, model.get_model_object("latent_format").latent_channels)
    flow = model.get_model_object("model_sampling")
    samples = guider.sample(
        draw_noise(tuple(latent["samples"].shape), seed),
        latent["samples"],
        sampler_object("euler"),
        flow.sigma(flow.timestep(flow_sigmas(steps))),
        callback=latent_preview.prepare_callback(model, steps),
        disable_pbar=not utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )
    return samples.to(model_management.intermediate_device(), torch.float32)
