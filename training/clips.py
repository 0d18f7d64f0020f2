"""Rendered scenes on disk, to be read in windows: shards of memory-mapped safetensors.

    python -m hunyuan_av.training.clips --out DIR --clips N [--first SEED] [--split train]

Axes: n clips, t frames at 25 fps, h w pixels.
"""

import argparse
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..hunyuan.foley.timing import SAMPLE_RATE, SYNC_RATE, FoleyTiming
from ..hunyuan.media.files import replacing
from ..hunyuan.media.video import FramePicker, resize_and_crop
from .scenes import Scene
from .scenes.scene import Split

SECONDS = 8.0  # of every clip
FRAME_SIZE = 112  # pixels, as both pocket encoders see a frame
PER_SHARD = 25
HIGHEST_RATE = 30.0  # frames per second; above it half of them would be drawn to be thrown away
SAMPLES_PER_FRAME = SAMPLE_RATE // SYNC_RATE
CLIP_FRAMES = FoleyTiming(SECONDS).sync_frames


def picked_frames(scene: Scene, start: float = 0.0, seconds: float | None = None) -> Iterator[Tensor]:
    """The frames that the encoders would be given of a video of this scene, each (3, h, w) uint8.

    start, seconds: of the part that is shown, as a window of a film shows it; by default all.
    """
    seconds = scene.seconds - start if seconds is None else seconds
    fps = scene.fps if scene.fps <= HIGHEST_RATE else scene.fps / 2
    wanted = FoleyTiming(seconds).sync_frames
    picker, frame = FramePicker(SYNC_RATE, seconds), None
    for time, picture in scene.stream(fps=fps, start=start):
        if time > seconds:
            break
        frame = resize_and_crop(picture, FRAME_SIZE)
        for _ in range(min(picker.take(time), wanted)):
            wanted -= 1
            yield frame
    # A slow source may end before the last pick; the last frame stands, so that all clips are equally long.
    if frame is not None:
        yield from (frame for _ in range(wanted))


def render(folder: Path, split: Split, first: int, count: int) -> None:
    """Write what is missing of the shards of seeds first .. first + count - 1."""
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(first, first + count, PER_SHARD):
        path = folder / f"{split}-{start:06d}.safetensors"
        if not path.exists():
            scenes = [Scene.draw(seed, split) for seed in range(start, min(start + PER_SHARD, first + count))]
            with replacing(path) as part:
                save_file(rendered(scenes), part)


def rendered(scenes: list[Scene]) -> dict[str, Tensor]:
    frames = [torch.stack(list(picked_frames(scene))) for scene in scenes]
    sounds = [torch.from_numpy(scene.waveform()).half() for scene in scenes]
    return {"frames": torch.stack(frames), "waveform": torch.stack(sounds)}


class Clips:
    """What `render` wrote, clip by clip and window by window."""

    def __init__(self, folder: Path, split: Split = "train") -> None:
        """Raises: FileNotFoundError if nothing was rendered there."""
        self.split: Split = split
        self.places: list[tuple[int, int]] = []  # shard, row
        self.seeds: list[int] = []
        self.shards = []
        for path in sorted(folder.glob(f"{split}-*.safetensors")):
            shard = safe_open(path, framework="pt")
            rows = shard.get_slice("waveform").get_shape()[0]
            first = int(path.stem.rpartition("-")[2])
            self.places += [(len(self.shards), row) for row in range(rows)]
            self.seeds += range(first, first + rows)
            self.shards.append(shard)
        if not self.places:
            raise FileNotFoundError(
                f"No {split} clips in {folder}. Render some with hunyuan_av.training.clips."
            )

    def __len__(self) -> int:
        return len(self.places)

    @cached_property
    def scenes(self) -> list[Scene]:
        return [Scene.draw(seed, self.split) for seed in self.seeds]

    def frames(self, clip: int, start: int = 0, count: int | None = None) -> Tensor:
        """(t, 3, h, w) uint8, from the frame `start` at 25 fps on."""
        return self._read("frames", clip, start, count)

    def sound(self, clip: int, start: int = 0, samples: int | None = None) -> Tensor:
        """(samples,) float32 at 48 kHz."""
        return self._read("waveform", clip, start, samples).float()

    def _read(self, name: str, clip: int, start: int, count: int | None) -> Tensor:
        shard, row = self.places[clip]
        stop = None if count is None else start + count
        return self.shards[shard].get_slice(name)[row : row + 1, start:stop][0]


def draw_int(generator: torch.Generator, below: int) -> int:
    return int(torch.randint(below, (), generator=generator))


def draw_sounds(
    clips: Clips, batch: int, samples: int, generator: torch.Generator, clip: int | None = None
) -> Tensor:
    """Windows from anywhere, or of one clip, with a start on a whole latent: (batch, samples)."""
    places = (round(SECONDS * SAMPLE_RATE) - samples) // SAMPLES_PER_FRAME + 1
    windows = []
    for _ in range(batch):
        picked = draw_int(generator, len(clips)) if clip is None else clip
        start = draw_int(generator, places) * SAMPLES_PER_FRAME
        windows.append(clips.sound(picked, start, samples))
    return torch.stack(windows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Render scenes to learn from.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--split", choices=("train", "held-out"), default="train")
    args = parser.parse_args()
    np.seterr(all="raise", under="ignore")
    render(args.out, args.split, args.first, args.clips)


if __name__ == "__main__":
    main()
