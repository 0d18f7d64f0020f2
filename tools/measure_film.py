"""Memory, disk and time of long Foley jobs on pocket weights: `python tools/measure_film.py 1 5 20`.

Every film runs in a process of its own. What grows by the minute is anonymous memory: what the process cannot
give back. With --marker the two encoders are replaced by ones that only write down times, so that an hour of
film takes minutes. `--mixed 30` makes short clips and films in turn, all in one process, until that many
minutes are made, and prints time and memory round by round.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import torch

import _pack  # noqa: F401 - makes hunyuan_av importable
from hunyuan_av.cli import foley, foley_film
from hunyuan_av.cli.foley_job import FoleyJob
from hunyuan_av.cli.foley_models import FoleyModels
from hunyuan_av.host.standalone.memory import Placement
from hunyuan_av.hunyuan.foley.features import FoleyFeatures
from hunyuan_av.hunyuan.foley.timing import (
    SEGMENT_FRAMES,
    SEGMENT_STEP,
    SYNC_RATE,
    TOKENS_PER_SEGMENT,
    VISUAL_RATE,
)
from hunyuan_av.hunyuan.media.container import probe
from hunyuan_av.hunyuan.media.video import FramePicker

SIZE, FPS = (128, 72), 24
MIXED = (3, 8, 15, 27, 40)  # seconds of the clips in a round
MIB = 1 << 20


class TimeStream:
    """Features that hold nothing but times, in the sizes of the encoders' own."""

    def __init__(self, visual_size: int, sync_size: int) -> None:
        self.sizes = visual_size, sync_size
        self.pickers = FramePicker(VISUAL_RATE, 20.0), FramePicker(SYNC_RATE, 20.0)
        self.times: tuple[list[float], list[float]] = ([], [])

    def see(self, time: float, frame: np.ndarray) -> None:
        for picker, times in zip(self.pickers, self.times, strict=True):
            times += [time] * picker.take(time)

    def finish(self) -> FoleyFeatures:
        visual, sync = (torch.tensor(times)[:, None].sin() for times in self.times)
        segments = max(1, (len(sync) - SEGMENT_FRAMES) // SEGMENT_STEP + 1)
        tokens = sync[: segments * TOKENS_PER_SEGMENT]
        visual_size, sync_size = self.sizes
        return FoleyFeatures(
            visual=visual.repeat(1, visual_size)[None], sync=tokens.repeat(1, sync_size)[None],
            sync_frames=len(sync),
        )  # fmt: skip


def render(path: Path, seconds: float) -> None:
    """A film in which a square moves."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for i in range(round(seconds * FPS)):
            picture = np.full((SIZE[1], SIZE[0], 3), 60, np.uint8)
            left = 3 * i % SIZE[0]
            picture[20:50, left : left + 16] = (220, 120, 40)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))


def anonymous_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    raise OSError("This system does not tell anonymous memory; Linux does.")


class Watcher(threading.Thread):
    """The most memory, and the most disk in a folder, since it was started."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.memory, self.disk, self.done = folder, 0.0, 0, threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.1):
            self.memory = max(self.memory, anonymous_mib())
            self.disk = max(self.disk, sum(size_of(path) for path in self.folder.rglob("*")))


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # gone since it was listed
        return 0


def measure(video: Path, steps: int, marker: bool) -> dict[str, float]:
    """One film in this process."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=video.parent) as folder:
        job = FoleyJob(out=Path(folder) / "out.mp4", video=video, steps=steps, prompt="rain")
        models = FoleyModels.load(None, None, job.placement)
        if marker:
            config = models.transformer.config
            foley_film.FeatureStream = lambda *_: TimeStream(config.visual_size, config.sync_size)
        seconds = probe(video).end_time
        plan = foley_film.plan_of(job, seconds)
        before, started, watcher = anonymous_mib(), time.process_time(), Watcher(job.job_folder)
        watcher.start()
        with torch.inference_mode():
            list(foley_film.make_film(job, plan, models, lambda items, *_: items))
        watcher.done.set()
        return {
            "minutes": seconds / 60, "memory": watcher.memory - before, "disk": watcher.disk / MIB,
            "bound": foley_film.disk_needed(job, plan, models.transformer.config) / MIB,
            "pace": (time.process_time() - started) / seconds,
        }  # fmt: skip


def measure_mixed(minutes: float, steps: int) -> Iterator[tuple[float, float, float]]:
    """After each round: minutes made so far, CPU seconds per second of it, anonymous memory in MiB."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        out, videos = Path(folder) / "out.mp4", [Path(folder) / f"{seconds}.mp4" for seconds in MIXED]
        for video, seconds in zip(videos, MIXED, strict=True):
            render(video, seconds)
        models = FoleyModels.load(None, None, Placement.choose())
        made = 0
        while made < 60 * minutes:
            started = time.process_time()
            for video in videos:
                out.unlink(missing_ok=True)
                job = FoleyJob(out=out, video=video, steps=steps, prompt="rain")
                list(foley.make(job, models, lambda items, *_: items))
            made += sum(MIXED)
            yield made / 60, (time.process_time() - started) / sum(MIXED), anonymous_mib()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("minutes", type=float, nargs="*", default=[1, 5, 20])
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--marker", action="store_true", help="without the two encoders")
    parser.add_argument(
        "--mixed", type=float, metavar="MINUTES", help="of clips of mixed lengths, in one process"
    )
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.mixed:
        print("minutes   CPU s per s   anonymous MiB")
        for made, pace, memory in measure_mixed(options.mixed, options.steps):
            print(f"{made:7.1f} {pace:13.3f} {memory:15.1f}", flush=True)
        return
    if options.one:
        print(json.dumps(measure(options.one, options.steps, options.marker)))
        return
    print("minutes   anonymous MiB   MiB/minute since the first   disk MiB   at most   CPU s per s")
    first = None
    for minutes in options.minutes:
        with tempfile.TemporaryDirectory() as folder:
            video = Path(folder) / "film.mp4"
            render(video, 60 * minutes)
            command = [sys.executable, __file__, "--one", str(video), "--steps", str(options.steps)]
            command += ["--marker"] * options.marker
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        row = json.loads(done.stdout.splitlines()[-1])
        first = first or row
        grown = row["memory"] - first["memory"]
        slope = grown / (row["minutes"] - first["minutes"]) if row is not first else 0.0
        print(
            f"{row['minutes']:7.1f} {row['memory']:15.1f} {slope:28.2f} {row['disk']:10.1f}"
            f" {row['bound']:9.1f} {row['pace']:13.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
