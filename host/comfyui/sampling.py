"""Sampling by core's machinery: a guider with a scale for each modality, and our solvers as SAMPLER."""

from collections.abc import Mapping
from typing import Any

import latent_preview
import torch
from comfy import model_management, utils
from comfy.sample import fix_empty_latent_channels
from comfy.samplers import KSAMPLER, CFGGuider, calc_cond_batch, cfg_function, sampling_function
from torch import Tensor

from ...hunyuan.foley.velocity import HIDDEN, distinct_branches
from ...hunyuan.sampling.denoise import SMALLEST_SIGMA, denoise, draw_noise
from ...hunyuan.sampling.guidance import ALWAYS, GuidanceScales, combine, guidance_interval, needed_branches
from ...hunyuan.sampling.solvers import SOLVERS, Solver
from ..foley_conditioning import (
    DROP_KEY,
    SYNC_KEY,
    VISUAL_KEY,
    Conditioning,
    check_latents,
    check_mask,
)

ALL = 3  # the branch that sees everything and hears the prompt
FLOAT64 = {"cpu", "cuda"}  # devices that all compute in it


class FoleyGuider(CFGGuider):
    """GUIDER: a model, what it follows, and how strongly.

    Where the scales need two branches of the guidance chain or fewer, they are core's positive and negative,
    and all that nodes do to guidance does to this one what it does to any.
    """

    def __init__(
        self,
        model: Any,
        positive: Conditioning,
        negative: Conditioning,
        scales: GuidanceScales,
        span: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        """span: share of the sampling in which guidance acts, as core counts it; see `guidance_interval`."""
        super().__init__(model)
        flow = model.get_model_object("model_sampling")
        self.interval = guidance_interval(*span, level_at=lambda share: float(flow.percent_to_sigma(share)))
        clip = {key: positive[0][1][key] for key in (VISUAL_KEY, SYNC_KEY) if key in positive[0][1]}
        drop = positive[0][1].get(DROP_KEY, frozenset()) if clip else HIDDEN[0]

        self.links = scales.chain
        self.branches = distinct_branches(needed_branches(self.links), drop)
        last = self.branches[-1]
        # Where one branch is enough the first is there too, as core has it: a node may need it.
        followed = {**dict.fromkeys(self.branches), **({} if len(self.branches) > 1 else {0: None})}
        names = {branch: f"branch_{branch}" for branch in followed}
        names |= {min(followed): "negative", last: "positive"}
        self.names = [names[branch] for branch in self.branches]
        self.inner_set_conds(
            {
                name: positive if branch == ALL else _seen(negative, clip, drop | HIDDEN[branch])
                for branch, name in names.items()
            }
        )
        self.set_cfg(self.links[last - 1] if len(self.branches) > 1 else 1.0)

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: Any = None, seed: int | None = None
    ) -> Tensor:
        """The guided estimate of the data; x, answer: (b, c, n)."""
        model_options = model_options or {}
        if self.interval != ALWAYS and not self._guides(float(timestep.max())):
            # At a scale of 1 core leaves the negative out.
            return sampling_function(
                self.inner_model, x, timestep, self.conds["negative"], self.conds["positive"], 1.0,
                model_options=model_options, seed=seed,
            )  # fmt: skip
        if len(self.branches) <= 2:
            return super().predict_noise(x, timestep, model_options, seed)
        # Positive first, then negative: nodes tell them apart by their places (NAG).
        order = [-1, *range(len(self.names) - 1)]
        entries = [self.conds[self.names[i]] for i in order]
        last, *data = calc_cond_batch(self.inner_model, entries, x, timestep, model_options)
        guided = combine(self.branches, [*data, last], self.links)
        # Core's way to put a formula in the place of its own: it is then asked for the noise.
        formula = {**model_options, "sampler_cfg_function": lambda _: x - guided}
        return cfg_function(
            self.inner_model, last, data[0], self.cfg, x, timestep,
            model_options=formula, cond=entries[0], uncond=entries[1],
        )  # fmt: skip

    def _guides(self, sigma: float) -> bool:
        low, high = self.interval
        return low <= sigma <= high


def _seen(conditioning: Conditioning, clip: Mapping[str, Tensor], drop: frozenset[str]) -> list[list[Any]]:
    shown = {**clip, DROP_KEY: drop} if clip else {}
    return [[states, {**values, **shown}] for states, values in conditioning]


def follow_flow(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Mapping[str, Any] | None = None,
    callback: Any = None,
    disable: bool | None = None,
    *,
    solver: Solver,
) -> Tensor:
    """A sampler function of core's kind: the state (b, c, n) after the last noise level.

    model: (x, sigma of each row) -> the estimate of the data.

    Core answers with data, state - sigma velocity. Near the end that leaves little of a velocity in float32:
    at sigma 0.001 a rounding of the last digit comes back 1000 times as large. So core is asked with a state
    in float64; the network's own dtype is not concerned.
    """
    seen = {}
    precise = torch.float64 if x.device.type in FLOAT64 else x.dtype

    def velocity(state: Tensor, sigma: float) -> Tensor:
        level = state.new_full(state.shape[:1], max(sigma, SMALLEST_SIGMA))
        asked = state.to(precise)
        seen["denoised"] = model(asked, level, **(extra_args or {}))
        return ((asked - seen["denoised"]) / level[:, None, None]).to(x.dtype)

    state = x
    for i, state in enumerate(denoise(velocity, x, sigmas, solver)):
        if callback:
            callback({"i": i, "x": state, "sigma": sigmas[i], "sigma_hat": sigmas[i], **seen})
    return state


def sample(guider: FoleyGuider, latent: Mapping[str, Any], sigmas: Tensor, solver: str, seed: int) -> Tensor:
    """The sound at the end of the noise levels, from the noise that `seed` gives.

    latent: LATENT. `samples` is where it starts from below sigma 1, and what stays where `noise_mask` is 0.
    sigmas: evenly spaced; a shift that the MODEL was given (ModelSamplingSD3) is applied to them.
    Returns (b, c, n), float32, where ComfyUI keeps what goes from node to node.
    """
    model, mask = guider.model_patcher, latent.get("noise_mask")
    kept = fix_empty_latent_channels(model, latent["samples"])
    check_latents(tuple(kept.shape), model.get_model_object("latent_format").latent_channels)
    check_mask(mask, kept.shape[-1])

    flow = model.get_model_object("model_sampling")
    sampler = KSAMPLER(follow_flow, extra_options={"solver": SOLVERS[solver]})
    samples = guider.sample(
        _noise(tuple(kept.shape), seed, latent.get("batch_index")),
        kept,
        sampler,
        flow.sigma(flow.timestep(sigmas)),
        denoise_mask=mask,
        callback=latent_preview.prepare_callback(model, len(sigmas) - 1),
        disable_pbar=not utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    ).to(model_management.intermediate_device(), torch.float32)
    return samples if mask is None else torch.where(mask.to(samples) == 0, kept.to(samples), samples)


def _noise(shape: tuple[int, ...], seed: int, takes: list[int] | None) -> Tensor:
    """takes: which rows of the seed's noise a part of a batch stands for, where it is a part."""
    if takes is None:
        return draw_noise(shape, seed)
    return draw_noise((max(takes) + 1, *shape[1:]), seed)[list(takes)]
