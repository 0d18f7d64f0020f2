"""Speech to lengths: the only home of Avatar's frame rates.

Video runs at 25 frames per second, four of them share a latent, and the first latent holds one frame alone.
The transformer always sees a window of 33 latents; a longer video is a ring of latents that windows tile.
"""

from dataclasses import dataclass

SAMPLE_RATE = 16_000  # Hz, of the speech
FPS = 25
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS

FRAMES_PER_LATENT = 4
WINDOW_LATENTS = 33
WINDOW_FRAMES = (WINDOW_LATENTS - 1) * FRAMES_PER_LATENT + 1

TAIL_FRAMES = 5  # silent frames after speech that is longer than one window
PUBLISHED_FRAMES = 400  # as released: speech beyond 16 s is not heard


def latent_frames(frames: int) -> int:
    """Latents that hold `frames` video frames. Raises ValueError unless they fill their last latent."""
    if frames < 1 or (frames - 1) % FRAMES_PER_LATENT:
        raise ValueError(
            f"{frames} video frames are no whole number of latents: 1 + {FRAMES_PER_LATENT} n frames are."
        )
    return (frames - 1) // FRAMES_PER_LATENT + 1


@dataclass(frozen=True)
class AvatarTiming:
    """Every length that follows from the number of video frames that the speech lasts.

    limit: frames of speech that are heard; None for all of them, PUBLISHED_FRAMES as released.
    fit:   whether only what the speech needs is decoded, and the ring is just that, at least one window; as
        released both are longer, which can cost a window in every step.
    """

    audio_frames: int
    limit: int | None = None
    fit: bool = False

    @classmethod
    def from_samples(cls, samples: int, limit: int | None = None, *, fit: bool = False) -> "AvatarTiming":
        """The timing of `samples` of speech at 16 kHz; what does not fill a frame is dropped."""
        return cls(samples // SAMPLES_PER_FRAME, limit, fit)

    def __post_init__(self) -> None:
        if self.audio_frames < 1:
            raise ValueError("The speech is shorter than one video frame (0.04 s). Use a longer recording.")

    @property
    def used_frames(self) -> int:
        return self.audio_frames if self.limit is None else min(self.audio_frames, self.limit)

    @property
    def padded_frames(self) -> int:
        """Audio frames after silence: up to a window, or a short tail; when fitted, none is added."""
        if self.fit:
            return self.used_frames
        return WINDOW_FRAMES if self.used_frames <= WINDOW_FRAMES else self.used_frames + TAIL_FRAMES

    @property
    def latents(self) -> int:
        """Latents that are decoded."""
        if self.fit:
            return (self.used_frames + 2 * (FRAMES_PER_LATENT - 1)) // FRAMES_PER_LATENT
        return self.padded_frames // FRAMES_PER_LATENT + 1

    @property
    def noise_latents(self) -> int:
        """Latents of noise that are drawn; the ring is the first of them."""
        if self.fit:
            return max(self.latents, WINDOW_LATENTS)
        # As released: one window's worth of speech draws 65 latents and uses the first 33.
        step = WINDOW_LATENTS - 1
        return (self.padded_frames // (step * FRAMES_PER_LATENT) + 1) * step + 1

    @property
    def ring_latents(self) -> int:
        """Latents that are denoised: one window, or a ring that may be longer than what is decoded."""
        return self.latents if self.latents == WINDOW_LATENTS else self.noise_latents

    @property
    def windows(self) -> int:
        """Windows in each step."""
        return -(-self.ring_latents // WINDOW_LATENTS)

    @property
    def decoded_frames(self) -> int:
        return (self.latents - 1) * FRAMES_PER_LATENT + 1

    @property
    def kept_frames(self) -> int:
        """Frames of the finished video."""
        return min(self.audio_frames, self.decoded_frames)
