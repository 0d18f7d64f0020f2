"""Windows inside a sampler's loop, for latents that are held whole: a setting of a MODEL."""

import math
from dataclasses import dataclass
from fractions import Fraction

from ..foley.timing import LATENT_RATE, TOKENS_PER_SEGMENT, VISUAL_RATE, FoleyTiming
from ..sampling.windows import Blend, Window, WindowGrid, plan_windows
from .plan import OVERLAP, SEGMENT, STRIDE, TAIL, latents_in

LENGTH = STRIDE + OVERLAP  # seconds
SHORTEST_WINDOW, LONGEST_WINDOW = STRIDE, Fraction(10)
# A last window that would be shorter than this begins earlier, with a Synchformer segment of the whole clip.
# One of 8 s, as films have, could reach over two others if it began with a segment.
SHORTEST_END = Fraction(5)
LONGEST_SOUND = 3600.0  # seconds that nodes offer: latents and sound are held whole
JOINS = ("blend", "switch")


@dataclass(frozen=True, kw_only=True)
class SlidingWindows:
    """window:  seconds that the model hears at once, 8 to 10; it was trained on 8.
    overlap: seconds that neighbouring windows share, 0 to 2.
    join:    "blend" goes over smoothly from one window to the next throughout the overlap; "switch" goes over
             in its middle, and the rest of it is only heard along.
    """

    window: Fraction = LENGTH
    overlap: Fraction = OVERLAP
    join: str = "blend"

    def __post_init__(self) -> None:
        if not SHORTEST_WINDOW <= self.window <= LONGEST_WINDOW:
            raise ValueError(
                f"A window of {float(self.window):g} s does not work: it lasts {SHORTEST_WINDOW} to"
                f" {LONGEST_WINDOW} s."
            )
        if not 0 <= self.overlap <= TAIL:
            raise ValueError(
                f"An overlap of {float(self.overlap):g} s does not work: it lies in 0..{TAIL} s."
            )
        if self.join not in JOINS:
            raise ValueError(f"There is no join {self.join!r}. Choose {' or '.join(JOINS)}.")

    @property
    def stride(self) -> Fraction:
        return self.window - self.overlap

    def plan(self, latent_frames: int) -> list[Window]:
        """The windows of a sound; one for what fits into it."""
        if latent_frames <= latents_in(self.window):
            return [Window(0, latent_frames, 0)]
        grid = WindowGrid(
            stride=latents_in(self.stride), overlap=latents_in(self.overlap), tail=latents_in(TAIL),
            shortest=latents_in(SHORTEST_END), step=latents_in(SEGMENT),
        )  # fmt: skip
        return plan_windows(latent_frames, grid)

    def check_follows_a_video(self) -> None:
        """Raises ValueError if windows do not start where the clocks of picture and sound agree."""
        if latents_in(self.stride) != latents_in(STRIDE):
            raise ValueError(
                f"Windows of {float(self.window):g} s that overlap by {float(self.overlap):g} s start every"
                f" {float(self.stride):g} s. To follow a video they start every {STRIDE} s, where all its"
                f" clocks agree: choose an overlap of {float(self.window - STRIDE):g} s."
            )

    def blend(self, windows: list[Window]) -> Blend:
        """How the windows are put together."""
        blend = Blend(windows)
        if self.join == "switch":
            blend.weights = [
                (weights > 0.5).float() + (weights == 0.5).float() / 2 for weights in blend.weights
            ]
        return blend


def feature_slices(window: Window) -> tuple[slice, slice]:
    """Where the visual and sync tokens of a window of `SlidingWindows` lie among those of the whole clip.

    Exact where the window starts on the 8 s grid. One that begins earlier starts with a segment, and at most
    1/16 s from a visual frame.
    """
    timing = FoleyTiming(window.length / LATENT_RATE)
    visual = round(Fraction(window.start * VISUAL_RATE, LATENT_RATE))
    visual_frames = math.ceil(Fraction(window.length * VISUAL_RATE, LATENT_RATE))
    sync = window.start // latents_in(SEGMENT) * TOKENS_PER_SEGMENT
    return slice(visual, visual + visual_frames), slice(sync, sync + timing.sync_tokens)
