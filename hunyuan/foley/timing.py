"""Seconds to lengths: the only home of Foley's frame rates.

A clip is as long as the frames that the sync encoder sees, whatever its container says.
"""

import math
from dataclasses import dataclass

SAMPLE_RATE = 48_000  # Hz
LATENT_RATE = 50  # latent frames per second
SAMPLES_PER_LATENT = SAMPLE_RATE // LATENT_RATE

VISUAL_RATE = 8  # frames per second seen by SigLIP 2
SYNC_RATE = 25  # frames per second seen by Synchformer
SEGMENT_FRAMES = 16  # frames in one Synchformer segment
SEGMENT_STEP = 8  # frames from one segment's start to the next
TOKENS_PER_SEGMENT = 8

MAX_SECONDS = 15.0  # frames later than this are not looked at, as trained


@dataclass(frozen=True)
class FoleyTiming:
    """Every length that follows from a clip's duration in seconds."""

    seconds: float

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            raise ValueError(f"A clip of {self.seconds:g} s has no length. Choose more than 0 s.")

    @classmethod
    def from_sync_frames(cls, sync_frames: int) -> "FoleyTiming":
        """The timing of a clip from which `sync_frames` frames were picked at 25 fps."""
        return cls(sync_frames / SYNC_RATE)

    @property
    def sync_frames(self) -> int:
        return round(self.seconds * SYNC_RATE)

    @property
    def sync_segments(self) -> int:
        """Segments that fit; 0 when the clip is shorter than one (0.64 s)."""
        return max(0, (self.sync_frames - SEGMENT_FRAMES) // SEGMENT_STEP + 1)

    @property
    def sync_tokens(self) -> int:
        """Tokens the transformer gets: a shorter clip is held on its last frame until it fills a segment."""
        return max(1, self.sync_segments) * TOKENS_PER_SEGMENT

    @property
    def visual_frames(self) -> int:
        """Frames at 8 fps when no video says otherwise (sound from text alone)."""
        return max(1, round(self.seconds * VISUAL_RATE))

    @property
    def latent_frames(self) -> int:
        # As trained: truncated in float64, so some lengths (29 frames, say) lose one latent.
        return int(self.seconds * LATENT_RATE)

    @property
    def samples(self) -> int:
        return self.latent_frames * SAMPLES_PER_LATENT


def check_length(seconds: float, how: str = "its start and its length") -> None:
    """Raise ValueError for a clip that one generation cannot cover. how: what chooses a part of it."""
    if seconds > MAX_SECONDS + 1 / SYNC_RATE:
        raise ValueError(
            f"The clip is {seconds:.2f} s long, and one generation covers at most {MAX_SECONDS:g} s."
            f" Choose a part of it with {how}."
        )
