"""The sound of a file, block by block, in memory that does not depend on its length.

Blocks are (channels, n) float32. What they hold together is, to the last bit, what `files.read_audio` and
`audio.resample` give at once: the resampler goes on from block to block, and every sound is put where the
file's clock says, so that nothing drifts however long it lasts.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from .audio import fit_length, to_mono
from .files import Piece, opened_sound

BLOCK = 480_000  # samples of a block: 10 s at 48 kHz


def stream_sound(
    path: str | Path, start: float, samples: int, sample_rate: int = 48_000, *, most_channels: int = 2
) -> Iterator[np.ndarray]:
    """The first sound of a file from `start` (seconds on its clock) on: blocks of `BLOCK`, the last shorter.

    samples: of all blocks together, at `sample_rate`; where the file has none, there is silence.
    most_channels: a sound with more of them becomes mono.
    Raises: FileNotFoundError, PermissionError; ValueError if there is no sound in this part of the file.
    """
    with opened_sound(path) as pieces:
        heard = on_the_clock(pieces, start, samples / sample_rate)
        blocks = in_blocks(resample_pieces(heard, sample_rate, most_channels), BLOCK)
        yield from exactly(samples, blocks, f"{Path(path).name} from {start:g} s on")


def check_sound(path: str | Path, start: float, samples: int, sample_rate: int = 48_000) -> None:
    """Raise what `stream_sound` would, without reading on."""
    next(stream_sound(path, start, min(samples, BLOCK), sample_rate), None)


def on_the_clock(pieces: Iterable[Piece], start: float, seconds: float) -> Iterator[tuple[np.ndarray, int]]:
    """The part of `seconds` from `start` on, without holes and overlaps: samples, and their rate.

    Nothing at all if no piece lies in it; otherwise silence follows what ends early.
    """
    told, rate, channels = 0, 0, 0
    for time, samples, rate in pieces:
        if time >= start + seconds:
            break
        first, channels = round((time - start) * rate), len(samples)
        end = round(seconds * rate)
        if first + samples.shape[1] <= told:
            continue
        for silence in silent(channels, max(0, first - told)):
            yield silence, rate
        told = max(told, first)
        new = samples[:, told - first : end - first]
        yield new, rate
        told += new.shape[1]
    if channels and told:
        for silence in silent(channels, round(seconds * rate) - told):
            yield silence, rate


def silent(channels: int, samples: int) -> Iterator[np.ndarray]:
    """So much silence, in blocks."""
    for first in range(0, samples, BLOCK):
        yield np.zeros((channels, min(BLOCK, samples - first)), np.float32)


def resample_pieces(
    pieces: Iterable[tuple[np.ndarray, int]], sample_rate: int, most_channels: int
) -> Iterator[np.ndarray]:
    """Pieces that follow one another, at another rate: they become longer or shorter, not their sum."""
    resampler: Resampler | None = None
    for samples, rate in pieces:
        sound = samples if len(samples) <= most_channels else to_mono(samples)
        resampler = resampler or Resampler(rate, sample_rate, len(sound))
        yield resampler(sound)
    if resampler is not None:
        yield resampler.rest()


class Resampler:
    """`audio.resample` of a sound that comes piece by piece: the same samples, some of them later."""

    def __init__(self, source_rate: int, target_rate: int, channels: int) -> None:
        import soxr

        self.channels = channels
        self.stream = (
            None
            if source_rate == target_rate
            else soxr.ResampleStream(source_rate, target_rate, channels, dtype="float32", quality="HQ")
        )

    def __call__(self, waveform: np.ndarray, *, last: bool = False) -> np.ndarray:
        """(channels, n) -> (channels, whatever is ready)."""
        if self.stream is None:
            return waveform
        rows = np.ascontiguousarray(waveform.T, np.float32)
        return self.stream.resample_chunk(rows, last=last).reshape(-1, self.channels).T

    def rest(self) -> np.ndarray:
        """What is not told yet. Nothing can follow."""
        return self(np.zeros((self.channels, 0), np.float32), last=True)


def in_blocks(pieces: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same sound in blocks of `size` samples, the last one shorter."""
    waiting: list[np.ndarray] = []
    count = 0
    for piece in pieces:
        waiting.append(piece)
        count += piece.shape[1]
        if count < size:
            continue
        together = np.concatenate(waiting, axis=1)
        whole = count // size * size
        for first in range(0, whole, size):
            yield together[:, first : first + size]
        waiting, count = [together[:, whole:].copy()], count - whole
    if count:
        yield np.concatenate(waiting, axis=1)


def exactly(samples: int, blocks: Iterable[np.ndarray], what: str) -> Iterator[np.ndarray]:
    """Blocks of `BLOCK` with so many samples together: the end is cut off, or silence added.

    Raises: ValueError if there are no blocks at all.
    """
    told = channels = 0
    for block in blocks:
        channels = len(block)
        if told < samples:
            # The last block may lack a sample or two of the part's end, by rounding.
            length = min(BLOCK, samples - told)
            yield fit_length(block, length)
            told += length
    if not channels:
        raise ValueError(f"{what}: no sound can be decoded. Choose another part, or leave its sound out.")
    yield from silent(channels, samples - told)
