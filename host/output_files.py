"""Files that a run leaves for the browser and for the nodes after it, over either host's `folder_paths`."""

from pathlib import Path
from typing import Protocol
from uuid import uuid4

import numpy as np
from torch import Tensor

from ..hunyuan.media.audio import to_mono
from ..hunyuan.media.files import write_audio

SUBFOLDER = "hunyuan_av"


class FolderPaths(Protocol):
    """What is used of ComfyUI's `folder_paths`."""

    def get_temp_directory(self) -> str: ...

    def get_output_directory(self) -> str: ...


class OutputFiles:
    """New files in the host's temporary folder, which it empties when it starts."""

    def __init__(self, folder_paths: FolderPaths) -> None:
        self.folder_paths = folder_paths

    def temporary(self, suffix: str) -> Path:
        """A path that no file has yet, in a folder that exists."""
        folder = Path(self.folder_paths.get_temp_directory()) / SUBFOLDER
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{uuid4().hex}{suffix}"

    def jobs(self) -> Path:
        """A folder, which exists, for work that goes on after a restart."""
        folder = Path(self.folder_paths.get_output_directory()) / f"{SUBFOLDER}_jobs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def preview(self, picture: Tensor) -> dict[str, str]:
        """The picture as a file, in the words in which the browser asks for it.

        picture: (h, w, 3), float in [0, 1].
        """
        from PIL import Image

        path = self.temporary(".png")
        Image.fromarray((picture.cpu().clamp(0, 1) * 255).round().byte().numpy()).save(path, compress_level=1)
        return {"filename": path.name, "subfolder": SUBFOLDER, "type": "temp"}

    def sound(self, waveform: np.ndarray, sample_rate: int) -> dict[str, str]:
        """The sound as a file, likewise.

        waveform: (channels, samples), 1 is full scale; more than two channels become one.
        """
        path = self.temporary(".flac")
        write_audio(path, waveform if len(waveform) <= 2 else to_mono(waveform), sample_rate)
        return {"filename": path.name, "subfolder": SUBFOLDER, "type": "temp"}
