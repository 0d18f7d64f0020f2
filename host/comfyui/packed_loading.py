"""Foley's transformer from a file as ComfyUI's MODEL, with layers that stay packed."""

import math
from pathlib import Path

import torch
from comfy import model_management, utils

from ...hunyuan.foley.transformer import FoleyTransformer
from ...hunyuan.layers.packed import packed_layers, weight_shapes
from ...model_loaders.foley_packed import load_packed_transformer
from ..planned_memory import unpacking_bytes
from .foley_model import FoleyModelConfig
from .packed_layers import PackedOperations, state_of
from .packed_patcher import NETWORK, PackedPatcher


def packed_model(path: Path, packing: str | None) -> PackedPatcher:
    """The MODEL; its patcher is none of core's dynamic ones, which would round LoRAs with the weights.

    packing: what layers are packed in while they are read; None for a file in which they are.
    Raises:  as `load_packed_transformer`.
    """
    stored = load_packed_transformer(path, packing)
    layers = packed_layers(stored)
    config = FoleyModelConfig(stored.config, max(unpacking_bytes(layer.shape) for layer in layers.values()))
    config.custom_operations = PackedOperations
    state = state_of(stored, _settled_dtype(config, stored))

    model = config.get_model(state, device=torch.device("meta"))
    model.load_model_weights(state, "", assign=True)
    network = model.diffusion_model
    model.packed_layers = {f"{NETWORK}{name}.weight": network.get_submodule(name) for name in layers}
    model.device = offload_device = model_management.unet_offload_device()
    model.to(offload_device)
    return PackedPatcher(model, model_management.get_torch_device(), offload_device)


def _settled_dtype(config: FoleyModelConfig, stored: FoleyTransformer) -> torch.dtype:
    """Of all that is not packed, and that is computed in; see `FoleyModelConfig.settle_dtype`."""
    numbers = sum(map(math.prod, weight_shapes(stored).values()))
    wide = {name: value for name, value in stored.state_dict().items() if value.is_floating_point()}
    dtype = config.settle_dtype(numbers, utils.weight_dtype(wide), None)
    if dtype.itemsize > 1:
        return dtype
    return config.settle_dtype(numbers, dtype, torch.bfloat16)  # 8 bits are for what is packed
