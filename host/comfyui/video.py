"""VIDEO as ComfyUI has it."""

from pathlib import Path
from typing import Any

from comfy_api.latest import InputImpl


def video_from_file(path: Path) -> Any:
    """The video in a file."""
    return InputImpl.VideoFromFile(str(path))
