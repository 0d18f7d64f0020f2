"""The small files that the shipped workflows start from, put where ComfyUI's load nodes look for files."""

import logging
import shutil
from pathlib import Path

SAMPLES = Path(__file__).parent.parent / "workflows" / "inputs"

log = logging.getLogger(__name__)


def place_samples(folder: Path) -> None:
    """Copy the samples into an input folder, without touching what is there.

    Where the folder cannot be written to, the pack works all the same: only the shipped workflows then ask
    for files of the user's own.
    """
    for sample in SAMPLES.iterdir():
        target = folder / sample.name
        try:
            if not target.exists():
                shutil.copyfile(sample, target)
        except OSError as error:
            log.info("The sample %s was not put into %s: %s", sample.name, folder, error)
