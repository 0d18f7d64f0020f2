"""Sound in and out of files. A file appears under its name only when it is complete."""

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .audio import BLOCK, check_waveform
from .source import LONGEST_STILL, beginning, decode, open_media, sounds_of

if TYPE_CHECKING:
    from av import AudioFrame

SOUND_FORMATS = {".wav": "WAV", ".flac": "FLAC"}
HASH_BLOCK = 1 << 20  # bytes read at once
Piece = tuple[float, np.ndarray, int]  # seconds on the file's clock, samples (channels, n), sample rate
GAP = 0.05  # seconds between timestamps that are a hole in the sound, not inaccuracy


def check_writable(path: str | Path) -> None:
    """Raise FileNotFoundError for no such folder, PermissionError, ValueError for what is no file."""
    target = Path(path).resolve()
    if target.exists() and not target.is_file():
        raise ValueError(f"{path} is a folder or a device. Name a file to write.")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"No such folder: {target.parent}. Create it, or choose another.")
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(f"{target.parent} may not be written to by this user. Choose another folder.")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary file beside `path` that becomes it if the block ends well, and is gone if it does not.

    Raises: as `check_writable`.
    """
    check_writable(path)
    target = Path(path).resolve()
    temporary = target.with_name(f".{target.stem[:40]}.{secrets.token_hex(4)}{target.suffix}")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK):
            total.update(block)
    return total.hexdigest()


def write_audio(path: str | Path, waveform: np.ndarray, sample_rate: int) -> None:
    """A waveform (channels, samples) into a .wav or .flac of 24 bits. What is beyond [-1, 1] is clipped.

    Raises: ValueError for another suffix or no waveform; OSError if it cannot be written.
    """
    import soundfile

    path = Path(path)
    container = SOUND_FORMATS.get(path.suffix.lower())
    if container is None:
        raise ValueError(f"{path.name}: sound is written into {' or '.join(SOUND_FORMATS)}. Choose one.")
    waveform = check_waveform(waveform)
    with replacing(path) as temporary:
        try:
            with soundfile.SoundFile(
                str(temporary), "w", sample_rate, len(waveform), subtype="PCM_24", format=container
            ) as file:
                # In blocks: a film's sound lies in a file, one channel after the other.
                for first in range(0, waveform.shape[1], BLOCK):
                    file.write(np.ascontiguousarray(waveform[:, first : first + BLOCK].T))
        except soundfile.SoundFileError as error:
            raise OSError(f"{path.name} cannot be written. Check the space on the disk.") from error


def read_audio(path: str | Path, start: float = 0.0, seconds: float | None = None) -> tuple[np.ndarray, int]:
    """The first sound in a sound or video file: float32 (channels, samples), and its sample rate.

    It lies on the file's clock from `start` on, as the picture does: what is late begins with silence, holes
    are silent, and where `seconds` asks for more than there is, silence follows.

    Raises: FileNotFoundError, PermissionError; ValueError if there is no sound in this part of the file.
    """
    with opened_sound(path) as heard:
        pieces, rate = [], 0
        for time, samples, rate in heard:
            if seconds is not None and time >= start + seconds:
                break
            first = round((time - start) * rate)
            if first + samples.shape[1] > 0:
                pieces.append((first, samples))
    if not pieces:
        raise ValueError(f"{Path(path).name}: no sound can be decoded from {start:g} s on.")
    length = max(first + samples.shape[1] for first, samples in pieces)
    return assemble(pieces, length if seconds is None else round(seconds * rate)), rate


@contextmanager
def opened_sound(path: str | Path) -> Iterator[Iterator[Piece]]:
    """The first sound of a file, piece by piece as it is decoded, on the file's clock; see `sound_pieces`.

    Raises: FileNotFoundError, PermissionError; ValueError for a file without sound.
    """
    name = Path(path).name
    with open_media(path) as container:
        sound = next(iter(sounds_of(container)), None)
        if sound is None:
            raise ValueError(f"{name} holds no sound. Choose a file with one.")
        yield sound_pieces(decode(container, sound), beginning(container), name)


def sound_pieces(frames: Iterable["AudioFrame"], zero: float, name: str) -> Iterator[Piece]:
    """Seconds after `zero`, samples (channels, n) and sample rate of each frame, without small inaccuracies.

    Raises: ValueError if rate or channels change on the way, or there is a hole of an hour: that is damage.
    """
    kind, time = None, 0.0
    for frame in frames:
        samples = samples_of(frame)
        stated = time if frame.time is None else frame.time - zero
        if abs(stated - time) > LONGEST_STILL:
            raise ValueError(f"{name}: its sound jumps to {stated / 3600:.1f} h. It is damaged.")
        if kind is None or abs(stated - time) > GAP:
            time = stated
        if kind not in (None, (frame.sample_rate, len(samples))):
            raise ValueError(f"{name}: its sample rate or channels change on the way. Convert it first.")
        kind = frame.sample_rate, len(samples)
        yield time, samples, frame.sample_rate
        time += samples.shape[1] / frame.sample_rate


def samples_of(frame: "AudioFrame") -> np.ndarray:
    """(channels, n) float32; integers are scaled to [-1, 1)."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    half = 2.0 ** (8 * samples.itemsize - 1)
    offset = half if samples.dtype.kind == "u" else 0
    return ((samples - offset) / half).astype(np.float32)


def assemble(pieces: list[tuple[int, np.ndarray]], length: int) -> np.ndarray:
    """(channels, length): the pieces (first sample, samples) on silence. What lies outside is cut off."""
    waveform = np.zeros((len(pieces[0][1]), length), np.float32)
    for first, samples in pieces:
        skip = max(0, -first)
        place = waveform[:, first + skip : first + samples.shape[1]]
        place[:] = samples[:, skip : skip + place.shape[1]]
    return waveform
