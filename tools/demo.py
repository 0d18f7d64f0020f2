"""The demo: render a short clip, make its sound, and say where the result is.

python tools/demo.py [FOLDER]
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import _pack
from hunyuan_av.cli import main as hunyuan_av

SIZE = 240, 320  # pixels, height and width
FRAME_RATE = 24
SECONDS = 4
GRAVITY = 3.0  # picture heights per second squared
DROP = 0.6  # picture heights above the floor
FLOOR = 0.85
RADIUS = 0.07
PROMPT = "a rubber ball bouncing on a wooden floor"


def height(time: float) -> float:
    """Of a ball's lowest point above the floor, in picture heights: dropped, and bouncing without loss."""
    fall = (2 * DROP / GRAVITY) ** 0.5
    since_bounce = (time + fall) % (2 * fall)
    return DROP - GRAVITY / 2 * (since_bounce - fall) ** 2


def picture(time: float) -> np.ndarray:
    """One frame, (h, w, 3) uint8."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] / SIZE[0]
    frame = np.empty((*SIZE, 3), np.uint8)
    frame[:] = np.where(rows[..., None] < FLOOR, (60, 70, 90), (120, 85, 50))
    ball = (rows - (FLOOR - RADIUS - height(time))) ** 2 + (columns - SIZE[1] / SIZE[0] / 2) ** 2 < RADIUS**2
    frame[ball] = (220, 60, 40)
    return frame


def render(path: Path) -> None:
    """The clip, silent."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FRAME_RATE)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        for i in range(FRAME_RATE * SECONDS):
            frame = av.VideoFrame.from_ndarray(picture(i / FRAME_RATE), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def main() -> int:
    parser = argparse.ArgumentParser(description="Render a clip and make its sound.")
    parser.add_argument("folder", nargs="?", type=Path, default=_pack.ROOT / "demo", metavar="FOLDER")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    clip, out = folder / "ball.mp4", folder / "ball_with_sound.mp4"

    render(clip)
    status = hunyuan_av(
        ["foley", "--video", str(clip), "--prompt", PROMPT, "--out", str(out), "--steps", "25"]
    )
    if status == 0:
        print(f"\nOpen {out}")
        print("The pocket weights are untrained: what you hear is noise, made by the whole system.")
    return status


if __name__ == "__main__":
    sys.exit(main())
