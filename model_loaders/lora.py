"""LoRA files for the Foley transformer: low-rank additions to its layers, in the two forms ComfyUI reads too.

    diffusion_model.<layer>.lora_A.weight, .lora_B.weight[, .alpha]
    lora_unet_<layer, with _ for .>.lora_down.weight, .lora_up.weight[, .alpha]

Source: LoRA, arXiv:2106.09685. Axes: r rank, i inputs, o outputs, k taps of a convolution.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..hunyuan.layers.packed import packed_layers, weight_shapes
from .checkpoint import Checkpoint, open_checkpoint

PLAIN, PLAIN_PARTS = "diffusion_model.", ("lora_A.weight", "lora_B.weight")
FLAT, FLAT_PARTS = "lora_unet_", ("lora_down.weight", "lora_up.weight")
ALPHA = "alpha"


@dataclass(frozen=True, kw_only=True)
class LowRank:
    """What a LoRA adds to one layer: `up` after `down`, times `scale`.

    down: (r, i) of a linear layer, (r, i, k) of a convolution. up: (o, r) or (o, r, 1).
    """

    down: Tensor
    up: Tensor
    scale: float

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight it is for."""
        return self.up.shape[0], *self.down.shape[1:]

    def delta(self) -> Tensor:
        """The addition to the weight, float32."""
        product = self.up.float().flatten(1) @ self.down.float().flatten(1)
        return (self.scale * product).reshape(self.shape)


def read_lora(path: Path | str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, LowRank]:
    """What the file adds to the weights with these names and shapes, by weight name.

    Raises: FileNotFoundError, PermissionError; ValueError naming the file and the tensor that fits nothing.
    """
    file = open_checkpoint(path)
    flattened = {flat(name): name for name in shapes if name.endswith(".weight")}
    found = {}
    for key in file:
        if not key.endswith((PLAIN_PARTS[0], FLAT_PARTS[0])):
            continue
        weight = weight_name(key, flattened)
        if weight not in shapes:
            raise ValueError(f"{file.path.name} does not fit: the model has no layer for {key}.")
        found[weight] = low_rank(file, key, shapes[weight])
    refuse_others(file, found)
    return found


def add_lora(network: nn.Module, path: Path | str, strength: float = 1.0) -> None:
    """Add the file's LoRA to the network's weights, in place; to packed ones whenever they are unpacked.

    Raises: as `read_lora`.
    """
    weights, packed = network.state_dict(), packed_layers(network)
    for name, addition in read_lora(path, weight_shapes(network)).items():
        if layer := packed.get(name.removesuffix(".weight")):
            layer.add(addition.up.flatten(1), addition.down.flatten(1), strength * addition.scale)
        else:
            weights[name].copy_(added(weights[name], addition, strength))


def added(weight: Tensor, addition: LowRank, strength: float = 1.0) -> Tensor:
    """The weight with an addition; the sum is float32 and keeps the weight's dtype."""
    return (weight.float() + strength * addition.delta().to(weight.device)).to(weight.dtype)


def flat(weight: str) -> str:
    """The name under which the second form knows a weight."""
    return FLAT + weight.removesuffix(".weight").replace(".", "_")


def weight_name(key: str, flattened: Mapping[str, str]) -> str:
    """The weight that a LoRA's tensor is for; a name that no weight has if it is for none."""
    if key.startswith(PLAIN):
        return key.removeprefix(PLAIN).rpartition(".lora_")[0] + ".weight"
    return flattened.get(key.partition(".")[0], "")


def parts_of(key: str) -> tuple[str, str, str]:
    """The three names that belong to the key of a down part: down, up, alpha."""
    down, up = PLAIN_PARTS if key.endswith(PLAIN_PARTS[0]) else FLAT_PARTS
    layer = key.removesuffix(down)
    return key, layer + up, layer + ALPHA


def low_rank(file: Checkpoint, key: str, shape: tuple[int, ...]) -> LowRank:
    down_name, up_name, alpha_name = parts_of(key)
    if up_name not in file:
        raise ValueError(f"{file.path.name} is incomplete: it has {down_name} and no {up_name}.")
    down, up = file[down_name], file[up_name]
    rank = down.shape[0] if down.ndim else 0
    fits = up.ndim == down.ndim == len(shape) and up.shape[1] == rank > 0
    if not fits or (up.shape[0], *down.shape[1:]) != shape:
        raise ValueError(
            f"{file.path.name} does not fit: {down_name} {tuple(down.shape)} and {up_name} {tuple(up.shape)}"
            f" are for no weight of shape {shape}."
        )
    alpha = float(file[alpha_name]) if alpha_name in file else rank
    return LowRank(down=down, up=up, scale=alpha / rank)


def refuse_others(file: Checkpoint, found: Collection[str]) -> None:
    """Raises ValueError for a file with tensors in another form: ignoring them would weaken the LoRA."""
    downs = [key for key in file if key.endswith((PLAIN_PARTS[0], FLAT_PARTS[0]))]
    known = {part for key in downs for part in parts_of(key)}
    other = next((key for key in file if key not in known), None)
    if other is not None or not found:
        what = f"its tensor {other} is none" if other else "it holds none"
        raise ValueError(
            f"{file.path.name} is not a LoRA for the Foley transformer: {what} of the forms"
            f" {PLAIN}<layer>.lora_A/B and {FLAT}<layer>.lora_down/up."
        )


def lora_tensors(additions: Mapping[str, LowRank]) -> dict[str, Tensor]:
    """The tensors of a LoRA file in the first form, from additions by weight name."""
    tensors = {}
    for name, addition in additions.items():
        layer = PLAIN + name.removesuffix(".weight")
        tensors[f"{layer}.lora_A.weight"] = addition.down.contiguous()
        tensors[f"{layer}.lora_B.weight"] = addition.up.contiguous()
        tensors[f"{layer}.{ALPHA}"] = torch.tensor(addition.scale * addition.down.shape[0])
    return tensors
