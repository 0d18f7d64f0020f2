"""How LoRAs, hooks and merges reach weights that stay packed: where a layer unpacks them, each time.

Core adds a patch to a weight once and rounds the sum to what the weight is stored in. Four bits would round
most of a LoRA away, so it joins the unpacked weight, as it does in core where a weight is not on the device.
"""

import weakref
from typing import Any

import torch
from comfy import lora
from comfy.hooks import HookGroup
from comfy.model_patcher import LowVramPatch, ModelPatcher
from torch import Tensor

from .packed_layers import Unpacking, dense, is_quantized

NETWORK = "diffusion_model."


class PackedPatcher(ModelPatcher):
    """Core's patcher, over a `FoleyModel` with packed weights."""

    @property
    def packed(self) -> dict[str, Unpacking]:
        """The layers with packed weights, by their weights' keys."""
        return self.model.packed_layers

    def load(self, *arguments: Any, **options: Any) -> None:
        super().load(*arguments, **options)
        self._join_patches()

    def partially_unload(self, *arguments: Any, **options: Any) -> int:
        freed = super().partially_unload(*arguments, **options)
        self._join_patches()
        return freed

    def patch_hooks(self, hooks: HookGroup | None) -> None:
        super().patch_hooks(hooks)
        self._join_patches()

    def unpatch_model(self, device_to: torch.device | None = None, unpatch_weights: bool = True) -> None:
        super().unpatch_model(device_to, unpatch_weights)
        if unpatch_weights:
            for layer in self.packed.values():
                layer.weight_function = _without_patches(layer)

    def patch_weight_to_device(
        self,
        key: str,
        device_to: torch.device | None = None,
        inplace_update: bool = False,
        return_weight: bool = False,
        **more: Any,
    ) -> Tensor:
        """A packed weight as it is; as numbers with its patches, if it is to be returned."""
        layer = self.packed.get(key)
        if layer is None:
            return super().patch_weight_to_device(key, device_to, inplace_update, return_weight, **more)
        if not return_weight:
            return layer.weight
        weight = dense(layer.weight.to(device_to or layer.weight.device, torch.float32))
        if key in self.patches:
            weight = Joining(key, self.patches, layer)(weight)
        return weight.to(layer.weight.dtype)

    def patch_hook_weight_to_device(self, *, key: str, **given: Any) -> None:
        if key not in self.packed:
            super().patch_hook_weight_to_device(key=key, **given)

    def model_state_dict(self, filter_prefix: str | None = None) -> dict[str, Tensor]:
        """With packed weights as numbers with their patches, made when asked for: LoRAs are extracted so."""
        return Numbers(super().model_state_dict(filter_prefix), self)

    def state_dict_for_saving(self, *others: Any, **more: Any) -> dict[str, Tensor]:
        """Numbers, with what was merged into them, so that the file loads like a published one."""
        state = super().state_dict_for_saving(*others, **more)
        for key in self.packed:
            weight = self.patch_weight_to_device(key, self.load_device, return_weight=True)
            state[key.removeprefix(NETWORK)] = weight.to("cpu")
        return state

    def _join_patches(self) -> None:
        """Give each packed layer its patches and its hooks', once, wherever its weight is now."""
        hooked = self.get_combined_hook_patches(self.current_hooks)
        for key, layer in self.packed.items():
            joining = [Joining(key, given, layer) for given in (self.patches, hooked) if key in given]
            layer.weight_function = [*joining, *_without_patches(layer)]


class Numbers(dict[str, Tensor]):
    """A model's tensors, of which the packed ones are worked out one by one, each when it is asked for."""

    def __init__(self, state: dict[str, Tensor], patcher: PackedPatcher) -> None:
        super().__init__(state)
        self.patcher = patcher

    def __getitem__(self, key: str) -> Tensor:
        value = super().__getitem__(key)
        if not is_quantized(value):
            return value
        return dense(self.patcher.patch_weight_to_device(key, self.patcher.load_device, return_weight=True))


class Joining(LowVramPatch):
    """Adds to an unpacked weight what nodes want added to it."""

    def __init__(self, key: str, patches: dict[str, list[Any]], layer: Unpacking) -> None:
        super().__init__(key, patches)
        self.layer = weakref.ref(layer)  # which holds this

    def __call__(self, weight: Tensor) -> Tensor:
        unpatched = {self.key: [(self.layer().weight, dense)]}  # read by patches that hold a whole model
        return lora.calculate_weight(
            self.patches[self.key], weight, self.key, weight.dtype, original_weights=unpatched
        )


def _without_patches(layer: Unpacking) -> list[Any]:
    """What other nodes do to its weight; patches that core has put there go, too."""
    return [function for function in layer.weight_function if not isinstance(function, LowVramPatch)]
