"""How much memory a network needs beside its weights, counted on the meta device: nothing is computed."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ...hunyuan.foley.config import FoleyConfig
from ...hunyuan.foley.timing import FoleyTiming
from ...hunyuan.foley.transformer import FoleyTransformer
from ...hunyuan.layers.packed import use_packed
from ...hunyuan.layers.packing import Packing

TEXT_TOKENS = 77  # the most that a prompt has
TIME = 500.0  # any: no size depends on it


class Peak(TorchDispatchMode):
    """Follows the storages that operations make, and how much of them lives at once."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self._now = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = {
            tensor.untyped_storage()._cdata for tensor in tree_leaves((args, kwargs)) if is_tensor(tensor)
        }
        out = func(*args, **(kwargs or {}))
        self._forget()
        for tensor in filter(is_tensor, tree_leaves(out)):
            storage = tensor.untyped_storage()
            if storage._cdata not in given and storage._cdata not in self._alive:
                self._alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
                self._now += storage.nbytes()
        self.bytes = max(self.bytes, self._now)
        return out

    def _forget(self) -> None:
        gone = [key for key, (storage, _) in self._alive.items() if storage.expired()]
        for key in gone:
            self._now -= self._alive.pop(key)[1]


def is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def peak_bytes(run: Callable[[], object]) -> int:
    """The most bytes that tensors made by `run` take at once, its result included."""
    with torch.inference_mode(), Peak() as peak:
        result = run()
    del result
    return peak.bytes


def of_module(module: nn.Module, *inputs: Tensor) -> int:
    """The peak of a module's forward pass for inputs on the meta device; the module itself stays as it is."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    absent = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    return peak_bytes(lambda: functional_call(module, absent, inputs))


def of_foley(
    config: FoleyConfig, packings: Mapping[str, Packing], dtype: torch.dtype, rows: int, seconds: float
) -> int:
    """The peak of one pass of the transformer: what it computes, its conditions, unpacked layers.

    rows: samples times branches of guidance. packings: of the layers that are packed.
    """
    timing = FoleyTiming(seconds)
    # Blocks of a kind are alike: two joint ones, the last of which ends a stream, and an audio one will do.
    few = replace(config, joint_depth=min(config.joint_depth, 2), audio_depth=1)
    network = FoleyTransformer(few, dtype=dtype, device="meta", attention=unwritten)
    use_packed(
        network, {name: form for name, form in packings.items() if name in dict(network.named_modules())}
    )
    more_keys = config.joint_depth - few.joint_depth  # blocks, each with keys and values of the prompt
    keys = rows * more_keys * 2 * TEXT_TOKENS * config.hidden_size * dtype.itemsize

    def empty(*shape: int) -> Tensor:
        return torch.empty(rows, *shape, dtype=dtype, device="meta")

    def run() -> Tensor:
        conditions = network.prepare(
            empty(TEXT_TOKENS, config.text_size),
            empty(timing.visual_frames, config.visual_size),
            empty(timing.sync_tokens, config.sync_size),
        )
        t = torch.full((rows,), TIME, device="meta")
        return network(empty(config.latent_channels, timing.latent_frames), t, conditions)

    return peak_bytes(run) + keys


def unwritten(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention as accelerators run it, without a matrix of all pairs."""
    return torch.empty_like(q)
