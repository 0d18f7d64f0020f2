"""How Avatar fits into a given amount of memory: arithmetic over bytes, as `memory_plan` does it for Foley.

The networks come one after another, so each may take all of it: LLaVA with CLIP-L beside it, the transformer,
the video decoder. Of the first two, blocks that have no room wait in host memory. Whisper and the face
detector are smaller than anything here and are not counted.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ...hunyuan.avatar.config import AvatarConfig
from ...hunyuan.avatar.llava import Llava
from ...hunyuan.avatar.transformer import AvatarTransformer
from ...hunyuan.avatar.velocity import HALVES, LARGEST_BATCH
from ...hunyuan.avatar.video_vae import VideoVAE
from ...hunyuan.avatar.video_vae_config import SPACE_RATIO, VideoVAEConfig
from ..planned_memory import avatar_bytes
from .activations import of_video
from .memory_plan import CONTEXT, GB, MORE, BlockSizes, Needs, best_within, in_gb, too_little, would_need
from .streaming import BlockStream, byte_size

TEXT_ACTIVATIONS = 1 * GB  # bytes; assumed for a prompt with its portrait
NARROW = torch.float16  # what the decoder may compute in instead
SMALLER = "Give more, or make a smaller video with --size."


@dataclass(frozen=True, kw_only=True)
class AvatarForm:
    """Avatar's networks as they are to be used, told by their sizes.

    name:          of the transformer's form, as people are told.
    weights:       of the transformer. dtype: it computes in.
    llava:         weights, by layers of the language model. clip: bytes.
    vae:           weights in bytes, in its dtype.
    height, width: of the video, in pixels.
    float8_products: whether what enters 8-bit layers is rounded, too.
    """

    name: str
    config: AvatarConfig
    weights: BlockSizes
    dtype: torch.dtype
    llava: BlockSizes
    clip: int
    vae_config: VideoVAEConfig
    vae: int
    vae_dtype: torch.dtype
    height: int
    width: int
    float8_products: bool = False

    @classmethod
    def of(
        cls, transformer: AvatarTransformer, llava: Llava, vae: VideoVAE, clip: int, **told: Any
    ) -> "AvatarForm":
        """From the networks, which may lie on the meta device; told: what they do not tell."""
        return cls(
            config=transformer.config, weights=BlockSizes.of(transformer, blocks_of(transformer)),
            llava=BlockSizes.of(llava, layers_of(llava)), clip=clip,
            vae_config=vae.config, vae=byte_size(vae), vae_dtype=next(vae.parameters()).dtype, **told,
        )  # fmt: skip

    @property
    def latent_pixels(self) -> int:
        return self.height * self.width // SPACE_RATIO**2

    @property
    def shares_a_batch(self) -> bool:
        """Whether the size lets both halves of guidance run at once."""
        return self.latent_pixels <= LARGEST_BATCH

    def step_bytes(self, halves: int) -> int:
        """What a guided step needs beside the weights, so many halves at once, as ComfyUI is told it."""
        return avatar_bytes(
            self.config, self.latent_pixels, halves, self.dtype.itemsize, float8_products=self.float8_products
        )

    def decoding(self, dtype: torch.dtype) -> Needs:
        """What the decoder takes, in this dtype or in another one."""
        weights = self.vae * dtype.itemsize // self.vae_dtype.itemsize
        return Needs(weights, of_video(self.vae_config, dtype, self.height, self.width))


@dataclass(frozen=True, kw_only=True)
class Stage:
    """How one of the networks is used.

    peak:     bytes on the device at once, at most, by arithmetic.
    streamed: numbers of the blocks that wait in host memory.
    apart:    whether halves of guidance run one after the other though the size lets them run at once.
    """

    how: str
    peak: int
    streamed: tuple[int, ...] = ()
    apart: bool = False


@dataclass(frozen=True, kw_only=True)
class AvatarPlan:
    """How each network is used. better: what would have come before the transformer's, and did not fit."""

    llava: Stage
    transformer: Stage
    decoder: Stage
    better: Stage | None = None

    @property
    def peak(self) -> int:
        return max(stage.peak for stage in (self.llava, self.transformer, self.decoder))

    def __str__(self) -> str:
        made = (
            f"{self.transformer.how}: {in_gb(self.transformer.peak)} by arithmetic{would_need(self.better)}"
        )
        others = (f"{stage.how}: {in_gb(stage.peak)}" for stage in (self.llava, self.decoder))
        return "; ".join([made, *others])


