"""Speech as Whisper hears it, around each frame of the video.

The encoder is transformers' own class. Source: Whisper, arXiv:2212.04356.

Axes: b batch, r rows of 20 ms, l states of one row, d channels, f video frames.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import AUDIO_WINDOW
from .log_mel import BLOCK_SAMPLES, BLOCK_SECONDS, HOP, log_mel
from .timing import FPS, SAMPLE_RATE, AvatarTiming

ROW_RATE = SAMPLE_RATE // (2 * HOP)  # rows per second: the encoder halves the columns
ROW_SAMPLES = SAMPLE_RATE // ROW_RATE
BLOCK_ROWS = BLOCK_SECONDS * ROW_RATE
ROWS_BEFORE = 4  # rows of a frame's window that precede the frame

SEAM_ROWS = 250  # rows that two blocks of long speech share, 5 s


@dataclass(frozen=True, kw_only=True)
class Speech:
    """Encoded speech.

    states:  (1, r, l, d), float32, 50 rows per second from the beginning of the speech.
    samples: how long the speech is, at 16 kHz.
    """

    states: Tensor
    samples: int

    def num_frames(self, fps: float | Fraction = FPS) -> int:
        """Frames of a video that the speech lasts; what does not fill a frame is dropped."""
        return int(self.samples * Fraction(fps) / SAMPLE_RATE)

    def windows(self, fps: float | Fraction = FPS) -> Tensor:
        """What each frame of a video hears: (1, f, 10, l, d)."""
        return frame_windows(self.states, self.num_frames(fps), fps)


class SpeechEncoder(nn.Module):
    """Whisper's encoder; parameters are named as published, `encoder.*`.

    model: a transformers `WhisperModel` or its encoder.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.encoder: Any = getattr(model, "encoder", model)

    def forward(self, mel: Tensor) -> Tensor:
        """All states of one block of 30 s: (b, 80, 3000) -> (b, 1500, 5, 384) as published.

        The first state is the embedding. As trained: the last is normed, and those between are not.
        """
        # As trained: the spectrum is rounded to float16.
        mel = mel.half().to(self.encoder.conv1.weight.dtype)
        hidden = self.encoder(mel, output_hidden_states=True, return_dict=True).hidden_states
        return torch.stack(hidden, dim=2)

    def encode(self, waveform: Tensor) -> Speech:
        """Mono speech at 16 kHz, (samples,), of any length.

        Up to 30 s are one block, as released. Longer speech is cut into blocks of 30 s that overlap by 5 s,
        and neighbours meet in the middle of it: a row is heard with 2.5 s or more of what is around it.

        Raises: ValueError if it is not mono, or empty.
        """
        device = self.encoder.conv1.weight.device
        step = BLOCK_SAMPLES - SEAM_ROWS * ROW_SAMPLES
        starts = range(0, max(1, len(waveform) - BLOCK_SAMPLES + step), step)
        mels = (log_mel(waveform[start : start + BLOCK_SAMPLES]) for start in starts)
        blocks = [self(mel[None].to(device)).float() for mel in mels]
        return Speech(states=join_blocks(blocks), samples=len(waveform))


def join_blocks(blocks: list[Tensor]) -> Tensor:
    """States of consecutive blocks, cut in the middle of what neighbours share.

    blocks: (b, 1500, l, d) each. Returns (b, r, l, d).
    """
    half = SEAM_ROWS // 2
    last = len(blocks) - 1
    pieces = [
        block[:, half if i > 0 else 0 : BLOCK_ROWS - half if i < last else None]
        for i, block in enumerate(blocks)
    ]
    return torch.cat(pieces, dim=1)


def frame_windows(states: Tensor, num_frames: int, fps: float | Fraction = FPS) -> Tensor:
    """The rows around each video frame, from 80 ms before it to 120 ms after; zeros where there is no row.

    A window starts four rows before the row nearest to its frame's time, so at 25 fps frame f has the rows
    from 2 f - 4 to 2 f + 5, as released.

    states:  (b, r, l, d).
    Returns: (b, f, 10, l, d).
    Raises:  ValueError for a frame rate of zero or less.
    """
    if fps <= 0:
        raise ValueError(f"A video has more than {fps} frames per second. Give its frame rate.")
    starts = [_nearest_row(frame, Fraction(fps)) for frame in range(num_frames)]
    rows = torch.tensor(starts, dtype=torch.int64)[:, None] + torch.arange(AUDIO_WINDOW)
    missing = max(0, int(rows.max()) + 1 - ROWS_BEFORE - states.shape[1]) if num_frames else 0
    padded = F.pad(states, (0, 0, 0, 0, ROWS_BEFORE, missing))
    return padded[:, rows.to(states.device)]


def pad_with_silence(windows: Tensor) -> Tensor:
    """As trained: windows of zeros up to the length of one transformer window, or five of them after more.

    windows: (b, f, 10, l, d).
    """
    frames = windows.shape[1]
    missing = AvatarTiming(frames).padded_frames - frames
    return F.pad(windows, (0, 0, 0, 0, 0, 0, 0, missing))


def _nearest_row(frame: int, fps: Fraction) -> int:
    """Of all rows that begin at a multiple of 20 ms, the one nearest to a frame's time; the later of two."""
    return (2 * frame * ROW_RATE * fps.denominator + fps.numerator) // (2 * fps.numerator)
