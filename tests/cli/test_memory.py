"""Memory of the main job, in processes of its own: it grows neither with length, nor resolution, nor runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PREAMBLE = f"""
import sys
sys.path.insert(0, {str(ROOT / "tools")!r})
import _pack
import torch
torch.set_num_threads(1)

def anonymous_mib():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 1024
"""
RUNS = """
import contextlib, gc, io, numpy
from pathlib import Path
from hunyuan_av.cli import foley
from hunyuan_av.cli.foley_job import FoleyJob
from hunyuan_av.cli.foley_models import FoleyModels

folder, runs = Path(sys.argv[1]), int(sys.argv[2])
first = FoleyJob(out=folder / "o.wav", seconds=1.0)
models = FoleyModels.load(None, None, first.placement)
used = []
gc.collect()
gc.freeze()  # what is there now is not searched after each run
for i in range(runs):
    job = FoleyJob(out=folder / "o.wav", seconds=0.8 + 0.1 * (i * 7 % 13), steps=1, seed=i)
    list(foley.make(job, models, lambda items, *_: items))
    gc.collect()
    used.append(anonymous_mib())
settled = used[runs // 4:]
print(numpy.polyfit(range(len(settled)), settled, 1)[0])
"""
FEATURES = """
import threading, time
from hunyuan_av.hunyuan.foley.features import encode_video
from hunyuan_av.hunyuan.media.container import read_frames
from hunyuan_av.model_loaders.encoders import load_visual_encoder
from hunyuan_av.model_loaders.foley import load_sync_encoder
from hunyuan_av.model_loaders.foley_folder import find_foley, POCKET

files = find_foley(POCKET)
encoders = load_visual_encoder(files.visual_encoder), load_sync_encoder(files.synchformer)
before, peak, done = anonymous_mib(), 0, False

def watch():
    global peak
    while not done:
        peak = max(peak, anonymous_mib())
        time.sleep(0.01)

thread = threading.Thread(target=watch)
thread.start()
features = encode_video(read_frames(sys.argv[1]), *encoders)
done = True
thread.join()
print(peak - before, features.sync_frames)
"""

linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc, which only Linux has")


def measure(code: str, *arguments: object) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [float(figure) for figure in done.stdout.split()]


@linux
def test_a_hundred_runs_of_changing_length_leave_nothing_behind(tmp_path):
    (slope,) = measure(RUNS, tmp_path, 100)
    print(f"{slope:.3f} MiB per run")
    assert slope < 0.2


@linux
@pytest.mark.skipif(
    "HUNYUAN_AV_SLOW" not in os.environ, reason="renders 15 s of 4K; HUNYUAN_AV_SLOW=1 runs it"
)
def test_fifteen_seconds_of_4k_at_60_fps_take_less_than_one_and_a_half_gib(clip):
    video = clip("4k.mp4", fps=60, seconds=15, size=(3840, 2160))
    growth, frames = measure(FEATURES, video)
    print(f"{growth:.0f} MiB above the loaded encoders")
    assert frames >= 374
    assert growth < 1536


@linux
def test_a_longer_clip_takes_no_more_memory(clip):
    short, long = (
        measure(FEATURES, clip(f"{seconds}.mp4", fps=25, seconds=seconds, size=(640, 360)))[0]
        for seconds in (2, 12)
    )
    print(f"2 s: {short:.0f} MiB, 12 s: {long:.0f} MiB")
    assert long - short < 50
