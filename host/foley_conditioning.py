"""What CONDITIONING carries for Foley, the same in both hosts.

An entry is [text states (1, n, d), dictionary]. The dictionaries of both the positive and the negative entry
hold the clip: `foley_visual` (1, frames, d), `foley_sync` (1, tokens, d), and `foley_drop`, the modalities
that learned empties replace there. Sound from text alone has none of them.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..hunyuan.foley.conditions import SYNC, VISUAL
from ..hunyuan.foley.config import FoleyConfig
from ..hunyuan.foley.timing import (
    LATENT_RATE,
    SEGMENT_FRAMES,
    SEGMENT_STEP,
    SYNC_RATE,
    TOKENS_PER_SEGMENT,
    FoleyTiming,
    check_length,
)
from ..hunyuan.foley.velocity import FoleyPrompt

VISUAL_KEY, SYNC_KEY, DROP_KEY = "foley_visual", "foley_sync", "foley_drop"
WINDOW_KEY = "foley_window"  # the clip is a window of a film: as long as the latents, whatever was seen of it
NOTHING_SEEN = frozenset({VISUAL, SYNC})

Entry = Sequence[Any]  # [Tensor, dict]; core hands lists, others tuples
Conditioning = Sequence[Entry]


def with_clip(
    conditioning: Conditioning, visual: Tensor, sync: Tensor, drop: Collection[str]
) -> list[list[Any]]:
    """A copy of the conditioning whose entries carry the clip."""
    clip = {VISUAL_KEY: visual, SYNC_KEY: sync, DROP_KEY: frozenset(drop)}
    return [[states, {**values, **clip}] for states, values in conditioning]


def foley_prompt(
    positive: Conditioning, negative: Conditioning, latent_frames: int, config: FoleyConfig
) -> FoleyPrompt:
    """What a transformer of this configuration is to follow while it makes `latent_frames` of sound.

    Raises: ValueError if an input has no entry or several, or the clip and the latents differ in length.
    """
    states, values = _only_entry("positive", positive)
    negative_states, _ = _only_entry("negative", negative)
    visual, sync, drop = clip_of(values, latent_frames, config)
    return FoleyPrompt(positive=states, negative=negative_states, visual=visual, sync=sync, drop=drop)


def clip_of(
    values: Mapping[str, Any], latent_frames: int, config: FoleyConfig
) -> tuple[Tensor, Tensor, frozenset[str]]:
    """Visual and sync features of an entry, and what is dropped of them; blank ones, dropped, if it has none.

    Raises: ValueError if the clip and the latents differ in length.
    """
    if VISUAL_KEY in values:
        if not values.get(WINDOW_KEY):
            check_fit(latent_frames, values[SYNC_KEY].shape[1])
        return values[VISUAL_KEY], values[SYNC_KEY], values[DROP_KEY]
    timing = FoleyTiming(latent_frames / LATENT_RATE)
    visual = torch.zeros(1, timing.visual_frames, config.visual_size)
    return visual, torch.zeros(1, timing.sync_tokens, config.sync_size), NOTHING_SEEN


def check_fit(latent_frames: int, sync_tokens: int) -> None:
    """Raises ValueError unless a clip seen as `sync_tokens` can be as long as `latent_frames`.

    Up to 7 frames at a clip's end reach no segment; a clip shorter than a segment is held to fill one.
    """
    segments = sync_tokens // TOKENS_PER_SEGMENT
    fewest = SEGMENT_FRAMES + SEGMENT_STEP * (segments - 1) if segments > 1 else 1
    most = SEGMENT_FRAMES + SEGMENT_STEP * segments - 1
    shortest, longest = (FoleyTiming.from_sync_frames(frames).latent_frames for frames in (fewest, most))
    if not shortest <= latent_frames <= longest:
        raise ValueError(
            f"The latents are {latent_frames / LATENT_RATE:.2f} s long, the video features are of a clip of "
            f"{fewest / SYNC_RATE:.2f} to {most / SYNC_RATE:.2f} s. Use the latent of Foley Conditioning."
        )


def check_heard_at_once(latent_frames: int) -> None:
    """Raises ValueError for latents that the model cannot make without windows."""
    check_length(latent_frames / LATENT_RATE, "its start and its length, or give the model Sliding Windows")


def _only_entry(name: str, conditioning: Conditioning) -> Entry:
    if len(conditioning) != 1:
        raise ValueError(
            f"The {name} conditioning has {len(conditioning)} entries, and Foley follows one. "
            "Connect a Foley Prompt without combining it."
        )
    return conditioning[0]


def check_latents(shape: tuple[int, ...], channels: int) -> None:
    """Raises ValueError unless this is the shape of latents of sound with so many channels."""
    if len(shape) != 3 or shape[1] != channels:
        raise ValueError(
            f"The latents are {shape}, the Foley model needs (takes, {channels}, frames). "
            "Connect a latent of Foley Conditioning or Foley Empty Latent."
        )


def check_mask(mask: Tensor | None, latent_frames: int) -> None:
    """Raises ValueError unless a noise mask, if there is one, is over latent frames."""
    if mask is not None and (mask.ndim != 3 or mask.shape[1:] != (1, latent_frames)):
        raise ValueError(
            f"The noise mask is {tuple(mask.shape)}, these latents need (1, 1, {latent_frames}). "
            "Make it with Foley Time Mask; masks of pictures do not fit sound."
        )
