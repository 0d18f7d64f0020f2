"""Avatar's demo: a portrait speaks a recording, both of which come with the pack.

    python tools/demo_avatar.py [FOLDER] [--seed N] [--steps N] [--size PIXELS]

Writes the talking video with the voice in it, and says how long it is. The pocket weights are untrained: the
picture is noise, made by the whole system.
"""

import argparse
import sys
import time
from pathlib import Path

import _pack
from eval_scenes import Figure
from hunyuan_av.cli import main as hunyuan_av
from hunyuan_av.cli.mistakes import MISTAKES, sentence
from hunyuan_av.hunyuan.avatar.timing import FPS
from hunyuan_av.hunyuan.media.container import probe
from hunyuan_av.hunyuan.media.files import read_audio

INPUTS = _pack.ROOT / "workflows" / "inputs"
PORTRAIT, FACE, VOICE = (
    INPUTS / f"hunyuan_av_{name}" for name in ("portrait.png", "portrait_face.png", "voice.flac")
)
PROMPT = "A person speaks to the camera, calm light, plain background"


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
    out = options.folder / f"avatar_{options.seed}.mp4"

    print(f"{PORTRAIT.name} speaks {VOICE.name}")
    started = time.perf_counter()
    # A drawn mask says where the face is: the demo needs no face detector.
    inputs = ["--image", str(PORTRAIT), "--mask", str(FACE), "--voice", str(VOICE), "--prompt", PROMPT]
    settings = [f"--{name}={getattr(options, name)}" for name in ("seed", "steps", "size")]
    status = hunyuan_av(["avatar", *inputs, *settings, "--out", str(out)])
    if status == 0:
        report(out, time.perf_counter() - started)
        print(f"\nOpen {out}.")
    return status


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make a portrait speak.")
    parser.add_argument("folder", nargs="?", type=Path, default=_pack.ROOT / "demo", metavar="FOLDER")
    parser.add_argument("--seed", type=int, default=0, help="which take (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="denoising steps (default: %(default)s)")
    parser.add_argument("--size", type=int, default=128, help="short side, in pixels (default: %(default)s)")
    return parser.parse_args()


def report(made: Path, seconds: float) -> None:
    """Print the figures of a video that was made."""
    spoken, rate = read_audio(VOICE)
    video = probe(made)
    print(
        Figure("seconds it took", format(seconds, ".1f")),
        Figure("picture", f"{video.width} x {video.height}"),
        Figure("frames", str(round(video.duration * video.frame_rate))),
        Figure("frames that the voice lasts", str(spoken.shape[1] * FPS // rate)),
        Figure("sound", "yes" if video.has_audio else "no"),
        sep="\n",
    )


if __name__ == "__main__":
    sys.exit(main())
