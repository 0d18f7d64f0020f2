"""VIDEO without ComfyUI: a file."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class VideoFile:
    """VIDEO, with the part of ComfyUI's interface that this pack's nodes use."""

    path: Path

    def get_stream_source(self) -> str:
        return str(self.path)


def video_from_file(path: Path) -> VideoFile:
    """The video in a file."""
    return VideoFile(path)
