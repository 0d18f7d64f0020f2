"""Speech of any length: as many frames as it lasts, and memory that the ring alone makes grow."""

import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from pack.cli import main
from pack.hunyuan.avatar.timing import AvatarTiming
from PIL import Image

ROOT = Path(__file__).parents[2]
SLOW = pytest.mark.skipif(
    "HUNYUAN_AV_SLOW" not in os.environ, reason="minutes long; HUNYUAN_AV_SLOW=1 runs it"
)
RUN = f"""
import sys, threading, time
sys.path.insert(0, {str(ROOT / "tools")!r})
import _pack
import torch
torch.set_num_threads(1)
from hunyuan_av.cli import main

def anonymous_mib():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 1024

peak, done = 0, False

def watch():
    global peak
    while not done:
        peak = max(peak, anonymous_mib())
        time.sleep(0.02)

thread = threading.Thread(target=watch)
thread.start()
status = main(sys.argv[1:])
done = True
thread.join()
print("peak", peak)
sys.exit(status)
"""


def arguments(folder: Path, seconds: float) -> list[str]:
    """Of a command that makes folder/o.mp4."""
    speech = np.random.default_rng(0).standard_normal(round(seconds * 16_000)) * 0.1
    soundfile.write(folder / "v.wav", speech, 16_000)
    Image.new("L", (64, 64), 255).save(folder / "i.png")
    inputs = ["--image", folder / "i.png", "--mask", folder / "i.png", "--voice", folder / "v.wav"]
    return [*map(str, ["avatar", *inputs, "--out", folder / "o.mp4", "--steps", 1, "--size", 64])]


def peak_mib(folder: Path, seconds: float) -> float:
    """The peak memory of making the video, in a process of its own."""
    command = [sys.executable, "-c", RUN, *arguments(folder, seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.split()[-1])


def check_length(path: Path, seconds: float) -> None:
    with av.open(str(path)) as container:
        frames = sum(1 for _ in container.decode(video=0))
        sound = container.streams.audio[0]
        assert abs(frames - 25 * seconds) < 1
        assert float(sound.duration * sound.time_base) == pytest.approx(frames / 25)


@pytest.mark.parametrize("seconds", [5.2, *(pytest.param(s, marks=SLOW) for s in (1, 5.16, 16, 61))])
def test_a_video_is_as_long_as_its_speech(tmp_path, seconds):
    assert main(arguments(tmp_path, seconds)) == 0
    check_length(tmp_path / "o.mp4", seconds)


@SLOW
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc, which only Linux has")
def test_ten_minutes_take_little_more_memory_than_one(tmp_path):
    one, ten = peak_mib(tmp_path, 60), peak_mib(tmp_path, 600)
    check_length(tmp_path / "o.mp4", 600)
    print(f"1 min: {one:.0f} MiB, 10 min: {ten:.0f} MiB")
    numbers = (
        (AvatarTiming(15_000, fit=True).ring_latents - AvatarTiming(1_500, fit=True).ring_latents) * 16 * 64
    )
    ring = 4 * numbers / 2**20
    speech = 13_500 * (10 * 5 * 16 + 2 * 2 * 4 * 32) * 4 / 2**20  # Whisper's windows; keys and values
    print(f"ring {ring:.1f} MiB, speech {speech:.0f} MiB")
    assert ten - one < 10 * ring + 2 * speech + 64
