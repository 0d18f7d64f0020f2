"""Videos with sound and captions, cut, chosen and encoded once, for fine-tuning.

    python -m hunyuan_av.training.prepare CLIPS --out CACHE [--weights FOLDER] [--longest 8] [--snr 2] ...

CLIPS is a folder, where `door.mp4` has its caption in `door.txt`, or a CSV file with the columns `video`
(relative to the file) and `caption`. Every shot is cut into chunks; each chunk that passes the filters
becomes a safetensors file of features and latents. What was dropped, and why, is printed and written to
`report.json`. What is there already is not encoded again.
"""

import argparse
import csv
import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..hunyuan.foley.audio_vae import AudioVAE
from ..hunyuan.foley.features import encode_video
from ..hunyuan.foley.sync_encoder import SyncEncoder
from ..hunyuan.foley.text_encoder import NEGATIVE_PROMPT, TextEncoder, high_quality
from ..hunyuan.foley.timing import SAMPLE_RATE
from ..hunyuan.foley.visual_encoder import VisualEncoder
from ..hunyuan.media.audio import fit_length, resample, to_mono
from ..hunyuan.media.container import probe, read_frames
from ..hunyuan.media.files import digest, read_audio, replacing
from ..hunyuan.media.shots import find_cuts
from ..model_loaders.encoders import load_text_encoder, load_visual_encoder
from ..model_loaders.foley import load_audio_vae, load_sync_encoder
from ..model_loaders.foley_folder import POCKET
from ..model_loaders.inventory import Inventory, fingerprint
from ..model_loaders.kinds import AUDIO_VAE, CLAP, SIGLIP, SYNCHFORMER
from .filters import Filters
from .towers import padded

logger = logging.getLogger(__name__)

VIDEOS = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"}
REPORT, UNPROMPTED = "report.json", "unprompted.safetensors"
TOO_SHORT = "the shot ends before {:g} s"


@dataclass(frozen=True)
class Clip:
    """A video with sound, and what it sounds like in words."""

    video: Path
    caption: str
    name: str  # of the video, in its folder or table


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A part of a clip, in seconds."""

    clip: Clip
    start: float
    seconds: float

    @property
    def name(self) -> str:
        return f"{self.clip.name} from {self.start:.2f} s"


@dataclass
class Report:
    """What became of the clips. kept: by chunk, its file. dropped: by chunk or video, the reason."""

    kept: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)

    def drop(self, what: str, reason: str) -> None:
        logger.info("Dropped %s: %s.", what, reason)
        self.dropped[what] = reason


@dataclass(frozen=True, kw_only=True)
class Encoders:
    """The networks that come before the transformer, in eval mode, on one device."""

    visual: VisualEncoder
    sync: SyncEncoder
    text: TextEncoder
    vae: AudioVAE
    device: str
    fingerprint: str  # changes when the files do

    @classmethod
    def load(cls, folder: Path, device: str) -> "Encoders":
        """Whatever transformers the folder holds. Raises: as `Inventory.only` and the loaders."""
        inventory = Inventory(folder)
        visual, sync, text, vae = files = [inventory.only(k) for k in (SIGLIP, SYNCHFORMER, CLAP, AUDIO_VAE)]
        return cls(
            visual=load_visual_encoder(visual).to(device),
            sync=load_sync_encoder(sync).to(device),
            text=load_text_encoder(text).to(device),
            vae=load_audio_vae(vae, "both").to(device),
            device=device,
            fingerprint=fingerprint(files),
        )

    @torch.no_grad()
    def states(self, prompt: str) -> tuple[Tensor, int]:
        """The prompt's states, padded to all that are heard, and how many are its own."""
        ids, mask = padded(self.text.tokenizer, [prompt], full=True)
        return self.text(ids.to(self.device), mask.to(self.device))[0].cpu(), int(mask.sum())

    @torch.no_grad()
    def latents(self, waveform: np.ndarray) -> Tensor:
        """(samples,) at 48 kHz to (c, n)."""
        sound = torch.from_numpy(waveform).to(self.device)[None, None]
        return self.vae.encode(sound).mode[0].cpu()


def read_clips(source: Path) -> Iterator[Clip]:
    """Raises: FileNotFoundError if there is nothing; ValueError for a table without columns or caption."""
    if source.is_dir():
        yield from clips_of_folder(source)
    elif source.is_file():
        yield from clips_of_table(source)
    else:
        raise FileNotFoundError(f"There is neither a folder nor a table {source}.")


def clips_of_folder(folder: Path) -> Iterator[Clip]:
    videos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEOS)
    if not videos:
        raise FileNotFoundError(f"No video in {folder}. Videos end in {', '.join(sorted(VIDEOS))}.")
    for video in videos:
        caption = video.with_suffix(".txt")
        if not caption.is_file():
            raise FileNotFoundError(f"{video.name} has no caption. Write it into {caption.name} beside it.")
        yield Clip(video, caption.read_text("utf-8").strip(), video.relative_to(folder).as_posix())


def clips_of_table(table: Path) -> Iterator[Clip]:
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        missing = {"video", "caption"} - set(rows.fieldnames or [])
        if missing:
            raise ValueError(f"{table.name} has no column {' or '.join(sorted(missing))} in its first line.")
        seen = set()
        for row in rows:
            if not (row["video"] and row["caption"]):
                raise ValueError(f"{table.name}, line {rows.line_num}: video or caption is empty.")
            name = row["video"]
            if name in seen:  # one of the captions would be lost
                raise ValueError(f"{table.name}, line {rows.line_num}: {name} is there a second time.")
            seen.add(name)
            yield Clip(table.parent / name, row["caption"].strip(), name)


