"""The Avatar transformer as ComfyUI's own MODEL.

Core samples it like a model of its own: flow matching over latents (b, 16, ring, h, w), network time 1000
sigma. What does not depend on the step is prepared once per run and conditioning entry and travels in the
conditions; windows are the ring's (avatar_ring.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from comfy import latent_formats, model_base, model_management, supported_models_base, utils
from comfy.cli_args import PerformanceFeature, args
from comfy.model_base import BaseModel, ModelType
from comfy.model_patcher import CoreModelPatcher, ModelPatcher
from comfy.patcher_extension import WrapperExecutor, WrappersMP, get_all_wrappers
from torch import Tensor

from ...hunyuan.avatar.checks import check_masks
from ...hunyuan.avatar.conditions import AvatarConditions, Features
from ...hunyuan.avatar.config import AvatarConfig
from ...hunyuan.avatar.settings import FLOW_SHIFT
from ...hunyuan.avatar.transformer import AvatarTransformer
from ...hunyuan.avatar.velocity import pad_speech, silenced
from ...hunyuan.layers.float8 import FLOAT8
from ...hunyuan.sampling.schedule import TIME_SCALE
from ...model_loaders.avatar import load_transformer
from ...model_loaders.avatar_float8 import is_float8
from ...model_loaders.checkpoint import open_checkpoint
from ..avatar_conditioning import SILENT_KEY, prompt_of, scene_of
from ..planned_memory import avatar_factor, avatar_share
from .avatar_blocks import run_block
from .avatar_conds import AVATAR_KEY, AvatarCond, conds_at
from .avatar_ring import use_ring
from .avatar_run import AvatarRun, run_in


class HostedAvatar(AvatarTransformer):
    """The transformer with the call and the attributes that ComfyUI expects of a diffusion model."""

    def __init__(self, config: AvatarConfig, *, dtype: torch.dtype, device: Any, operations: Any) -> None:
        super().__init__(config, dtype=dtype, device=device, operations=operations)
        self.dtype = dtype

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Any = None,
        control: Any = None,
        transformer_options: Mapping[str, Any] | None = None,
        **given: Any,
    ) -> Tensor:
        """given: the conditions of all rows, under `avatar`. context, control: core's, not used."""
        options = transformer_options if transformer_options is not None else {}
        wrappers = get_all_wrappers(WrappersMP.DIFFUSION_MODEL, options)
        around = WrapperExecutor.new_class_executor(self._velocity, self, wrappers)
        return around.execute(x, timesteps, context, control, options, **given)

    def _velocity(
        self, x: Tensor, t: Tensor, context: Any, control: Any, options: Mapping[str, Any], **given: Any
    ) -> Tensor:
        """What other nodes wrap."""
        conditions: AvatarConditions = given[AVATAR_KEY]
        run = run_in(options)
        if run is None:
            return super().forward(x, t, conditions)
        conditions = conditions.with_voice_strength(run.voice_strength)
        halves = options["cond_or_uncond"]
        if run.cached:
            return self._from_kept(t, conditions, options, halves)
        features = self._speak(x, t, conditions, options, halves)
        velocity = self.predict(features, t, conditions, partial(run_block, options))
        if run.keeps:
            self._measure(t, conditions, velocity, options, halves)
            for half, tokens in zip(halves, features.tokens.chunk(len(halves)), strict=True):
                run.keep(half, replace(features, tokens=tokens))
        return velocity

    def _speak(
        self, x: Tensor, t: Tensor, conditions: AvatarConditions, options: Mapping[str, Any], halves: Any
    ) -> Features:
        """All blocks but the last; the first ones once, where both halves have the same prompt."""
        run, call = _run(options), partial(run_block, options)
        if not run.shares_start:
            return self.features(x, t, conditions, call)
        rows = len(x) // len(halves)
        opening = run.opened()
        if opening is None:
            opening = self.open(x[:rows], t[:rows], conditions.part(0, rows), call)
            if len(halves) == 1:
                run.leave_open(opening)
        return self.speak(opening.repeat(len(halves)), t, conditions, call)

    def _from_kept(
        self, t: Tensor, conditions: AvatarConditions, options: Mapping[str, Any], halves: Any
    ) -> Tensor:
        """A cached step: the last block alone, half by half, since their prompts may differ in length."""
        run, rows = _run(options), len(t) // len(halves)
        return torch.cat(
            [
                self.predict(
                    run.kept(half, t), t[:rows], conditions.part(i, rows), partial(run_block, options)
                )
                for i, half in enumerate(halves)
            ]
        )

    def _measure(
        self, t: Tensor, conditions: AvatarConditions, exact: Tensor, options: Mapping[str, Any], halves: Any
    ) -> None:
        run = _run(options)
        if run.measures:
            predicted = self._from_kept(t, conditions, options, halves)
            for pair in zip(predicted.chunk(len(halves)), exact.chunk(len(halves)), strict=True):
                run.note_error(*pair)


