"""A film's features in files, one for each window, mapped into memory when its window is made."""

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..foley.features import FoleyFeatures
from .job import Job
from .plan import PlannedWindow


class FeatureSpool:
    """Features by window, as parts of a job."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def name(self, window: PlannedWindow) -> str:
        return f"features/{window.index:05d}.safetensors"

    def holds(self, window: PlannedWindow) -> bool:
        return self.job.holds(self.name(window))

    def put(self, window: PlannedWindow, features: FoleyFeatures) -> None:
        tensors = {"visual": features.visual.contiguous(), "sync": features.sync.contiguous()}
        with self.job.writing(self.name(window)) as path:
            try:
                save_file(tensors, path, {"sync_frames": str(features.sync_frames)})
            except SafetensorError as error:
                raise OSError(f"{path} cannot be written: {error}. Check the space on the disk.") from error
        self.job.finish(self.name(window))
        self.job.commit()

    def get(self, window: PlannedWindow) -> FoleyFeatures:
        with safe_open(self.job.folder / self.name(window), framework="pt") as file:
            visual, sync = file.get_tensor("visual"), file.get_tensor("sync")
            return FoleyFeatures(
                visual=visual.to(torch.float32), sync=sync.to(torch.float32),
                sync_frames=int(file.metadata()["sync_frames"]),
            )  # fmt: skip
