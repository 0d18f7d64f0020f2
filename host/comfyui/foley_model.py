"""The Foley transformer as ComfyUI's own MODEL.

Core samples it like a model of its own: flow matching over latents (b, 128, n), network time 1000 sigma. What
does not depend on the step is prepared once per run and conditioning entry and travels in the conditions.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from comfy import conds, latent_formats, model_management, supported_models_base
from comfy.model_base import BaseModel, ModelType
from comfy.patcher_extension import WrapperExecutor, WrappersMP, get_all_wrappers
from torch import Tensor

from ...hunyuan.foley.audio_vae_config import AudioVAEConfig
from ...hunyuan.foley.conditions import FoleyConditions
from ...hunyuan.foley.config import FoleyConfig
from ...hunyuan.foley.positions import Positions
from ...hunyuan.foley.timing import (
    LATENT_RATE,
    SEGMENT_STEP,
    SYNC_RATE,
    TOKENS_PER_SEGMENT,
    VISUAL_RATE,
    FoleyTiming,
)
from ...hunyuan.foley.transformer import FoleyTransformer
from ...hunyuan.sampling.schedule import TIME_SCALE
from ...model_loaders.dtypes import FLOAT8
from ...model_loaders.foley_packed import wide_tensors
from ..foley_conditioning import check_heard_at_once, check_latents, clip_of
from ..planned_memory import foley_factor
from .blocks import run_block

PREPARED = {"foley_text_kv": "text_kv", "foley_visual": "visual", "foley_sync": "sync"}
RAW = {"foley_raw_text": "text", "foley_raw_visual": "visual", "foley_raw_sync": "sync", "foley_drop": "drop"}


class HostedTransformer(FoleyTransformer):
    """The transformer with the call and the attributes that ComfyUI expects of a diffusion model."""

    def __init__(self, config: FoleyConfig, *, dtype: torch.dtype, device: Any, operations: Any) -> None:
        super().__init__(config, dtype=dtype, device=device, operations=operations)
        self.dtype = dtype
        self._placed: tuple[object, Any] = None, None
        if dtype in FLOAT8:
            self._widen()

    def _widen(self) -> None:
        """What is not stored in 8 bits gets 16, which core's layers cast as they do all weights."""
        parameters = dict(self.named_parameters())  # with dynamic memory, a layer's come later, as they are
        for name in wide_tensors(self) & parameters.keys():
            parameters[name].data = parameters[name].data.to(torch.bfloat16)

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor | None = None,
        control: Any = None,
        transformer_options: Mapping[str, Any] | None = None,
        **given: Any,
    ) -> Tensor:
        """given: the conditions, prepared, or what they are prepared from."""
        options = transformer_options if transformer_options is not None else {}
        wrappers = get_all_wrappers(WrappersMP.DIFFUSION_MODEL, options)
        if wrappers:
            x = x.clone()  # a cache of steps writes into it, and core still needs what it holds
        around = WrapperExecutor.new_class_executor(self._velocity, self, wrappers)
        return around.execute(x, timesteps, context, control, options, **given)

    def _velocity(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Any,
        control: Any,
        options: Mapping[str, Any],
        **given: Any,
    ) -> Tensor:
        """What other nodes wrap. context, control: core's, not used.

        Raises: ValueError for more than the model can make at once, as only the windows show that come here.
        """
        check_heard_at_once(x.shape[-1])
        if "foley_text_kv" in given:
            conditions = FoleyConditions(**{name: given[key] for key, name in PREPARED.items()})
        else:
            conditions = self.prepare(**{name: given[key] for key, name in RAW.items()})
        run = partial(run_block, options, self.config.audio_depth // 2)
        return super().forward(x, timesteps, conditions, run=run)

    def _positions(self, conditions: FoleyConditions, audio_tokens: int) -> Positions:
        """The last call's, where lengths are the same: core hands over conditions, but no positions."""
        if torch.compiler.is_compiling():  # what is kept between calls would be compiled into them
            return super()._positions(conditions, audio_tokens)
        # What is made in inference mode cannot be used in training.
        visual, mode = conditions.visual, torch.is_inference_mode_enabled()
        lengths = audio_tokens, visual.shape[1], conditions.sync_tokens, visual.device, mode
        kept_for, positions = self._placed
        if kept_for != lengths:
            positions = super()._positions(conditions, audio_tokens)
            self._placed = lengths, positions
        return positions


class FoleyModel(BaseModel):
    """What core's samplers ask about the transformer."""

    diffusion_model: HostedTransformer

    def __init__(self, model_config: "FoleyModelConfig", device: torch.device | None = None) -> None:
        super().__init__(model_config, ModelType.FLOW, device=device, unet_model=HostedTransformer)
        self.unpacking_bytes = model_config.unpacking_bytes
        self.packed_layers: dict[str, Any] = {}  # by their weights' keys, whatever wraps them later

    def extra_conds(self, **values: Any) -> dict[str, conds.CONDRegular]:
        """The conditions of one entry: asked for once per run, when the weights are in place.

        An entry with hooks is prepared step by step instead, under the weights that its hooks make.
        Raises: ValueError if the entry and the latents do not fit each other or this model.
        """
        noise, device, text = values["noise"], values["device"], values.get("cross_attn")
        network = self.diffusion_model
        check_latents(tuple(noise.shape), network.config.latent_channels)
        if text is None:
            raise ValueError("A conditioning holds no text. Connect a Foley Prompt.")
        visual, sync, drop = clip_of(values, noise.shape[-1], network.config)
        text = text.to(device, self.manual_cast_dtype or self.get_dtype())
        visual, sync = visual.to(device), sync.to(device)

        if values.get("hooks") is not None:
            raw = {"text": text, "visual": visual, "sync": sync}
            features = {key: conds.CONDRegular(raw[name]) for key, name in RAW.items() if name in raw}
            return {**features, "foley_drop": conds.CONDConstant(tuple(sorted(drop)))}
        prepared = network.prepare(text, visual, sync, drop)
        return {key: conds.CONDRegular(getattr(prepared, name)) for key, name in PREPARED.items()}

    def memory_required(self, *shapes: Any, **more: Any) -> float:
        """Bytes beside the weights, for latents of these shapes."""
        return super().memory_required(*shapes, **more) + self.unpacking_bytes

    def resize_cond_for_context_window(
        self,
        cond_key: str,
        cond_value: Any,
        window: Any,
        x_in: Tensor,
        device: Any,
        retain_index_list: Any = (),
    ) -> Any:
        """A window's part of a condition: the clip's, at its own clocks; the prompt and all else as it is."""
        if not cond_key.startswith("foley_") or not isinstance(cond_value.cond, Tensor):
            return cond_value
        frames, features = window.index_list, cond_value.cond
        if cond_key.endswith("visual"):
            features = features[:, visual_places(frames, features.shape[1])]
        elif cond_key.endswith("sync"):
            features = features[:, sync_places(frames, features.shape[1])]
        return cond_value._copy_with(features.to(device))


def visual_places(frames: list[int], available: int) -> list[int]:
    """Which visual tokens belong to these latent frames."""
    wanted = FoleyTiming(len(frames) / LATENT_RATE).visual_frames
    return _places(frames, LATENT_RATE / VISUAL_RATE, wanted, available)


def sync_places(frames: list[int], available: int) -> list[int]:
    """Which sync tokens belong to these latent frames: whole segments, each begins at a step of its own."""
    size = TOKENS_PER_SEGMENT
    wanted = FoleyTiming(len(frames) / LATENT_RATE).sync_tokens // size
    segments = _places(frames, SEGMENT_STEP * LATENT_RATE / SYNC_RATE, wanted, available // size)
    return [segment * size + token for segment in segments for token in range(size)]


def _places(frames: list[int], stride: float, wanted: int, available: int) -> list[int]:
    """Frames may run past the end and go on at the beginning, as looped windows do."""
    heard = (frames[min(int(place * stride), len(frames) - 1)] for place in range(min(wanted, available)))
    return [min(round(frame / stride), available - 1) for frame in heard]


class FoleyLatents(latent_formats.LatentFormat):
    """128 channels, 50 frames a second, used at the scale the autoencoder gives."""

    latent_channels = AudioVAEConfig().latent_dim
    latent_dimensions = 1
    temporal_downscale_ratio = AudioVAEConfig().hop


class FoleyModelConfig(supported_models_base.BASE):
    """How core builds and runs the model."""

    unet_config: dict[str, Any] = {}  # noqa: RUF012 - core's attribute, a dictionary there
    unet_extra_config: dict[str, Any] = {}  # noqa: RUF012
    sampling_settings = {"shift": 1.0, "multiplier": TIME_SCALE}  # noqa: RUF012
    latent_format = FoleyLatents
    supported_inference_dtypes = [torch.bfloat16, torch.float16, torch.float32]  # noqa: RUF012
    vae_key_prefix: list[str] = []  # noqa: RUF012
    text_encoder_key_prefix: list[str] = []  # noqa: RUF012

    def __init__(self, config: FoleyConfig, unpacking_bytes: int = 0) -> None:
        """unpacking_bytes: what unpacking a layer takes, where layers are packed."""
        super().__init__({"config": config})
        self.memory_usage_factor = foley_factor(config)
        self.unpacking_bytes = unpacking_bytes

    def get_model(self, state_dict: Any, prefix: str = "", device: torch.device | None = None) -> FoleyModel:
        return FoleyModel(self, device=device)

    def settle_dtype(self, parameters: int, stored: torch.dtype, asked: torch.dtype | None) -> torch.dtype:
        """Decide what weights are kept in, and computed in: what was asked for, or what core finds best.

        parameters: how many there are. stored: what the file has them in.
        """
        supported = self.supported_inference_dtypes
        dtype = asked or model_management.unet_dtype(
            model_params=parameters, supported_dtypes=supported, weight_dtype=stored
        )
        self.unet_config["dtype"] = dtype
        device = model_management.get_torch_device()
        self.manual_cast_dtype = model_management.unet_manual_cast(dtype, device, supported)
        return dtype

    def inpaint_model(self) -> bool:
        return False

    def process_unet_state_dict_for_saving(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Under the published names, so that a saved model loads like a published one."""
        return state_dict
