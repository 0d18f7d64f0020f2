"""Writes what the shipped workflows start from: workflows/inputs, all of it rendered here.

python tools/make_samples.py
"""

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import _pack
from hunyuan_av.training.scenes import SAMPLE_RATE, Scene

FOLDER = _pack.ROOT / "workflows" / "inputs"
FRAME_RATE, SIZE, SECONDS = 24, 256, 4.0
SMOOTH = 4  # drawn so many times larger, then reduced

# Formants in Hz.
VOWELS = {"a": (730, 1090), "e": (530, 1840), "i": (270, 2290), "o": (570, 840), "u": (300, 870)}
VOICES = {"voice": ("aeioa", 130), "voice_low": ("ouaoe", 95), "voice_long": ("aeioauiaeo", 125)}
SYLLABLE = 0.24  # seconds
PAUSE = 0.06

Point = tuple[float, float]


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_clip(Scene.draw(7, kind="hammer", seconds=SECONDS), FOLDER / "hunyuan_av_hammer.mp4")
    for name, (vowels, pitch) in VOICES.items():
        write_voice(speech(vowels, pitch), FOLDER / f"hunyuan_av_{name}.flac")
    write_pictures()
    for path in sorted(FOLDER.iterdir()):
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")
    return 0


def write_clip(scene: Scene, path: Path) -> None:
    """H.264 and AAC, as most videos that users bring."""
    import av

    with av.open(str(path), "w") as container:
        careful = {"crf": "26", "preset": "veryslow"}
        picture = container.add_stream("libx264", rate=FRAME_RATE, options=careful)
        picture.width, picture.height, picture.pix_fmt = SIZE, SIZE, "yuv420p"
        sound = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono", bit_rate=64_000)

        for frame in scene.frames(fps=FRAME_RATE, size=SIZE):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(picture.encode())
        waveform = np.asarray(scene.waveform(), np.float32)[None]
        samples = av.AudioFrame.from_ndarray(waveform, format="fltp", layout="mono")
        samples.rate, samples.time_base, samples.pts = SAMPLE_RATE, Fraction(1, SAMPLE_RATE), 0
        container.mux(sound.encode(samples))
        container.mux(sound.encode())


def speech(vowels: str, pitch: float) -> np.ndarray:
    """Sung vowels with pauses between, (samples,) float32: a buzz through two resonances each."""
    parts = []
    for number, vowel in enumerate(vowels):
        time = np.arange(round(SYLLABLE * SAMPLE_RATE)) / SAMPLE_RATE
        tone = pitch * (1 + 0.06 * np.sin(2 * np.pi * 1.7 * (time + number)))
        phase = 2 * np.pi * np.cumsum(tone) / SAMPLE_RATE
        voiced = sum(
            sum(np.exp(-(((h * pitch - f) / 160) ** 2)) for f in VOWELS[vowel]) * np.sin(h * phase)
            for h in range(1, int(3500 / pitch))
        )
        swell = np.sin(np.pi * np.clip(time / SYLLABLE, 0, 1)) ** 0.6
        parts += [voiced * swell, np.zeros(round(PAUSE * SAMPLE_RATE))]
    waveform = np.concatenate(parts)
    return (0.4 * waveform / np.abs(waveform).max()).astype(np.float32)


def write_voice(waveform: np.ndarray, path: Path) -> None:
    import soundfile

    soundfile.write(path, waveform, SAMPLE_RATE, subtype="PCM_16")


def write_pictures() -> None:
    """Portraits, and for each who speaks a mask of the head: white where speech acts."""
    person, other = ("#f0b890", "#4a2f22", "#3b6e8f"), ("#d9976c", "#1d1a1a", "#8a4b5e")
    draw_people("portrait", (256, 256), [((128, 116), person)])
    draw_people("two_people", (384, 256), [((108, 120), person), ((276, 116), other)])
    canvas, pen = blank((256, 256))
    draw_cat(pen)
    save(canvas, "cat")
    save(head_mask((256, 256), (128, 140)), "cat_face")


