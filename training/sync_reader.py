"""How the transformer reads sync features: learned first, and by itself.

Between the sync features and the audio tokens lies `sync_in`, which sees one token at a time. Learned
together with all else it is silenced before it is understood, as its features are at first but in the way.
So it learns beforehand, and then stays as it is: from what it gives, the outline of the sound can be read
off, both around the time that a token shows and around the time at which it will be heard, which passes half
as fast. Which part of its segment a token shows must be told beside it: without that, nobody can say when the
things that it shows take place.

    python -m hunyuan_av.training.transformer ...    runs this first

Axes: n tokens, d channels, t frames (50 a second).
"""

import math
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..hunyuan.foley.config import FoleyConfig
from ..hunyuan.foley.timing import TOKENS_PER_SEGMENT
from ..hunyuan.layers.mlp import ConvMLP
from . import outline
from .clock import LATENTS_PER_SEGMENT, phases, shown_from
from .features import Features
from .initial import initialise
from .loop import Batch, Plan, Training

PLAN = Plan(steps=800, learning_rate=3e-3, warmup=20, decay=1.0, mixed=False)
CLIPS = 12  # in a batch, with all their tokens
SHOWN, HEARD = range(-2, 7), range(-2, 8)  # frames around a token's time, and around its place, that are read
PART_WAVES = TOKENS_PER_SEGMENT - 1  # of a segment, that tell its tokens apart: the first directions kept


class SyncReader(nn.Module):
    """`sync_in` over features of mean 0 and deviation 1, and the heads that are thrown away."""

    def __init__(self, config: FoleyConfig) -> None:
        super().__init__()
        size, free = config.hidden_size, config.hidden_size - config.latent_channels
        self.places = nn.Parameter(torch.empty(TOKENS_PER_SEGMENT, config.sync_size))
        self.embed = nn.Sequential(
            nn.Linear(config.sync_size, size), nn.SiLU(), ConvMLP(size, config.sync_mlp_size, 1)
        )
        self.keep = nn.Linear(size, free, bias=False).requires_grad_(False)  # directions that are looked at
        self.shown = nn.Linear(free, len(SHOWN) * outline.CHANNELS)
        self.heard = nn.Linear(free, len(HEARD) * outline.CHANNELS)

    def forward(self, sync: Tensor) -> Tensor:
        """sync: (b, n, d), from the first token of a segment on. Returns (b, n, free directions)."""
        places = self.places.repeat(sync.shape[1] // TOKENS_PER_SEGMENT, 1)
        return self.keep(self.embed(sync + places))


def new_reader(config: FoleyConfig, free: Tensor, seed: int) -> SyncReader:
    """free: (hidden, free directions), orthonormal."""
    reader = initialise(SyncReader(config), seed, zero=())
    reader.keep.weight.data.copy_(free.T)
    return reader


def objective(reader: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
    """batch: "sync" (b, n, d), of mean 0 and deviation 1; "shown", "heard" (b, n, frames * 9)."""
    assert isinstance(reader, SyncReader)
    states = reader(batch["sync"])
    told, asked = states[..., :PART_WAVES], part_waves(states.shape[1]).to(states)
    part = F.mse_loss(told, asked.expand_as(told))
    shown = F.mse_loss(reader.shown(states), batch["shown"])
    heard = F.mse_loss(reader.heard(states), batch["heard"])
    return {"loss": shown + heard + part, "shown": shown, "heard": heard, "part": part}


def part_waves(tokens: int) -> Tensor:
    """(tokens, 7), each of mean square 1: which part of its segment a token shows."""
    token = torch.arange(tokens)
    turns = range(1, TOKENS_PER_SEGMENT // 2)  # in a segment
    angles = phases(token, [2 * math.pi * n / TOKENS_PER_SEGMENT for n in turns])
    fastest = (-1.0) ** token[:, None]
    return torch.cat([2**0.5 * angles.cos(), 2**0.5 * angles.sin(), fastest], 1)


def draw_tokens(features: Features, centre: Tensor, deviation: Tensor, generator: torch.Generator) -> Batch:
    """Whole clips: their sync features and the outlines of their own sounds around each token."""
    clips = torch.randint(len(features), (CLIPS,), generator=generator).tolist()
    rows = [features.whole(clip) for clip in clips]
    sync = torch.stack([row["sync"] for row in rows])
    outlines = torch.stack([row["latents"][-outline.CHANNELS :].T for row in rows])
    sync = (sync - centre.to(sync)) / deviation.to(sync)
    return {"sync": sync, **around_tokens(outlines, sync.shape[1])}


def around_tokens(outlines: Tensor, tokens: int) -> Batch:
    """outlines: (b, t, 9), of a whole clip. Returns "shown" and "heard", (b, tokens, frames * 9); 0 outside.

    Tokens are spread evenly over all frames, which at 8 s lets them drift to 0.3 s behind a pace of 2 each.
    """
    reach = LATENTS_PER_SEGMENT + max(len(SHOWN), len(HEARD))
    padded = F.pad(outlines, (0, 0, reach, reach + LATENTS_PER_SEGMENT))
    token = torch.arange(tokens)
    own = shown_from(token)
    heard = token * outlines.shape[1] // tokens
    return {
        name: rearrange(
            torch.stack([padded[:, reach + first + i] for i in frames], 2), "b n frames c -> b n (frames c)"
        )
        for name, first, frames in (("shown", own, SHOWN), ("heard", heard, HEARD))
    }


def training(folder: Path, features: Features, config: FoleyConfig, free: Tensor, plan: Plan) -> Training:
    sync = features.some_sync()
    draw = partial(draw_tokens, features, sync.mean(0), sync.std())
    return Training(new_reader(config, free, plan.seed), objective, draw, plan, folder)