def plan_avatar(budget: int, form: AvatarForm) -> AvatarPlan:
    """The best plan within `budget` bytes. Raises: ValueError naming the least that works for all."""
    reading, sampling = list(llava_stages(form)), list(transformer_stages(form))
    decoder, read, sampled = decoder_stage(form, form.vae_dtype), least(reading), least(sampling)
    worst = max(read, sampled, decoder, key=peak_of)
    if worst.peak > budget:
        raise too_little(budget, worst, advice(form, worst, read, sampled))

    llava, _ = best_within(budget, reading)
    transformer, better = best_within(budget, sampling)
    return AvatarPlan(llava=llava, transformer=transformer, decoder=decoder, better=better)


def transformer_stages(form: AvatarForm) -> Iterator[Stage]:
    """The ways to use the transformer, the best first."""
    name, apart = f"weights as {form.name}", form.step_bytes(1)
    whole = CONTEXT + form.weights.on_device(())
    if form.shares_a_batch:
        both = whole + form.step_bytes(len(HALVES))
        yield Stage(how=f"{name}, all blocks stay, halves of guidance at once", peak=both)
    in_turn = ", halves of guidance in turn" if form.shares_a_batch else ""
    yield Stage(how=f"{name}, all blocks stay{in_turn}", peak=whole + apart, apart=form.shares_a_batch)
    for streamed in form.weights.streamings():
        yield Stage(
            how=f"{name}, {form.weights.told(streamed)}",
            peak=CONTEXT + form.weights.on_device(streamed) + apart,
            streamed=streamed,
            apart=form.shares_a_batch,
        )


def llava_stages(form: AvatarForm) -> Iterator[Stage]:
    """The ways to use LLaVA, the best first."""
    beside = CONTEXT + Needs(form.clip, TEXT_ACTIVATIONS).total
    yield Stage(how="all of LLaVA", peak=beside + form.llava.on_device(()))
    for streamed in form.llava.streamings():
        yield Stage(
            how=f"LLaVA, {len(streamed)} of {len(form.llava.blocks)} layers streamed",
            peak=beside + form.llava.on_device(streamed),
            streamed=streamed,
        )


def decoder_stage(form: AvatarForm, dtype: torch.dtype) -> Stage:
    name = str(dtype).removeprefix("torch.")
    return Stage(how=f"the video decoded in {name}", peak=CONTEXT + form.decoding(dtype).total)


def advice(form: AvatarForm, worst: Stage, llava: Stage, transformer: Stage) -> str:
    """What to do where one of the three networks needs too much at its least."""
    if worst is transformer:
        return SMALLER
    if worst is llava or form.vae_dtype.itemsize <= NARROW.itemsize:
        return MORE
    enough = max(llava, transformer, decoder_stage(form, NARROW), key=peak_of).peak
    return f"Give more, or take --vae-dtype float16: with that, {in_gb(enough)} are enough."


def peak_of(stage: Stage) -> int:
    return stage.peak


def least(stages: Sequence[Stage]) -> Stage:
    return min(stages, key=peak_of)


def blocks_of(network: AvatarTransformer) -> list[nn.Module]:
    """The blocks in the order in which they run."""
    return [*network.double_blocks, *network.single_blocks]


def layers_of(network: Llava) -> list[nn.Module]:
    """The layers of the language model; the vision tower stays."""
    return list(network.language_model["model"].layers)  # type: ignore[reportArgumentType]


@contextmanager
def on_device(
    network: nn.Module, blocks: Sequence[nn.Module], stage: Stage | None, device: torch.device
) -> Iterator[None]:
    """The network on the device while the context lasts, but for what is streamed there; None is nothing."""
    if stage is None or not stage.streamed:
        network.to(device)
        yield
        return
    stream = BlockStream(network, [blocks[number] for number in stage.streamed], device)
    try:
        yield
    finally:
        stream.close()  # else its hooks would keep it alive, and with it the device's memory