def _run(options: Mapping[str, Any]) -> AvatarRun:
    run = run_in(options)
    if run is None:
        raise ValueError("Avatar's model was asked outside of a run. Sample it with a sampler.")
    return run


class AvatarModel(model_base.HunyuanVideo):
    """What core's samplers ask about the transformer.

    A HunyuanVideo, as far as core asks: LoRAs made for one attach to it under all names that core reads.
    """

    diffusion_model: HostedAvatar

    def __init__(self, model_config: "AvatarModelConfig", device: torch.device | None = None) -> None:
        BaseModel.__init__(self, model_config, ModelType.FLOW, device=device, unet_model=HostedAvatar)

    def memory_required(self, input_shape: Sequence[int], *others: Any, **options: Any) -> float:
        """Core's estimate grows with the picture alone."""
        share = avatar_share(input_shape[-2] * input_shape[-1])
        return share * super().memory_required(input_shape, *others, **options)

    def extra_conds(self, **values: Any) -> dict[str, AvatarCond]:
        """The conditions of one entry: asked for once per run, when the weights are in place.

        Raises: ValueError if the entry and the latents do not fit each other or this model.
        """
        noise, device, network = values["noise"], values["device"], self.diffusion_model
        prompt = prompt_of(values.get("cross_attn"), values)
        scene, characters = scene_of(values)
        check_masks(characters, scene)
        states = prompt.states.to(device, self.manual_cast_dtype or self.get_dtype())
        prompt = replace(prompt, states=states, mask=prompt.mask.to(device), pooled=prompt.pooled.to(device))
        conditions = network.prepare(prompt, scene)
        if values.get(SILENT_KEY):
            heard = [silenced(who) for who in characters]
        else:
            heard = [pad_speech(who, noise.shape[2]) for who in characters]
        return {AVATAR_KEY: AvatarCond(conditions, network.listen(heard, states))}

    def resize_cond_for_context_window(
        self,
        cond_key: str,
        cond_value: Any,
        window: Any,
        x_in: Tensor,
        device: Any,
        retain_index_list: Any = (),
    ) -> Any:
        """What a window hears that another node made."""
        return conds_at(cond_value, window.index_list) if cond_key == AVATAR_KEY else cond_value


