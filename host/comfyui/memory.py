"""Where networks compute is ComfyUI's decision: it is told of every network and asked before each use."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from comfy import model_management
from comfy.model_patcher import ModelPatcher
from torch import nn


class HasPatcher(Protocol):
    """A model object, ours or ComfyUI's."""

    @property
    def patcher(self) -> ModelPatcher: ...


class WholePatcher(ModelPatcher):
    """A network that computes on one device only, all of it: its layers are not ComfyUI's, which can wait on
    the CPU and come when they are called."""

    def load(self, device_to: Any = None, *args: Any, full_load: bool = False, **options: Any) -> None:
        super().load(device_to, full_load=True)

    def partially_unload(self, *args: Any, **options: Any) -> int:
        """Nothing: 0 bytes. ComfyUI then unloads the whole of it."""
        return 0


def patcher(module: nn.Module) -> WholePatcher:
    """ComfyUI's handle on a network of plain torch layers, such as an encoder."""
    return WholePatcher(
        module,
        load_device=model_management.text_encoder_device(),
        offload_device=model_management.text_encoder_offload_device(),
    )


@contextmanager
def resident(*held: HasPatcher, memory: int = 0) -> Iterator[torch.device]:
    """Networks where they compute while the context lasts; yields the device that their inputs go to.

    memory: bytes that they need beside their weights.
    """
    patchers = [thing.patcher for thing in held]
    model_management.load_models_gpu(patchers, memory_required=memory)
    yield patchers[0].load_device