def prepare(clips: Iterable[Clip], encoders: Encoders, folder: Path, filters: Filters) -> Report:
    """Encode what passes the filters into `folder`. Returns what was kept and what was dropped, and why.

    A video that cannot be read is dropped with the reason, and the others go on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_unprompted(folder, encoders)
    report = Report()
    for clip in clips:
        try:
            prepare_clip(clip, encoders, folder, filters, report)
        except (ValueError, OSError) as error:
            report.drop(clip.name, str(error))
    (folder / REPORT).write_text(json.dumps(asdict(report), indent=1) + "\n")
    return report


def prepare_clip(clip: Clip, encoders: Encoders, folder: Path, filters: Filters, report: Report) -> None:
    info = probe(clip.video)
    if not info.has_audio:
        report.drop(clip.name, "no audio stream")
        return
    waveform, rate = read_audio(clip.video)
    if reason := filters.of_file(rate):
        report.drop(clip.name, reason)
        return

    stem = f"{clip.video.stem}-{digest(clip.video)[:8]}"
    for chunk in chunks_of(clip, info.end_time, filters):
        if chunk.seconds < filters.shortest:
            report.drop(chunk.name, TOO_SHORT.format(filters.shortest))
            continue
        sound = part_of(waveform, rate, chunk)
        if reason := filters.of_chunk(sound, rate):
            report.drop(chunk.name, reason)
            continue
        path = folder / f"{stem}-{round(1000 * chunk.start):08d}.safetensors"
        if not (path.is_file() and origin(chunk, encoders).items() <= metadata_of(path).items()):
            encode_chunk(chunk, sound, rate, encoders, path, filters)
        report.kept[chunk.name] = path.name


def chunks_of(clip: Clip, end: float, filters: Filters) -> Iterator[Chunk]:
    """Every shot from its beginning on in pieces of the longest length; the last one is what is left."""
    borders = [0.0, *find_cuts(read_frames(clip.video)), end]
    for shot, shot_end in pairwise(borders):
        start = shot
        while start < shot_end - 1e-3:
            seconds = min(filters.longest, shot_end - start)
            yield Chunk(clip=clip, start=start, seconds=seconds)
            start += seconds


def part_of(waveform: np.ndarray, rate: int, chunk: Chunk) -> np.ndarray:
    first = round(chunk.start * rate)
    return fit_length(waveform[:, first:], round(chunk.seconds * rate))


def encode_chunk(
    chunk: Chunk, sound: np.ndarray, rate: int, encoders: Encoders, path: Path, filters: Filters
) -> None:
    """Features, latents and states of one chunk, into a file that appears complete or not at all."""
    frames = read_frames(chunk.clip.video, chunk.start, chunk.seconds)
    features = encode_video(frames, encoders.visual, encoders.sync)
    samples = features.timing.samples
    mono = fit_length(resample(to_mono(sound), rate, SAMPLE_RATE), samples)[0]
    is_full_band = filters.is_full_band(sound, rate)
    caption = high_quality(chunk.clip.caption) if is_full_band else chunk.clip.caption
    states, heard = encoders.states(caption)
    tensors = {
        "visual": features.visual[0], "sync": features.sync[0], "latents": encoders.latents(mono),
        "text": states, "text_length": torch.tensor(heard),
    }  # fmt: skip
    save(path, tensors, {**origin(chunk, encoders), "prompt": caption})


def origin(chunk: Chunk, encoders: Encoders) -> dict[str, str]:
    """What a chunk's file depends on besides the video, whose content its name knows."""
    return {
        "caption": chunk.clip.caption, "seconds": f"{chunk.seconds:.3f}", "encoders": encoders.fingerprint,
    }  # fmt: skip


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def save_unprompted(folder: Path, encoders: Encoders) -> None:
    """States of what stands in for a prompt that is left out."""
    empty, empty_length = encoders.states("")
    negative, negative_length = encoders.states(NEGATIVE_PROMPT)
    tensors = {
        "text": torch.stack([empty, negative]),
        "text_length": torch.tensor([empty_length, negative_length]),
    }
    save(folder / UNPROMPTED, tensors, {})


def save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    with replacing(path) as part:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part, metadata)


def best_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def main(given: Sequence[str] | None = None) -> int:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("clips", type=Path, metavar="CLIPS")
    parser.add_argument("--out", type=Path, required=True, metavar="CACHE")
    parser.add_argument("--weights", type=Path, default=POCKET, help="folder of the published weights")
    parser.add_argument("--device", default=best_device())
    for limit in fields(Filters):
        option = f"--{limit.name.replace('_', '-')}"
        parser.add_argument(option, type=type(limit.default), default=limit.default)
    args = parser.parse_args(given)
    try:
        filters = Filters(**{limit.name: getattr(args, limit.name) for limit in fields(Filters)})
        clips = list(read_clips(args.clips))
        report = prepare(clips, Encoders.load(args.weights, args.device), args.out, filters)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for what, reason in report.dropped.items():
        print(f"dropped {what}: {reason}")
    print(f"{len(report.kept)} chunks kept, {len(report.dropped)} dropped; see {args.out / REPORT}")
    return 0 if report.kept else 1


if __name__ == "__main__":
    sys.exit(main())