class AvatarModelConfig(supported_models_base.BASE):
    """How core builds and runs the model."""

    unet_config: dict[str, Any] = {}  # noqa: RUF012 - core's attribute, a dictionary there
    unet_extra_config: dict[str, Any] = {}  # noqa: RUF012
    sampling_settings = {"shift": FLOW_SHIFT, "multiplier": TIME_SCALE}  # noqa: RUF012
    latent_format = latent_formats.HunyuanVideo
    supported_inference_dtypes = [torch.bfloat16, torch.float32]  # noqa: RUF012
    vae_key_prefix: list[str] = []  # noqa: RUF012
    text_encoder_key_prefix: list[str] = []  # noqa: RUF012

    def __init__(self, config: AvatarConfig) -> None:
        super().__init__({"config": config})
        self.memory_usage_factor = avatar_factor(config)

    def get_model(self, state_dict: Any, prefix: str = "", device: torch.device | None = None) -> AvatarModel:
        return AvatarModel(self, device=device)

    def inpaint_model(self) -> bool:
        return False

    def process_unet_state_dict_for_saving(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Under the published names, so that a saved model loads like a published one."""
        return state_dict


class RefusesStrangeLoras:
    """A LoRA of which nothing fits is an error; core would go on without it."""

    def add_patches(self, patches: Any, *strengths: float, **options: Any) -> Any:
        """Raises ValueError if there is nothing to add."""
        if not patches:
            raise ValueError(
                "Nothing in this LoRA fits Avatar's transformer: it was made for another model, or names its"
                " layers in a form that ComfyUI does not read for HunyuanVideo. ComfyUI's log names them."
            )
        return super().add_patches(patches, *strengths, **options)  # type: ignore[misc]


class AvatarPatcher(RefusesStrangeLoras, ModelPatcher):
    """The MODEL, weights in one place."""


class DynamicAvatarPatcher(RefusesStrangeLoras, CoreModelPatcher):
    """The MODEL, weights where ComfyUI has them."""


def of_one_dtype(stored: AvatarTransformer) -> dict[str, Tensor]:
    """The weights in the dtype that most of them have: published files hold some in float32."""
    weights = stored.state_dict()
    dtype = utils.weight_dtype(weights)
    return {name: tensor.to(dtype) for name, tensor in weights.items()}


def with_scales(stored: AvatarTransformer) -> dict[str, Tensor]:
    """The weights of 8-bit layers with their scales, as core's layers read them.

    As released, what they are multiplied with stays wide, unless ComfyUI was started with --fast, or with
    --fast fp8_matrix_mult: that is its word for 8-bit products.
    """
    narrow = PerformanceFeature.Fp8MatrixMultiplication in args.fast
    marker = torch.zeros(1 if narrow else 2, dtype=FLOAT8)  # two numbers stand for wide products
    weights, _ = utils.convert_old_quants({**stored.state_dict(), "scaled_fp8": marker})
    return weights


def avatar_model(
    path: Path, scales: Path | None, weight_dtype: torch.dtype | None, disable_dynamic: bool = False
) -> ModelPatcher:
    """An Avatar transformer as MODEL.

    scales: the map of a published 8-bit file, where it does not lie beside it.
    weight_dtype: how the weights are stored; None for what ComfyUI finds best on this device.
    disable_dynamic: asked for by core where a node needs weights in one place.
    """
    eight_bits = weight_dtype == FLOAT8 or (weight_dtype is None and is_float8(open_checkpoint(path)))
    stored = load_transformer(path, FLOAT8 if eight_bits else weight_dtype, scales=scales)
    weights = with_scales(stored) if eight_bits else of_one_dtype(stored)
    load_device, offload_device = model_management.get_torch_device(), model_management.unet_offload_device()

    config = AvatarModelConfig(stored.config)
    config.quant_config = utils.detect_layer_quantization(weights, "") if eight_bits else None
    supported = config.supported_inference_dtypes
    dtype = (
        weight_dtype
        if weight_dtype and not eight_bits
        else model_management.unet_dtype(
            model_params=utils.calculate_parameters(weights),
            supported_dtypes=supported,
            weight_dtype=None if eight_bits else utils.weight_dtype(weights),
        )
    )
    config.unet_config["dtype"] = dtype
    config.manual_cast_dtype = model_management.unet_manual_cast(dtype, load_device, supported)

    model = config.get_model(weights)
    patcher = (AvatarPatcher if disable_dynamic else DynamicAvatarPatcher)(
        model, load_device=load_device, offload_device=offload_device
    )
    if not model_management.is_device_cpu(offload_device):
        model.to(offload_device)
    model.load_model_weights(weights, "", assign=patcher.is_dynamic())
    patcher.cached_patcher_init = (avatar_model, (path, scales, weight_dtype))
    use_ring(patcher)
    return patcher
