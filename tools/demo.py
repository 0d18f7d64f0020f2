"""The demo: render a scene, make its sound, and say how well the sound follows the picture.

    python tools/demo.py [FOLDER] [--seed N] [--kind KIND] [--seconds S] [--steps N]

Writes the scene with its true sound, the same picture with the sound that was made, and a plot of both.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

import _pack
from eval_generate import POCKET_CFG
from eval_scenes import Figure, impacts
from eval_sync import described
from hunyuan_av.cli import main as hunyuan_av
from hunyuan_av.cli.mistakes import MISTAKES, sentence
from hunyuan_av.hunyuan.foley.sync_check import check_sync
from hunyuan_av.hunyuan.foley.synchrony import find_onsets, match
from hunyuan_av.hunyuan.media.container import read_frames
from hunyuan_av.hunyuan.media.encode import write_video
from hunyuan_av.hunyuan.media.files import read_audio, replacing
from hunyuan_av.hunyuan.media.measure import measure_sound
from hunyuan_av.training.scenes import KINDS, Scene

SIZE = 256  # pixels
SEED = 3


def main() -> int:
    options = parse()
    try:
        return demonstrate(options)
    except MISTAKES as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 1


def demonstrate(options: argparse.Namespace) -> int:
    """Write and print all of it. Returns the exit status."""
    options.folder.mkdir(parents=True, exist_ok=True)
    scene = Scene.draw(options.seed, "held-out", kind=options.kind, seconds=options.seconds)
    name = f"{scene.kind}_{options.seed}"
    clip, out, plot = (options.folder / f"{name}{end}" for end in ("_true.mp4", "_made.mp4", "_made.png"))

    print(f"Scene {options.seed}: {scene.caption}")
    write_video(clip, (frame for _, frame in scene.stream(size=SIZE)), scene.fps, scene.waveform()[None])
    started = time.perf_counter()
    settings = ["--prompt", scene.caption, "--steps", str(options.steps), "--cfg", str(POCKET_CFG)]
    status = hunyuan_av(["foley", "--video", str(clip), "--out", str(out), *settings])
    if status == 0:
        print(f"\n{scene.seconds:g} s of sound in {time.perf_counter() - started:.1f} s")
        judge(scene, out, plot)
        print(
            f"\nOpen {out}, and compare it with {clip.name}. What was seen and heard is drawn in {plot.name}."
        )
    return status


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Render a scene and make its sound.")
    parser.add_argument("folder", nargs="?", type=Path, default=_pack.ROOT / "demo", metavar="FOLDER")
    parser.add_argument("--seed", type=int, default=SEED, help="which scene (default: %(default)s)")
    parser.add_argument("--kind", choices=KINDS, help="what it shows (default: what the seed draws)")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long it is (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=25, help="denoising steps (default: %(default)s)")
    return parser.parse_args()


def judge(scene: Scene, made: Path, plot: Path) -> None:
    """Print the figures of a video that was made for a scene, and draw it."""
    waveform, rate = read_audio(made)
    check = check_sync(read_frames(made), scene.seconds, waveform, rate)
    save(plot, check.plot(waveform, rate).draw())
    true = impacts(scene)
    heard = match(true, find_onsets(waveform, rate))
    print(
        Figure("true impacts", str(len(true))),
        Figure("true impacts heard within 80 ms", format(heard.matched, ".2f")),
        Figure("onsets without an impact", format(heard.false, ".2f")),
        Figure("median absolute offset from the truth, ms", format(1000 * heard.absolute_offset, ".0f")),
        *described(check, measure_sound(waveform, rate)),
        sep="\n",
    )


def save(path: Path, picture: np.ndarray) -> None:
    from PIL import Image

    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary)


if __name__ == "__main__":
    sys.exit(main())
