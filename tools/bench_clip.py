"""A whole generation, by the clock: a video in, its sound out, all networks ready beforehand."""

import argparse
import contextlib
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

import _pack  # noqa: F401 - makes hunyuan_av importable
from bench_clock import Clock, forget_peak, measure, median, peak_bytes, times
from bench_models import FRAME_RATE, HEIGHT, WIDTH, moving_frames, small_networks
from bench_steps import Setting, foley_config
from hunyuan_av.cli import foley
from hunyuan_av.cli.foley_job import FoleyJob
from hunyuan_av.cli.foley_models import FoleyModels
from hunyuan_av.hunyuan.foley.compiled import compiled_blocks
from hunyuan_av.hunyuan.foley.features import encode_video
from hunyuan_av.hunyuan.foley.transformer import FoleyTransformer, run_block
from hunyuan_av.hunyuan.media.encode import write_video

MAKING = "Making the sound"  # as the command calls its steps
PROMPT = "rain on a tin roof, thunder far away"


class Clip:
    """What `hunyuan_av foley` does with a video, again and again."""

    def __init__(self, folder: Path, models: FoleyModels, arguments: argparse.Namespace) -> None:
        self.models, self.arguments = models, arguments
        self.seconds = arguments.seconds
        self.parts: list[tuple[float, float, float]] = []  # of each run: before, in and after the steps
        video = None if arguments.no_files else folder / "in.mp4"
        if video is not None:
            frames = (frame for _, frame in moving_frames(self.seconds))
            write_video(video, frames, FRAME_RATE, np.zeros((1, 1), np.float32))
        self.job = FoleyJob(
            out=folder / ("out.wav" if video is None else "out.mp4"), video=video, prompt=PROMPT,
            seconds=self.seconds, steps=arguments.steps or 50, takes=arguments.batch,
            device=str(models.placement.device),
        )  # fmt: skip

    def __call__(self) -> None:
        clock, start = Clock(), time.perf_counter()
        # What the command tells on the way is none of the report's lines.
        with contextlib.redirect_stdout(sys.stderr):
            if self.job.video is None:
                self._without_files(clock)
            else:
                list(foley.make(self.job, self.models, clock))
        steps, end = clock.noted[MAKING], time.perf_counter()
        self.parts.append((steps[0] - start, steps[-1] - steps[0], end - steps[-1]))

    def _without_files(self, clock: Clock) -> None:
        features = encode_video(
            moving_frames(self.seconds), self.models.visual_encoder, self.models.sync_encoder
        )
        list(foley.sounds(self.job, self.models, features, clock))


def clip_report(arguments: argparse.Namespace, setting: Setting) -> dict[str, object]:
    """Needs PyAV, without which there is `--no-files`: frames from memory, and the sound stays there."""
    placement = setting.placement
    with torch.inference_mode(), TemporaryDirectory() as folder:
        visual, sync, text, vae = (
            network.to(placement.device) for network in small_networks(setting.size, placement.device)
        )
        models = FoleyModels(
            transformer=setting.random(FoleyTransformer(foley_config(setting.size), device="meta")),
            visual_encoder=visual, sync_encoder=sync, text_encoder=text, audio_vae=vae,
            origin="random", fingerprint="random", placement=placement,
            run=compiled_blocks() if arguments.compile else run_block, graphs=arguments.graphs,
        )  # fmt: skip
        clip = Clip(Path(folder), models, arguments)
        forget_peak(placement.device)
        first, rest = measure(clip, placement.device, arguments.repeats)
    before, steps, after = (median(part) for part in zip(*clip.parts[1:], strict=True))
    return {
        "video": f"{WIDTH} x {HEIGHT}, {FRAME_RATE} fps", "steps": clip.job.steps,
        "files": "none: frames from memory" if arguments.no_files else "mp4 to mp4",
        "compiled": arguments.compile, "graphs": arguments.graphs,
        **times("", first, rest, placement.device),
        "watching, prompts s": before, "steps s": steps, "decoding, writing s": after,
        "peak GB": peak_bytes(placement.device) / 1e9,
    }  # fmt: skip
