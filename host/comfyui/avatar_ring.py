"""Avatar's ring under core's samplers: the model is asked window by window, and answers as for the whole."""

from collections.abc import Callable
from typing import Any

import torch
from comfy import model_management
from comfy.context_windows import ContextHandlerABC
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...hunyuan.avatar.ring import Window
from ...hunyuan.avatar.timing import WINDOW_LATENTS
from ...hunyuan.avatar.velocity import HALVES
from ..avatar_conditioning import check_ring
from .avatar_conds import AVATAR_KEY, AvatarCond
from .avatar_run import RUN_KEY, AvatarRun, run_in

KEY = "hunyuan_av_ring"

Entries = list[dict[str, Any]]  # a conditioning as core's samplers carry it


def use_ring(patcher: ModelPatcher) -> None:
    """Every sampler that is given this MODEL goes around the ring."""
    patcher.model_options["context_handler"] = AvatarRing()
    patcher.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, with_run)
    patcher.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, KEY, for_one_window)


def with_run(executor: Any, noise: Tensor, latent_image: Tensor, sampler: Any, sigmas: Tensor, *rest: Any,
             **options: Any) -> Any:  # fmt: skip
    """Core's `outer_sample`, during which there is a run; whatever ends it, the run is gone."""
    guider = executor.class_obj
    check_ring({"samples": noise}, guider.model_patcher.get_model_object("latent_format").latent_channels)
    ring_latents = noise.shape[2]
    keep_on = None if ring_latents == WINDOW_LATENTS else model_management.unet_offload_device()
    told = guider.model_options["transformer_options"]
    told[RUN_KEY] = AvatarRun(getattr(guider, "settings", None), sigmas.tolist(), ring_latents, keep_on)
    try:
        return executor(noise, latent_image, sampler, sigmas, *rest, **options)
    finally:
        del told[RUN_KEY]


def for_one_window(executor: Any, model: Any, noise_shape: Any, *others: Any, **options: Any) -> Any:
    """Core makes room in memory for one window, not for the whole video."""
    shape = [*noise_shape[:2], min(noise_shape[2], WINDOW_LATENTS), *noise_shape[3:]]
    return executor(model, shape, *others, **options)


class AvatarRing(ContextHandlerABC):
    """Core asks it, in place of the model, for the estimate of the data."""

    def should_use_context(
        self, model: Any, conds: list[Entries], x_in: Tensor, timestep: Tensor, model_options: Any
    ) -> bool:
        return run_in(model_options["transformer_options"]) is not None

    def get_resized_cond(
        self, cond_in: Entries | None, x_in: Tensor, window: Window, device: torch.device | None = None
    ) -> Entries | None:
        """What a window hears; what it is shown is the same in all of them."""
        if cond_in is None:
            return None
        resized = []
        for entry in cond_in:
            avatar: AvatarCond = entry["model_conds"][AVATAR_KEY]
            here = {AVATAR_KEY: avatar.at(window.latents, window.heard)}
            resized.append({**entry, "model_conds": {**entry["model_conds"], **here}})
        return resized

    def execute(
        self,
        calc_cond_batch: Callable[..., list[Tensor]],
        model: Any,
        conds: list[Entries],
        x_in: Tensor,
        timestep: Tensor,
        model_options: Any,
    ) -> list[Tensor]:
        """The answers for each conditioning, (b, c, ring, h, w).

        Averaging estimates of the data is averaging velocities.
        """
        run: AvatarRun = model_options["transformer_options"][RUN_KEY]
        run.go_to(float(timestep[0]), in_pair=len(conds) == len(HALVES))
        answers, visits = [torch.zeros_like(x_in) for _ in conds], torch.zeros_like(x_in[0, 0, :, 0, 0])
        for window in run.windows():
            throw_exception_if_processing_interrupted()
            run.window, places = window, window.latents.to(x_in.device)
            entries = [self.get_resized_cond(cond, x_in, window) for cond in conds]
            parts = calc_cond_batch(model, entries, x_in[:, :, places], timestep, model_options)
            visits.index_add_(0, places, torch.ones_like(visits[places]))
            for answer, part in zip(answers, parts, strict=True):
                answer.index_add_(2, places, part.to(answer))
        run.end_step()
        return [answer / visits[:, None, None] for answer in answers]
