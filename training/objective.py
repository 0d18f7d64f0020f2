"""What the transformer learns: the velocity of flow matching, and what its early audio blocks represent.

Flow matching: arXiv:2210.02747, on the straight line from data (sigma 0) to noise (sigma 1), as the sampler
goes. Representation alignment (REPA): arXiv:2410.06940, to frame features of a self-supervised audio
encoder.

Any `FoleyTransformer` will do, and any batch of cached tensors:
    "latents" (b, c, n); "visual" (b, m, d); "sync" (b, 8 s, d); "text" (b, l, d);
    "drop_video" (b,) bool, rows that the learned empties stand in for picture and sync;
    "teacher" (b, n, d), where representations are aligned;
    "sigmas" (b,), "noise" (b, c, n), where they are not drawn for the loss itself.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..hunyuan.foley.transformer import FoleyTransformer
from ..hunyuan.sampling.denoise import noised
from ..hunyuan.sampling.schedule import TIME_SCALE
from .clock import Clock
from .heads import Place
from .hearing import Hearing
from .loop import Batch

DROP_BOTH = DROP_VIDEO = DROP_TEXT = 0.1  # shares of the rows that do without

UNIFORM = 0.5  # share of the noise levels that are drawn evenly
CROWDED_AT = 1.1  # logit around which the others crowd: 0.75, as what happens when is decided in noise
NOISY_FROM = 0.88  # where nothing but the picture tells what happens when: a sampler's first steps
SILENT_WEIGHT = 0.02  # of channels that hold nothing: their noise must go, but nobody hears it
SILENT_DEVIATION = 0.02
CLOCK_WEIGHT, HEARING_WEIGHT = 2.0, 0.3


@dataclass(frozen=True)
class Alignment:
    """Where and how strongly hidden states are aligned. block: counted among the audio blocks."""

    block: int = 1
    weight: float = 0.5


class AlignmentHead(nn.Module):
    """Hidden states to the teacher's features; not part of what is saved for use."""

    def __init__(self, hidden_size: int, teacher_size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(hidden_size, 2 * hidden_size),
            nn.SiLU(),
            nn.Linear(2 * hidden_size, teacher_size),
        )

    def forward(self, states: Tensor) -> Tensor:
        return self.layers(states)


def draw_sigmas(rows: int, generator: torch.Generator, noisy: float = 0.0) -> Tensor:
    """Noise levels in 0..1: `UNIFORM` of them even, the others logit-normal (arXiv:2403.03206).

    noisy: share that is drawn from `NOISY_FROM` on instead.
    """
    crowded = torch.sigmoid(CROWDED_AT + torch.randn(rows, generator=generator))
    even = torch.rand(rows, generator=generator)
    drawn = torch.where(torch.rand(rows, generator=generator) < UNIFORM, even, crowded)
    if not noisy:
        return drawn
    high = 1 - (1 - NOISY_FROM) * torch.rand(rows, generator=generator)
    return torch.where(torch.rand(rows, generator=generator) < noisy, high, drawn)


def draw_dropped(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(rows,) bool each: which do without their prompt, and which without their video."""
    fates = torch.rand(rows, generator=generator)
    both, video = fates < DROP_BOTH, fates < DROP_BOTH + DROP_VIDEO
    return both | (~video & (fates < DROP_BOTH + DROP_VIDEO + DROP_TEXT)), video


def draw_noise(latents: Tensor, generator: torch.Generator, noisy: float = 0.0) -> Batch:
    """ "sigmas" (b,), as of `draw_sigmas`, and "noise", of the latents' shape and where they lie."""
    sigmas = draw_sigmas(len(latents), generator, noisy).to(latents.device)
    if latents.is_cuda:  # so many numbers take a CPU longer than all else takes the card
        seed = int(torch.randint(2**62, (), generator=generator))
        generator = torch.Generator(latents.device).manual_seed(seed)
    noise = torch.randn(latents.shape, generator=generator, device=generator.device)
    return {"sigmas": sigmas, "noise": noise.to(latents.device)}


def flow_losses(
    transformer: FoleyTransformer,
    batch: Batch,
    generator: torch.Generator | None = None,
    *,
    head: AlignmentHead | None = None,
    alignment: Alignment | None = None,
    clock: Clock | None = None,
    hearing: Hearing | None = None,
    channel_weights: Tensor | None = None,
    level: float | None = None,
) -> dict[str, Tensor]:
    """ "loss" to follow, "velocity" and, with what learns them, "alignment", "clock" and "hearing".

    generator: of the noise levels and the noise; not needed where `draw_noise` has put them into the batch.
    channel_weights: (c,), of the latents' channels in the loss; by default all the same.
    level: root mean square of the latents. Given, each noise level counts by the part of the variance that is
        left unexplained, and not by the velocity's error, which is largest where only details are decided.
    """
    latents = batch["latents"].float()
    if generator is not None:
        batch = batch | draw_noise(latents, generator)
    sigmas, noise = batch["sigmas"], batch["noise"]
    states: dict[Place, Tensor] = {}  # of the audio, after each block

    def run(kind: str, number: int, block: nn.Module, *inputs: Any, **options: Any) -> Any:
        out = block(*inputs, **options)
        states[kind, number] = out[0] if kind == "joint" else out
        return out

    x = noised(latents, noise, sigmas[:, None, None])  # type: ignore[arg-type]
    made = transformer(x, sigmas * TIME_SCALE, conditions_of(transformer, batch), run=run).float()
    errors = (made - (noise - latents)).square().mean(2)  # (b, c)
    if channel_weights is None:
        channel_weights = torch.ones_like(errors[0])
    by_row = weighted_mean(errors, channel_weights)
    counted = by_row if level is None else by_row / least_error(sigmas, level)
    losses = {"loss": counted.mean(), "velocity": by_row.mean().detach()}
    if head is not None and alignment is not None:
        seen = head(states["audio", alignment.block]).float()
        losses["alignment"] = 1 - F.cosine_similarity(seen, batch["teacher"].float(), dim=-1).mean()
        losses["loss"] = losses["loss"] + alignment.weight * losses["alignment"]
    if clock is not None:
        losses["clock"] = clock.error(states, batch["sync"].shape[1])
        losses["loss"] = losses["loss"] + CLOCK_WEIGHT * losses["clock"]
    if hearing is not None:
        losses["hearing"] = hearing.error(states, latents)
        losses["loss"] = losses["loss"] + HEARING_WEIGHT * losses["hearing"]
    return losses


def least_error(sigmas: Tensor, level: float) -> Tensor:
    """The velocity's mean square error where nothing is known of the latents but their level."""
    return level**2 / ((1 - sigmas) ** 2 * level**2 + sigmas**2)


def conditions_of(transformer: FoleyTransformer, batch: Batch):
    """The batch's conditions, the learned empties in the rows that are not shown the video."""
    dropped = batch["drop_video"][:, None, None]
    visual = torch.where(dropped, transformer.empty_clip_feat, batch["visual"].float())
    sync = torch.where(dropped, transformer.empty_sync_feat, batch["sync"].float())
    return transformer.prepare(batch["text"].float(), visual, sync)


def weighted_mean(errors: Tensor, weights: Tensor) -> Tensor:
    """Over the last axis."""
    weights = weights.to(errors)
    return (errors * weights).sum(-1) / weights.sum()


def weights_of(deviations: Tensor) -> Tensor:
    """Weights of channels with these standard deviations: those that hold nothing hardly count."""
    return torch.where(deviations > SILENT_DEVIATION, 1.0, SILENT_WEIGHT)
