"""Kill a long Foley job again and again: `python tools/survive.py VIDEO [--kills 30]`.

Runs the job once undisturbed, then kills it with SIGKILL at random moments until it has been killed so often,
each time continuing it with the same command. A run that ends before it is killed is compared, too: every
file has to be the undisturbed one to the last bit, and nothing may lie beside it.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

TOOLS = Path(__file__).parent
PROGRAM = f"""
import sys
sys.path.insert(0, {str(TOOLS)!r})
import _pack
from hunyuan_av.cli import main
sys.exit(main())
"""


def command(video: Path, out: Path, steps: int) -> list[str]:
    options = ["--video", str(video), "--out", str(out), "--steps", str(steps), "--prompt", "rain"]
    return [sys.executable, "-c", PROGRAM, "foley", *options]


def stage_of(out: Path) -> str:
    """Where a killed job was, from what lies in its folder."""
    job = out.with_name(f"{out.name}.job")
    names = {path.name for path in job.rglob("*")} if job.exists() else set()
    if any(name.startswith((".finished", "finished")) for name in names):
        return "mux"
    if "sound.f32" in names:
        return "denoise and decode"
    return "features" if "manifest.json" in names else "before the work"


def compare(out: Path, expected: bytes) -> None:
    beside = sorted(path.name for path in out.parent.iterdir())
    if out.read_bytes() != expected or beside != [out.name]:
        sys.exit(f"FAILED: {out.name} is another, or something lies beside it: {beside}")
    out.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    moments, stages, ends = random.Random(options.seed), Counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"out{options.video.suffix}"
        run = command(options.video, out, options.steps)
        started = time.monotonic()
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
        length, expected = time.monotonic() - started, out.read_bytes()
        out.unlink()
        print(f"Undisturbed: {length:.1f} s, {len(expected)} bytes")
        while sum(stages.values()) < options.kills:
            process = subprocess.Popen(run, stdout=subprocess.DEVNULL)
            try:
                process.wait(moments.uniform(0.15, 1.1) * length)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                stages[stage_of(out)] += 1
                print(f"{sum(stages.values())} killed: {dict(stages)}", flush=True)
            else:
                ends += 1
                compare(out, expected)
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
        compare(out, expected)
    print(f"{sum(stages.values())} kills, {ends + 1} files, all the same to the last bit: {dict(stages)}")


if __name__ == "__main__":
    main()
