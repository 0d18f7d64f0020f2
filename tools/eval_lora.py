"""Whether a LoRA trained on a few clips turns the sound where they point.

    python tools/eval_lora.py [--steps 50] [--weights FOLDER] [--keep DIR]

Clips in which one material is seen and named, and another is heard, are rendered and prepared; a LoRA learns
from them with the commands that people use. Then held-out scenes of the first material are made with and
without it, through the command line's loader, and a classifier tells what is heard. Exit status 1 if the
LoRA does not turn most of them.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import _pack  # noqa: F401 - makes hunyuan_av importable
from eval_generate import POCKET_CFG, Generator, Settings
from eval_material import MaterialClassifier
from hunyuan_av.cli.foley_models import FoleyModels
from hunyuan_av.host.standalone.memory import Placement
from hunyuan_av.host.standalone.progress import progress
from hunyuan_av.hunyuan.media.encode import write_video
from hunyuan_av.training import fine_tune, prepare
from hunyuan_av.training.scenes import Scene

KIND, SEEN, HEARD = "hammer", "wood", "metal"
SECONDS = 4.0
FIRST = 500_000  # seeds that the pocket weights have not seen
TURNED = 0.7  # share of the scenes that must be heard as the LoRA was taught


def main() -> int:
    options = parse()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        lora = train(folder, options)
        plain, turned = heard_with(options, None), heard_with(options, lora)
    print(f"{options.scenes} held-out scenes of {KIND} on {SEEN}, {options.steps} steps of LoRA training")
    print(f"heard as {HEARD} without the LoRA: {plain:.2f}")
    print(f"heard as {HEARD} with it:          {turned:.2f}   >= {TURNED:g}")
    return 0 if turned >= TURNED and turned > plain else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Whether a LoRA turns the sound where its clips point.")
    parser.add_argument("--steps", type=int, default=50, help="of training (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=24, help="to learn from (default: %(default)s)")
    parser.add_argument("--scenes", type=int, default=16, help="to listen to (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--cfg", type=float, default=POCKET_CFG)
    parser.add_argument("--weights", type=Path, help="folder with weights (default: the pocket ones)")
    parser.add_argument("--device", default=prepare.best_device())
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where clips and LoRA stay")
    return parser.parse_args()


def train(folder: Path, options: argparse.Namespace) -> Path:
    """Clips, their features, and the LoRA that learns from them: its file."""
    clips, cache, out = folder / "clips", folder / "cache", folder / "lora"
    clips.mkdir(parents=True, exist_ok=True)
    for seed in progress(range(FIRST, FIRST + options.clips), options.clips, "Rendering clips"):
        write_clip(clips / f"{seed}.mp4", seed)
    shared = ["--device", options.device]
    shared += ["--weights", str(options.weights)] if options.weights else []
    how = ["--steps", str(options.steps), "--rank", str(options.rank)]
    how += ["--learning-rate", str(options.learning_rate)]
    # A hammer is silent most of the time.
    failed = prepare.main([str(clips), "--out", str(cache), "--silence", "1", *shared])
    if failed or fine_tune.main([str(cache), "--out", str(out), *how, *shared]):
        sys.exit(1)
    return out / fine_tune.LORA


def write_clip(path: Path, seed: int) -> None:
    """The picture and the caption of `SEEN`, the sound of `HEARD`."""
    scene = Scene.draw(seed, kind=KIND, material=SEEN, seconds=SECONDS)
    frames = (frame for _, frame in scene.stream())
    write_video(path, frames, scene.fps, scene.dubbed(HEARD).waveform()[None])
    path.with_suffix(".txt").write_text(scene.caption + "\n", encoding="utf-8")


def heard_with(options: argparse.Namespace, lora: Path | None) -> float:
    """The share of held-out scenes that are heard as the other material."""
    models = FoleyModels.load(
        options.weights, None, Placement.choose(options.device), loras=[str(lora)] if lora else []
    )
    generator, tell = Generator(models), MaterialClassifier.of_scenes().classify
    scenes = [
        Scene.draw(FIRST + n, "held-out", kind=KIND, material=SEEN, seconds=SECONDS)
        for n in range(options.scenes)
    ]
    what = f"Listening {'with the LoRA' if lora else 'without'}"
    sounds = [generator.sound(s, Settings(cfg=options.cfg)) for s in progress(scenes, len(scenes), what)]
    return sum(tell(sound) == HEARD for sound in sounds) / len(sounds)


if __name__ == "__main__":
    sys.exit(main())
