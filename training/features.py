"""What the transformer learns from, computed once: the encoders' features in memory-mapped safetensors.

    python -m hunyuan_av.training.features --out DIR --clips N [--first SEED] [--split train]
        [--runs RUNS --rendered CLIPS]

A clip whose things are struck is cached twice: as it is, and dubbed, with the sounds and the words of another
material than the one it shows. Without the second the picture would tell all there is to know, and nothing
would teach the transformer to follow the prompt where both disagree.

Axes: n clips, t frames, d channels, l latents.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..hunyuan.foley.sync_encoder import SyncEncoder, segments_of
from ..hunyuan.foley.text_encoder import NEGATIVE_PROMPT, TextEncoder, high_quality
from ..hunyuan.foley.timing import (
    LATENT_RATE,
    SEGMENT_STEP,
    SYNC_RATE,
    TOKENS_PER_SEGMENT,
    VISUAL_RATE,
    FoleyTiming,
)
from ..hunyuan.foley.visual_encoder import VisualEncoder
from ..hunyuan.media.files import replacing
from ..hunyuan.media.video import FramePicker, normalise, normalise_crops
from ..model_loaders.foley_folder import POCKET
from . import audio_teacher, audio_vae, prepare, synchformer, towers
from .audio_teacher import FrameEncoder
from .audio_vae import OutlineLearner
from .clips import Clips, draw_int, picked_frames
from .clock import LATENTS_PER_SEGMENT
from .loop import Batch
from .objective import draw_dropped
from .scenes import MATERIALS, Scene
from .scenes.scene import Split
from .spectra import log_mel
from .synchformer import shrink

PER_SHARD = 20

TOKENS, TOKENS_ON_A_CPU = 16_000, 3600  # audio tokens in a batch
# A clip is what the longest window shows; every other one begins in the middle of its scene, as the later
# windows of a film do. The scene goes on after it, as a later frame may be picked for the end.
SECONDS, LATER, GOES_ON = 10.0, 8.0, 0.1
FRAMES = FoleyTiming(SECONDS).sync_frames
HEARD_BEFORE = 1.0  # seconds of such a clip's scene: what rings on into it
# Frames at 25 fps in a window: those of a film, and of videos of 10 s; else of videos of 8 s, or of other
# lengths in seconds. As few kinds as will do: each is recorded by itself where steps are.
LONG, SHARE_LONG = (248, 248, 249, 250), 0.45
USUAL, SHARE_USUAL = 8.0, 0.3
OTHERS = 2.0, 3.0, 4.0, 5.0, 5.5, 6.0, 7.0, 9.0
# Of the videos: their last frame begins after the last time that is looked at, as at 24 and 25 frames a
# second. That may be one segment less, spread over nearly as many latents.
SHARE_LACKING = 0.5
DUBBED = 0.4  # of the rows
HIGH_QUALITY = 0.2  # of the prompts bear its mark
EMPTY = ""
TEXT_STEP = 16  # tokens; prompts are padded to multiples of it


@dataclass(frozen=True, kw_only=True)
class Encoders:
    """The networks that come before the transformer, in eval mode, on one device."""

    sound: OutlineLearner
    sync: SyncEncoder
    visual: VisualEncoder
    text: TextEncoder
    teacher: FrameEncoder | None

    @classmethod
    def trained(cls, runs: Path, clips: Clips, device: str = "cpu") -> "Encoders":
        """What the runs in `runs` have reached; the clips are those whose latents give the VAE its scale."""
        visual, text = towers.trained(runs / "towers")
        sync = synchformer.trained(runs / "synchformer").vfeat_extractor
        assert sync is not None
        return cls(
            sound=audio_vae.trained(runs / "audio_vae", clips).to(device),
            sync=sync.to(device),
            visual=visual.to(device),
            text=text.to(device),
            teacher=audio_teacher.trained(runs / "audio_teacher").to(device),
        )

    @classmethod
    def shipped(cls, device: str = "cpu") -> "Encoders":
        """Those that come with the pack, among which is no teacher: to go on from there.

        The encoder that wrote the first latents is not shipped; its pupil, which is, writes those beside the
        outline.
        """
        pack = prepare.Encoders.load(POCKET, device)
        return cls(
            sound=OutlineLearner(pack.vae), sync=pack.sync, visual=pack.visual, text=pack.text, teacher=None
        )

    @property
    def device(self) -> torch.device:
        return next(self.sound.parameters()).device

    @torch.no_grad()
    def of_picture(self, frames: Tensor) -> Batch:
        """frames: (t, 3, h, w) uint8 at 25 fps. Returns "visual" (t, d), for every frame; "sync" (8 s, d)."""
        small = shrink(frames, self.sync.image_size)  # before the device: bytes are resized on CPUs alone
        return {
            "visual": self.visual(normalise(frames.to(self.device))),
            "sync": self.sync(segments_of(normalise_crops(small.to(self.device)))[None])[0],
        }

    @torch.no_grad()
    def of_sound(self, waveform: np.ndarray) -> Batch:
        """waveform: (samples,) at 48 kHz. Returns "latents" (c, l) and "teacher" (l, d), d 0 without one."""
        sound = torch.from_numpy(waveform).to(self.device)[None]
        latents = self.sound.latents(sound)[0]
        heard = (
            self.teacher(log_mel(sound))[0]
            if self.teacher is not None
            else latents.new_zeros(latents.shape[1], 0)
        )
        return {"latents": latents, "teacher": heard}


def dub(scene: Scene, seed: int) -> Scene:
    """The scene with another material's sounds; itself if nothing else could be struck there."""
    kinds = {kind for kind, _ in scene.sources}
    others = [m for m in MATERIALS[scene.kind] if m != scene.material] if len(kinds) == 1 else []
    return scene.dubbed(others[seed % len(others)]) if others else scene


