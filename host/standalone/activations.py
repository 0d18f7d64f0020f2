"""How much memory a network needs beside its weights, counted on the meta device: nothing is computed."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ...hunyuan.avatar.timing import WINDOW_LATENTS
from ...hunyuan.avatar.video_vae import VideoVAE
from ...hunyuan.avatar.video_vae_config import SPACE_RATIO, VideoVAEConfig
from ...hunyuan.foley.config import FoleyConfig
from ...hunyuan.foley.timing import FoleyTiming
from ...hunyuan.foley.transformer import FoleyTransformer
from ...hunyuan.layers.packed import use_packed
from ...hunyuan.layers.packing import Packing

TEXT_TOKENS = 77  # the most that a prompt has
TIME = 500.0  # any: no size depends on it


class LiveBytes:
    """How much of the storages that operations make lives at once.

    peak: the most that did.
    """

    def __init__(self) -> None:
        self.peak = self._now = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def note(self, made: Iterable[Tensor], given: Iterable[Tensor]) -> None:
        """What an operation made of what it was given: tensors that share a storage with that are not new."""
        known = {tensor.untyped_storage()._cdata for tensor in given}
        for key in [key for key, (storage, _) in self._alive.items() if storage.expired()]:
            self._now -= self._alive.pop(key)[1]
        for tensor in made:
            storage = tensor.untyped_storage()
            if storage._cdata not in known and storage._cdata not in self._alive:
                self._alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
                self._now += storage.nbytes()
        self.peak = max(self.peak, self._now)


class Peak(TorchDispatchMode):
    """Follows what is dispatched while it lasts."""

    def __init__(self) -> None:
        super().__init__()
        self.live = LiveBytes()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self.live.note(tensors_in(out), tensors_in((args, kwargs)))
        return out


def tensors_in(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def peak_bytes(run: Callable[[], object]) -> int:
    """The most bytes that tensors made by `run` take at once, its result included."""
    with torch.inference_mode(), Peak() as peak:
        result = run()
    del result
    return peak.live.peak


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


def of_video(config: VideoVAEConfig, dtype: torch.dtype, height: int, width: int) -> int:
    """The peak of decoding a video tile by tile, with the frames that wait to be blended and written.

    height, width: of the video, in pixels. A longer one than a window's takes no more.
    """
    vae = VideoVAE(config, dtype=dtype, device="meta", attention=unwritten)
    shape = 1, config.latent_channels, WINDOW_LATENTS, height // SPACE_RATIO, width // SPACE_RATIO
    latents = torch.empty(shape, device="meta")
    return peak_bytes(lambda: deque(vae.decode_frames(latents), maxlen=0))


def unwritten(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention as accelerators run it, without a matrix of all pairs."""
    return torch.empty_like(q)
