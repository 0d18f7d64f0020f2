"""`hunyuan_av desync`: how far apart the sound and the picture of a video are."""

import argparse
from pathlib import Path

import torch

from ..host.standalone.memory import Placement
from ..host.standalone.progress import progress
from ..hunyuan.foley.desync import desync_score
from ..hunyuan.foley.features import SyncStream
from ..hunyuan.foley.sync_audio import SAMPLE_RATE
from ..hunyuan.media.audio import resample, to_mono
from ..hunyuan.media.container import probe, read_frames
from ..hunyuan.media.files import read_audio
from ..model_loaders.foley import load_synchformer
from ..model_loaders.foley_folder import POCKET, find_synchformer
from .shared_options import add_device


def add_parser(commands) -> None:
    parser = commands.add_parser(
        "desync",
        help="how far apart sound and picture of a video are",
        description="The DeSync score of a video with at least 4.8 s of sound, in seconds.",
    )
    parser.add_argument("video", type=Path)
    parser.add_argument("--weights", type=Path, help="folder with Synchformer (default: the pocket one)")
    add_device(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    score, start, end = desync_of(options.video, options.weights, options.device)
    print(f"{options.video}: DeSync {score:.2f} s (start {start:+.1f} s, end {end:+.1f} s)")
    if options.weights is None:
        print("Measured with the pocket weights, which know rendered scenes alone: else it means little.")


def desync_of(
    video: Path, weights: Path | None = None, device: str | None = None
) -> tuple[float, float, float]:
    """The DeSync score of a video, and the offsets at its start and its end, all in seconds.

    weights: a folder with Synchformer, else the pocket one.
    """
    place = Placement.choose(device).device
    synchformer = load_synchformer(find_synchformer(weights or POCKET)).to(place)
    if synchformer.vfeat_extractor is None:
        raise ValueError("This Synchformer file has no visual branch. Use the complete published file.")

    info = probe(video)
    stream = SyncStream(synchformer.vfeat_extractor, None, float("inf"))
    frames = read_frames(video)
    for time, frame in progress(frames, round(info.duration * info.frame_rate), "Watching the video"):
        stream.see(time, frame)
    waveform, sample_rate = read_audio(video)
    sound = resample(to_mono(waveform), sample_rate, SAMPLE_RATE)

    with torch.inference_mode():
        offsets = synchformer.offsets(stream.finish().to(place), torch.as_tensor(sound).to(place))
    start, end = offsets[0].tolist()
    return float(desync_score(offsets)[0]), start, end