def build(
    folder: Path, encoders: Encoders, split: Split, first: int, count: int, parts: Sequence[str]
) -> None:
    """Write what is missing of the shards of seeds first .. first + count - 1, a file for each of `PARTS`."""
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(first, first + count, PER_SHARD):
        seeds = range(start, min(start + PER_SHARD, first + count))
        for part in parts:
            path = folder / f"{split}-{start:06d}-{part}.safetensors"
            if not path.exists():
                tensors, metadata = PARTS[part](encoders, split, seeds)
                with replacing(path) as unfinished:
                    save_file(tensors, unfinished, metadata)


@dataclass(frozen=True)
class Excerpt:
    """`SECONDS` of a scene, from `start` seconds on: what is cached, and windows are taken of."""

    scene: Scene
    start: float

    @classmethod
    def draw(cls, seed: int, split: Split) -> "Excerpt":
        start = LATER if seed % 2 else 0.0
        return cls(Scene.draw(seed, split, seconds=start + SECONDS + GOES_ON), start)

    def dubbed(self, seed: int) -> "Excerpt":
        return Excerpt(dub(self.scene, seed // 2), self.start)  # the other half of it chose the start

    def picture(self) -> Tensor:
        """(t, 3, h, w) uint8, at 25 fps."""
        return torch.stack(list(picked_frames(self.scene, self.start, SECONDS)))

    def sound(self, encoders: Encoders) -> Batch:
        """As `Encoders.of_sound` gives it, with what was heard before taken into account."""
        before = min(HEARD_BEFORE, self.start)
        features = encoders.of_sound(self.scene.waveform(self.start - before, before + SECONDS))
        skipped = round(before * LATENT_RATE)
        return {"latents": features["latents"][:, skipped:], "teacher": features["teacher"][skipped:]}


def pictures(encoders: Encoders, split: Split, seeds: range) -> tuple[Batch, dict[str, str]]:
    """Features of the pictures, stacked, in float16."""
    return stacked([encoders.of_picture(Excerpt.draw(seed, split).picture()) for seed in seeds]), {}


def sounds(encoders: Encoders, split: Split, seeds: range) -> tuple[Batch, dict[str, str]]:
    """Features of the sounds, each as it is and dubbed, stacked, in float16; and the captions of both."""
    rows, captions = [], []
    for seed in seeds:
        excerpt = Excerpt.draw(seed, split)
        versions = excerpt, excerpt.dubbed(seed)
        rows.append(stacked([version.sound(encoders) for version in versions]))
        captions.append([version.scene.caption for version in versions])
    return stacked(rows), {"captions": json.dumps(captions)}


def stacked(rows: list[Batch]) -> Batch:
    return {name: torch.stack([row[name] for row in rows]).half().cpu() for name in rows[0]}


PARTS = {"pictures": pictures, "sounds": sounds}


class Features:
    """What `build` wrote, in windows as the sampler would see clips of their length."""

    def __init__(
        self,
        folder: Path,
        text: TextEncoder,
        split: Split = "train",
        *,
        device: str = "cpu",
        tokens: int | None = None,
    ) -> None:
        """text: encodes the captions, each once. device: where all of it lies.

        tokens: in a batch; by default `TOKENS`, on a CPU `TOKENS_ON_A_CPU`.
        Raises: FileNotFoundError if nothing was built there; ValueError if that was for other windows.
        """
        shards, self.captions, self.seeds = [], [], []
        self.split: Split = split
        self.tokens = tokens or (TOKENS_ON_A_CPU if torch.device(device).type == "cpu" else TOKENS)
        for path in sorted(folder.glob(f"{split}-*-pictures.safetensors")):
            files = [safe_open(str(path).replace("pictures", part), framework="pt") for part in PARTS]
            shards.append({name: file.get_tensor(name) for file in files for name in file.keys()})  # noqa: SIM118
            captions = json.loads(files[-1].metadata()["captions"])
            first = int(path.stem.split("-")[-2])
            self.captions += captions
            self.seeds += range(first, first + len(captions))
        if not shards:
            raise FileNotFoundError(
                f"No {split} features in {folder}. Build some with hunyuan_av.training.features."
            )
        self.tables = {name: torch.cat([shard[name] for shard in shards]).to(device) for name in shards[0]}
        frames = self.tables["visual"].shape[1]
        if frames != FRAMES:
            raise ValueError(
                f"The features in {folder} are of clips of {frames} frames, not {FRAMES}: they were built by"
                " another version. Build them anew, in another folder."
            )
        self.teacher_centre = self.tables["teacher"].mean((0, 1, 2), dtype=torch.float32)
        self.prompts, self.heard, self.states = self._encoded(text)

    def __len__(self) -> int:
        return len(self.tables["visual"])

    @property
    def device(self) -> torch.device:
        return self.tables["visual"].device

    def deviations(self) -> Tensor:
        """Of each latent channel, over everything: (c,)."""
        return rearrange(self.tables["latents"][:, 0].float(), "n c l -> c (n l)").std(1).cpu()

    def whole(self, clip: int) -> Batch:
        """A clip as it is: "sync" (8 s, d) and "latents" (c, l)."""
        return {"sync": self.tables["sync"][clip].float(), "latents": self.tables["latents"][clip, 0].float()}

    def some_sync(self, clips: int = 60) -> Tensor:
        """(n, d): sync features of the first clips."""
        return self.tables["sync"][:clips].flatten(0, 1).float().cpu()

    @torch.no_grad()
    def _encoded(self, text: TextEncoder) -> tuple[dict[str, int], list[int], Tensor]:
        """The number of each prompt; by number, how many states are its own; and all states (p, n, d).

        A state at padding does not depend on how much of it there is, so a cut is what shorter padding gives.
        """
        plain = {caption for pair in self.captions for caption in pair} | {EMPTY, NEGATIVE_PROMPT}
        prompts = sorted(plain | {high_quality(prompt) for prompt in plain})
        device = next(text.parameters()).device
        states, heard = [], []
        for prompt in prompts:
            ids, mask = towers.padded(text.tokenizer, [prompt], full=True)  # type: ignore[arg-type]
            states.append(text(ids.to(device), mask.to(device))[0].to(self.device))
            heard.append(int(mask.sum()))
        return {prompt: number for number, prompt in enumerate(prompts)}, heard, torch.stack(states)

    def draw(self, generator: torch.Generator) -> Batch:
        """A batch of windows of one length, with conditions left out and clips dubbed by chance."""
        frames, places = draw_window(generator)
        rows = max(2, self.tokens // FoleyTiming.from_sync_frames(frames).latent_frames)
        clips = [draw_int(generator, len(self)) for _ in range(rows)]
        starts = [draw_int(generator, places) for _ in range(rows)]
        no_text, no_video = draw_dropped(rows, generator)
        # Nothing but the prompt could tell that a clip is dubbed.
        dubs = ((torch.rand(rows, generator=generator) < DUBBED) & ~no_text).long().tolist()
        batch = self.windows(clips, dubs, starts, frames)
        prompts = [
            self._prompt(*asked, generator) for asked in zip(clips, dubs, no_text.tolist(), strict=True)
        ]
        return batch | {"text": self.text(prompts), "drop_video": no_video}

    def _prompt(self, clip: int, dubbed: int, dropped: bool, generator: torch.Generator) -> str:
        if dropped:
            return (EMPTY, NEGATIVE_PROMPT)[draw_int(generator, 2)]
        caption = self.captions[clip][dubbed]
        return high_quality(caption) if torch.rand((), generator=generator) < HIGH_QUALITY else caption

    def windows(self, clips: list[int], dubs: list[int], starts: list[int], frames: int) -> Batch:
        """A row for each clip, as long as `frames` at 25 fps. It begins with segment `starts` of the clip."""
        timing = FoleyTiming.from_sync_frames(frames)
        columns = (torch.tensor(numbers, device=self.device)[:, None] for numbers in (clips, dubs, starts))
        clip, dub, start = columns

        def places(step: int, offsets: Tensor) -> Tensor:
            """Where things lie, `step` to a segment."""
            return start * step + offsets.to(self.device)

        latents = places(LATENTS_PER_SEGMENT, torch.arange(timing.latent_frames))
        tokens = places(TOKENS_PER_SEGMENT, torch.arange(timing.sync_tokens))
        shown = places(SEGMENT_STEP, picks_at_8_fps(frames))
        return {
            "visual": self.tables["visual"][clip, shown].float(),
            "sync": self.tables["sync"][clip, tokens].float(),
            "latents": self.tables["latents"][clip, dub, :, latents].float().mT,
            "teacher": self.tables["teacher"][clip, dub, latents].float() - self.teacher_centre,
        }

    def text(self, prompts: list[str]) -> Tensor:
        """States of the prompts, padded to the longest of them and to a length that is common: (b, l, d)."""
        numbers = [self.prompts[prompt] for prompt in prompts]
        longest = max(self.heard[number] for number in numbers)
        return self.states[numbers, : -(-longest // TEXT_STEP) * TEXT_STEP]


def draw_window(generator: torch.Generator) -> tuple[int, int]:
    """How many frames at 25 fps are shown, and at how many segments of a clip that may begin."""
    kind, lacking = torch.rand(2, generator=generator).tolist()
    if kind < SHARE_LONG:
        frames = LONG[draw_int(generator, len(LONG))]
    else:
        usual = kind < SHARE_LONG + SHARE_USUAL
        seconds = USUAL if usual else OTHERS[draw_int(generator, len(OTHERS))]
        frames = FoleyTiming(seconds).sync_frames - (lacking < SHARE_LACKING)
    return frames, (FRAMES - frames) // SEGMENT_STEP + 1


def picks_at_8_fps(frames: int) -> Tensor:
    """Which of so many frames at 25 fps the visual encoder is shown."""
    picker = FramePicker(VISUAL_RATE, frames / SYNC_RATE)
    return torch.tensor([i for i in range(frames) for _ in range(picker.take(i / SYNC_RATE))])


def main() -> None:
    parser = argparse.ArgumentParser(description="Encode scenes for the transformer's training.")
    parser.add_argument("--runs", type=Path, help="folder of the encoders' runs (default: those shipped)")
    parser.add_argument("--rendered", type=Path, help="folder of rendered clips, with --runs")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=800)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--split", choices=("train", "held-out"), default="train")
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=tuple(PARTS))
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    if bool(args.runs) != bool(args.rendered):
        parser.error("--runs and --rendered go together")
    encoders = (
        Encoders.trained(args.runs, Clips(args.rendered), args.device)
        if args.runs
        else Encoders.shipped(args.device)
    )
    build(args.out, encoders, args.split, args.first, args.clips, args.parts)


if __name__ == "__main__":
    main()