def draw_people(name: str, size: tuple[int, int], people: list[tuple[Point, tuple[str, str, str]]]) -> None:
    canvas, pen = blank(size)
    for centre, colours in people:
        draw_person(pen, centre, *colours)
    save(canvas, name)
    for number, (centre, _) in enumerate(people, 1):
        save(head_mask(size, centre), f"{name}_face_{number}" if len(people) > 1 else f"{name}_face")


def blank(size: tuple[int, int]) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """A canvas that darkens downwards, and a pen for it."""
    height, width = SMOOTH * size[1], SMOOTH * size[0]
    shades = np.linspace((176, 196, 205), (112, 138, 150), height)[:, None].repeat(width, 1)
    canvas = Image.fromarray(shades.round().astype(np.uint8))
    return canvas, ImageDraw.Draw(canvas)


def oval(centre: Point, width: float, height: float) -> tuple[float, float, float, float]:
    x, y = (SMOOTH * value for value in centre)
    return x - SMOOTH * width / 2, y - SMOOTH * height / 2, x + SMOOTH * width / 2, y + SMOOTH * height / 2


def draw_person(pen: ImageDraw.ImageDraw, centre: Point, skin: str, hair: str, shirt: str) -> None:
    x, y = centre
    pen.ellipse(oval((x, y + 128), 170, 150), fill=shirt)
    pen.rounded_rectangle(oval((x, y + 56), 38, 60), SMOOTH * 14, fill=skin)
    pen.ellipse(oval((x, y - 14), 116, 124), fill=hair)
    pen.ellipse(oval((x, y), 92, 116), fill=skin)
    pen.chord(oval((x, y - 30), 104, 76), 180, 360, fill=hair)
    for side in (-1, 1):
        pen.ellipse(oval((x + 20 * side, y), 16, 10), fill="#ffffff")
        pen.ellipse(oval((x + 20 * side, y), 8, 9), fill="#2b2b33")
        brow = [(SMOOTH * (x + 11 * side), SMOOTH * (y - 12)), (SMOOTH * (x + 30 * side), SMOOTH * (y - 13))]
        pen.line(brow, fill=hair, width=SMOOTH * 3)
    pen.arc(oval((x, y + 14), 12, 14), 20, 160, fill="#b9805c", width=SMOOTH * 2)
    pen.ellipse(oval((x, y + 34), 28, 8), fill="#a8474a")


def draw_cat(pen: ImageDraw.ImageDraw) -> None:
    fur, dark = "#8b7d6b", "#5d5348"
    pen.ellipse(oval((128, 262), 190, 130), fill=fur)
    for side in (-1, 1):
        tip = [(128 + 70 * side, 44), (128 + 20 * side, 96), (128 + 66 * side, 120)]
        pen.polygon([(SMOOTH * x, SMOOTH * y) for x, y in tip], fill=dark)
    pen.ellipse(oval((128, 140), 140, 124), fill=fur)
    for side in (-1, 1):
        pen.ellipse(oval((128 + 30 * side, 130), 26, 24), fill="#d8d36a")
        pen.ellipse(oval((128 + 30 * side, 130), 8, 20), fill="#1c1c1c")
        for tilt in (-8, 0, 8):
            ends = [(128 + 22 * side, 160 + tilt / 3), (128 + 84 * side, 158 + tilt)]
            pen.line([(SMOOTH * x, SMOOTH * y) for x, y in ends], fill="#e8e2d6", width=SMOOTH)
    nose = [(120, 150), (136, 150), (128, 158)]
    pen.polygon([(SMOOTH * x, SMOOTH * y) for x, y in nose], fill="#c77b7b")
    pen.arc(oval((128, 166), 26, 16), 10, 170, fill=dark, width=SMOOTH * 2)


def head_mask(size: tuple[int, int], centre: Point) -> Image.Image:
    mask = Image.new("RGB", (SMOOTH * size[0], SMOOTH * size[1]))
    ImageDraw.Draw(mask).rounded_rectangle(oval(centre, 130, 160), SMOOTH * 24, fill="white")
    return mask


def save(canvas: Image.Image, name: str) -> None:
    small = canvas.resize((canvas.width // SMOOTH, canvas.height // SMOOTH), Image.Resampling.LANCZOS)
    small.save(FOLDER / f"hunyuan_av_{name}.png", optimize=True)


if __name__ == "__main__":
    sys.exit(main())
