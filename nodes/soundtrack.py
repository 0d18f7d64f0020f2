"""A node that puts generated sound under another: the voice of a video, or all the sound that it had."""

from typing import Any

import numpy as np
import torch

from .. import host
from ..hunyuan.foley.timing import SAMPLE_RATE
from ..hunyuan.media.soundtrack import mix_tracks
from .loaders import CATEGORY
from .sockets import audio, takes

io = host.io


class FoleyMix(io.ComfyNode):
    """voice AUDIO, foley AUDIO, gain, duck -> AUDIO."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVFoleyMix",
            display_name="Foley Mix",
            category=CATEGORY,
            description="Lays generated sound under a voice, or under the sound that a video already has. "
            "The voice stays as it is; the generated sound steps back while the voice is heard.",
            search_aliases=["ducking", "sidechain", "mix audio", "audio merge", "voice over"],
            inputs=[
                io.Audio.Input(
                    "voice",
                    tooltip="What stays as it is: a voice, or the video's own sound from Get Video "
                    "Components.",
                ),
                io.Audio.Input(
                    "foley",
                    tooltip="What is laid underneath, from Foley VAE Decode. Several takes are each mixed "
                    "with the voice.",
                ),
                io.Float.Input(
                    "gain_db",
                    default=-6.0,
                    min=-60.0,
                    max=24.0,
                    step=0.5,
                    tooltip="Level of the generated sound in decibels; below 0 it is softer than as made.",
                ),
                io.Float.Input(
                    "duck_db",
                    default=9.0,
                    min=0.0,
                    max=60.0,
                    step=0.5,
                    tooltip="How many decibels the generated sound steps back, beyond its gain, while the "
                    "voice is loud. 0 leaves its level alone.",
                ),
            ],
            outputs=[
                io.Audio.Output(
                    display_name="audio",
                    tooltip="Both at 48 kHz, as long as the longer one; stereo if either is.",
                )
            ],
        )

    @classmethod
    def execute(cls, voice: Any, foley: Any, gain_db: float, duck_db: float) -> io.NodeOutput:
        mixed = [
            mix_tracks(under, over, gain_db=gain_db, duck_db=duck_db, sample_rate=SAMPLE_RATE)
            for under, over in paired(takes(foley, most_channels=2), takes(voice, most_channels=2))
        ]
        return io.NodeOutput(audio(torch.from_numpy(np.stack(mixed))))


def paired(foley: list[np.ndarray], voices: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each take with its voice; one alone goes with all of the others.

    Raises: ValueError if there are several of both, and not as many.
    """
    count = max(len(foley), len(voices))
    if {len(foley), len(voices)} - {1, count}:
        raise ValueError(
            f"{len(foley)} takes of foley do not pair with {len(voices)} voices. Connect one voice for all "
            "of them, or as many as there are takes."
        )
    return list(zip(foley * (count // len(foley)), voices * (count // len(voices)), strict=True))
