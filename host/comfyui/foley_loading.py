"""Foley's transformer from a file as ComfyUI's MODEL, with plain weights or with packed ones."""

from pathlib import Path

import torch
from comfy import model_management, utils
from comfy.model_patcher import CoreModelPatcher, ModelPatcher

from ...model_loaders.foley import load_transformer
from ...model_loaders.foley_packed import is_packed
from .foley_model import FoleyModelConfig
from .unheard import warn_of_unheard_patches


def foley_model(path: Path, weight_dtype: torch.dtype | None, disable_dynamic: bool = False) -> ModelPatcher:
    """A Foley transformer as MODEL.

    weight_dtype: how the weights are stored; int8 has a scale for each row. None is what ComfyUI finds best
        on this device, and packed as it is for a file with packed weights.
    disable_dynamic: asked for by core where a node needs weights in one place.
    Raises: what the loaders raise; ValueError for packed weights where comfy-kitchen is missing.
    """
    if weight_dtype == torch.int8 or (weight_dtype is None and is_packed(path)):
        patcher = _packed(path, None if weight_dtype is None else "int8")
    else:
        patcher = _plain(path, weight_dtype, disable_dynamic)
    patcher.cached_patcher_init = (foley_model, (path, weight_dtype))
    warn_of_unheard_patches(patcher)
    return patcher


def _plain(path: Path, weight_dtype: torch.dtype | None, disable_dynamic: bool) -> ModelPatcher:
    stored = load_transformer(path, weight_dtype)
    weights = stored.state_dict()
    config = FoleyModelConfig(stored.config)
    config.settle_dtype(utils.calculate_parameters(weights), utils.weight_dtype(weights), weight_dtype)

    model = config.get_model(weights)
    load_device, offload_device = model_management.get_torch_device(), model_management.unet_offload_device()
    make_patcher = ModelPatcher if disable_dynamic else CoreModelPatcher
    patcher = make_patcher(model, load_device=load_device, offload_device=offload_device)
    if not model_management.is_device_cpu(offload_device):
        model.to(offload_device)
    model.load_model_weights(weights, "", assign=patcher.is_dynamic())
    return patcher


def _packed(path: Path, packing: str | None) -> ModelPatcher:
    try:
        from .packed_loading import packed_model
    except ImportError as error:
        raise ValueError(
            f"{path.name}: packed weights need comfy-kitchen, which ComfyUI itself asks for. Install"
            " ComfyUI's requirements.txt, or choose bf16 as weight_dtype."
        ) from error
    return packed_model(path, packing)
