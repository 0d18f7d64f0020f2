"""Long sounds under core's samplers: the model is asked window by window, and answers as if for the whole."""

from collections.abc import Callable
from typing import Any

import torch
from comfy.context_windows import ContextHandlerABC
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...hunyuan.long_form.sliding import SlidingWindows, feature_slices
from ...hunyuan.sampling.windows import Window
from ..foley_conditioning import VISUAL_KEY
from .foley_model import FoleyModel

KEY = "hunyuan_av_windows"

Entries = list[dict[str, Any]]  # a conditioning as core's samplers carry it


def sliding_windows(model: ModelPatcher, settings: SlidingWindows) -> ModelPatcher:
    """The MODEL, which now makes what is longer than a window in windows.

    Raises: ValueError if it is not Foley's.
    """
    if not isinstance(model.model, FoleyModel):
        raise ValueError("This MODEL is not Foley's. Connect one from the Foley Model Loader.")
    windowed = model.clone()
    handler = FoleyWindows(settings)
    windowed.model_options["context_handler"] = handler
    windowed.remove_wrappers_with_key(WrappersMP.PREPARE_SAMPLING, KEY)
    windowed.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, KEY, handler.prepare)
    return windowed


class FoleyWindows(ContextHandlerABC):
    """Core asks it, in place of the model, for the estimate of the data."""

    def __init__(self, settings: SlidingWindows) -> None:
        super().__init__()
        self.settings = settings

    def should_use_context(
        self, model: Any, conds: list[Entries], x_in: Tensor, timestep: Tensor, model_options: Any
    ) -> bool:
        return len(self.settings.plan(x_in.shape[-1])) > 1

    def get_resized_cond(
        self, cond_in: Entries | None, x_in: Tensor, window: Window, device: torch.device | None = None
    ) -> Entries | None:
        """A window's part of what guides it: the clip at its own clocks, the prompt and all else whole."""
        if cond_in is None:
            return None
        visual, sync = feature_slices(window)
        places = {"visual": visual, "sync": sync}
        resized = []
        for entry in cond_in:
            conditions = {
                key: _cut(value, next((part for name, part in places.items() if key.endswith(name)), None))
                for key, value in entry["model_conds"].items()
            }
            resized.append({**entry, "model_conds": conditions})
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
        """The answers for each conditioning, (b, c, n). Averaging estimates is averaging velocities."""
        if any(VISUAL_KEY in entry for entries in conds for entry in entries or ()):
            self.settings.check_follows_a_video()
        windows = self.settings.plan(x_in.shape[-1])
        answers = [torch.zeros_like(x_in) for _ in conds]
        for window, weights in zip(windows, self.settings.blend(windows).weights, strict=True):
            throw_exception_if_processing_interrupted()
            here = (..., slice(window.start, window.stop))
            entries = [self.get_resized_cond(cond, x_in, window) for cond in conds]
            parts = calc_cond_batch(model, entries, x_in[here], timestep, model_options)
            for answer, part in zip(answers, parts, strict=True):
                answer[here] += part * weights.to(part)
        return answers

    def prepare(self, executor: Any, model: Any, noise_shape: Any, *others: Any, **options: Any) -> Any:
        """Core makes room in memory for one window, not for the whole sound."""
        longest = max(window.length for window in self.settings.plan(noise_shape[-1]))
        return executor(model, [*noise_shape[:-1], longest], *others, **options)


def _cut(condition: Any, part: slice | None) -> Any:
    tensor = getattr(condition, "cond", None)
    if part is None or not isinstance(tensor, Tensor):
        return condition
    return condition._copy_with(tensor[:, part])
