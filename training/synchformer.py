"""The pocket Synchformer: what happens when in a picture, and how far its sound is off (arXiv:2401.16423).

    python -m hunyuan_av.training.synchformer --out DIR --clips CLIPS [--steps N] [--seed S] [--device D]

First both branches learn on single segments: their features must find each other in the batch, and each
visual token must foretell the sound around the time at which the transformer will read it. Then, on features
that stay as they are, the offset transformer learns to name the shift between picture and sound.

Axes: b batch, s segments, n tokens, d channels, t frames (25 a second for pictures, 50 for sound).
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..hunyuan.foley.desync import (
    AUDIO_TOKENS,
    CROP_SEGMENTS,
    NUM_OFFSETS,
    VISUAL_TOKENS,
    Synchformer,
    SynchformerConfig,
)
from ..hunyuan.foley.sync_audio import COLUMNS, SEGMENT_SAMPLES
from ..hunyuan.foley.sync_encoder import IMAGE_CHANNELS, SyncEncoderConfig, segments_of
from ..hunyuan.foley.timing import SEGMENT_FRAMES, SEGMENT_STEP, SYNC_RATE, TOKENS_PER_SEGMENT
from ..hunyuan.media.video import normalise_crops
from . import outline
from .clips import CLIP_FRAMES, SAMPLES_PER_FRAME, Clips, draw_int
from .initial import initialise
from .loop import Batch, Plan, Training, command, has_run, trained_weights
from .spectra import to_16k

WIDTH, HEADS = 64, 4
IMAGE_SIZE = 64  # pixels: 16 patches show all that moves in a scene
CONFIG = SynchformerConfig(
    hidden_size=WIDTH,
    visual=SyncEncoderConfig(
        hidden_size=WIDTH, depth=2, num_heads=HEADS, image_size=IMAGE_SIZE, mlp_ratio=2.0
    ),
    audio_depth=2, audio_heads=HEADS, audio_mlp_size=2 * WIDTH,
    depth=2, num_heads=HEADS, mlp_size=2 * WIDTH,
)  # fmt: skip
PLAN = Plan(steps=1800, learning_rate=1e-3, matrix_rate=0.02, average=0.99, mixed=False)
OFFSET_PLAN = Plan(steps=1000, learning_rate=1e-3, matrix_rate=0.01, mixed=False)

CLIPS_PER_BATCH, SEGMENTS_PER_CLIP = 16, 3
# Frames of sound, before and from its own on, that a token foretells: around the time that it shows, and
# around the time at which the transformer will read it, which passes half as fast and drifts.
OWN, HEARD = (4, 8), (4, 22)
OWN_STEP, HEARD_STEP = 4, 2  # frames from one token to the next
BEFORE = 4
COURSE = BEFORE + HEARD_STEP * (TOKENS_PER_SEGMENT - 1) + HEARD[1]  # frames that are foretold in all
MOTION_GAIN = 4.0  # little of a picture moves
POSITION_GAIN = 3.0  # of the first position tables
TEMPERATURE = 0.1
CONTRAST_WEIGHT = 0.1
OFFSET_BATCH = 32
LOG_FREQUENCIES = -1.3, 0.7  # powers of ten, in Hz: from a wave of 20 s to one of 0.2 s
OFFSET_FRAMES = 5  # 0.2 s: from one class of offset to the next


class PatchConv3d(nn.Conv3d):
    """A convolution whose kernels do not overlap, as one matrix product: much faster on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        frames, height, width = self.kernel_size
        shape = {"dt": frames, "dh": height, "dw": width}
        patches = rearrange(input, "b c (t dt) (h dh) (w dw) -> b t h w (c dt dh dw)", **shape)
        return rearrange(F.linear(patches, self.weight.flatten(1), self.bias), "b t h w d -> b d t h w")


# The layers that Synchformer is made of while it is trained.
LAYERS: Any = SimpleNamespace(Linear=nn.Linear, LayerNorm=nn.LayerNorm, Conv2d=nn.Conv2d, Conv3d=PatchConv3d)


class SegmentLearner(nn.Module):
    """Synchformer and the head that foretells sound, which is thrown away."""

    def __init__(self, config: SynchformerConfig) -> None:
        super().__init__()
        self.synchformer = Synchformer(config, operations=LAYERS)
        self.own = Outlook(config.hidden_size, sum(OWN))
        self.heard = Outlook(config.hidden_size, sum(HEARD))


class Outlook(nn.Sequential):
    """A token's features to the course of the sound over so many frames."""

    def __init__(self, size: int, frames: int) -> None:
        width = frames * outline.CHANNELS
        super().__init__(nn.LayerNorm(size), nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, width))


def new_learner(config: SynchformerConfig, seed: int) -> SegmentLearner:
    """First weights that soon find motion: half of the filters see what changes between two frames."""
    learner = initialise(SegmentLearner(config), seed, zero=())
    encoder: Any = learner.synchformer.vfeat_extractor
    with torch.no_grad():
        filters = encoder.patch_embed_3d.proj.weight  # (d, c, 2, h, w)
        moving = filters[: len(filters) // 2]
        shapes = coarse_shapes(len(moving), filters.shape[-1])[:, None]
        moving[:, :, 0], moving[:, :, 1] = -MOTION_GAIN * shapes, MOTION_GAIN * shapes
        for table in (encoder.pos_embed, encoder.temp_embed):
            table.mul_(POSITION_GAIN)
    return learner


def coarse_shapes(count: int, size: int) -> Tensor:
    """Cosines of lowest frequency over a patch, the constant first: (count, size, size), of unit energy."""
    waves = torch.arange(size) * torch.pi / size
    cosines = torch.cos(torch.outer(torch.arange(size), waves + waves[1] / 2))  # (frequency, place)
    order = sorted(((u, v) for u in range(size) for v in range(size)), key=lambda uv: (uv[0] + uv[1], uv))
    shapes = torch.stack([torch.outer(cosines[u], cosines[v]) for u, v in order[:count]])
    return shapes / shapes.flatten(1).norm(dim=1)[:, None, None] / IMAGE_CHANNELS**0.5


def around_tokens(course: Tensor, frames: int, step: int) -> Tensor:
    """What each token of a segment is to foretell.

    course: (b, t, c), beginning BEFORE frames ahead of the segment. Returns (b, 8, frames * c).
    """
    stretches = course.unfold(1, frames, step)[:, :TOKENS_PER_SEGMENT]
    return rearrange(stretches, "b n c t -> b n (t c)")


def objective(learner: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
    """batch: "frames" (b, 16, 3, h, w) uint8; "sound" (b, 10240) at 16 kHz; "course", (b, t, 9)."""
    assert isinstance(learner, SegmentLearner)
    synchformer = learner.synchformer
    assert synchformer.vfeat_extractor is not None
    visual = synchformer.vfeat_extractor(normalise_crops(batch["frames"])[:, None])
    own = F.mse_loss(learner.own(visual).float(), around_tokens(batch["course"], sum(OWN), OWN_STEP))
    heard = F.mse_loss(learner.heard(visual).float(), around_tokens(batch["course"], sum(HEARD), HEARD_STEP))

    audio = synchformer.afeat_extractor(batch["sound"], visual.dtype)
    seen = F.normalize(synchformer.vproj(visual).float().mean(1), dim=-1)
    sounding = F.normalize(synchformer.aproj(audio).float().mean(1), dim=-1)
    contrast = contrastive_loss(seen, sounding, TEMPERATURE)
    loss = own + heard + CONTRAST_WEIGHT * contrast
    return {"loss": loss, "own": own, "heard": heard, "contrast": contrast}


def contrastive_loss(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Each row of a must find its row of b, and vice versa (arXiv:1807.03748). a, b: (n, d), of length 1."""
    logits = a @ b.T / temperature
    truth = torch.arange(len(a), device=a.device)
    return (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2


class SegmentBatches:
    """A few segments of each of a few clips, from anywhere; every other one mirrored."""

    def __init__(self, clips: Clips, size: int) -> None:
        self.frames = [shrink(clips.frames(i), size) for i in range(len(clips))]
        sounds = [clips.sound(i)[None] for i in range(len(clips))]
        self.sounds = torch.cat([to_16k(sound) for sound in sounds])
        self.courses = torch.cat([outline.outline(sound) for sound in sounds])

    def __call__(self, generator: torch.Generator) -> Batch:
        last = CLIP_FRAMES - (COURSE - BEFORE) // 2 - 1
        frames, sounds, courses = [], [], []
        for _ in range(CLIPS_PER_BATCH):
            clip = draw_int(generator, len(self.frames))
            for _ in range(SEGMENTS_PER_CLIP):
                start = BEFORE // 2 + draw_int(generator, last - BEFORE // 2 + 1)
                segment = self.frames[clip][start : start + SEGMENT_FRAMES]
                frames.append(segment.flip(-1) if draw_int(generator, 2) else segment)
                courses.append(self.courses[clip, 2 * start - BEFORE :][:COURSE])
                sounds.append(self.sounds[clip, start * SAMPLES_PER_FRAME // 3 :][:SEGMENT_SAMPLES])
        return {"frames": torch.stack(frames), "course": torch.stack(courses), "sound": torch.stack(sounds)}


def shrink(frames: Tensor, size: int) -> Tensor:
    """(t, 3, h, w) uint8, by the resize that the encoder's frames go through."""
    return F.interpolate(frames, (size, size), mode="bicubic", antialias=True, align_corners=False)


def training(folder: Path, clips: Clips, plan: Plan, config: SynchformerConfig = CONFIG) -> Training:
    learner = new_learner(config, plan.seed)
    for name, parameter in learner.named_parameters():
        if ".transformer." in name:  # learns afterwards, from features that stay as they are
            parameter.requires_grad_(False)
    assert config.visual is not None
    batches = SegmentBatches(clips, config.visual.image_size)
    return Training(learner, objective, batches, plan, folder)


# --- offsets ------------------------------------------------------------------------------------------------


@torch.no_grad()
def cache_features(synchformer: Synchformer, clips: Clips, count: int, device: str) -> Batch:
    """Both branches' features of whole clips; of the sound, at every start on the grid of frames.

    Returns "visual" (clips, s, 8, d) and "audio" (clips, starts, 6, d).
    """
    assert synchformer.vfeat_extractor is not None
    visual, audio = [], []
    for clip in range(min(count, len(clips))):
        frames = shrink(clips.frames(clip), synchformer.vfeat_extractor.image_size)
        segments = segments_of(normalise_crops(frames.to(device)))
        seen = synchformer.vfeat_extractor(segments[None])
        visual.append(rearrange(seen, "1 (s n) d -> s n d", n=TOKENS_PER_SEGMENT))
        sound = to_16k(clips.sound(clip).to(device)[None])
        starts = sound.unfold(-1, SEGMENT_SAMPLES, SAMPLES_PER_FRAME // 3)[0]
        audio.append(synchformer.afeat_extractor(starts, torch.float32))
    return {"visual": torch.stack(visual).cpu(), "audio": torch.stack(audio).cpu()}


def draw_offsets(features: Batch, generator: torch.Generator) -> Batch:
    """Crops of 14 segments whose sound begins up to 2 s before or after the picture."""
    clips, segments = features["visual"].shape[:2]
    last = segments - CROP_SEGMENTS
    picks = []
    while len(picks) < OFFSET_BATCH:
        clip, start, label = (draw_int(generator, n) for n in (clips, last + 1, NUM_OFFSETS))
        heard = start * SEGMENT_STEP + (label - NUM_OFFSETS // 2) * OFFSET_FRAMES
        if 0 <= heard <= last * SEGMENT_STEP:
            picks.append((clip, start, heard, label))
    span = CROP_SEGMENTS * SEGMENT_STEP
    return {
        "visual": torch.stack(
            [features["visual"][c, v : v + CROP_SEGMENTS].flatten(0, 1) for c, v, _, _ in picks]
        ),
        "audio": torch.stack(
            [features["audio"][c, a : a + span : SEGMENT_STEP].flatten(0, 1) for c, _, a, _ in picks]
        ),
        "label": torch.tensor([label for *_, label in picks]),
    }


def offset_objective(synchformer: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
    """batch: "visual" (b, 112, d), "audio" (b, 84, d), "label" (b,), the class of the offset."""
    assert batch["visual"].shape[1] == VISUAL_TOKENS
    assert batch["audio"].shape[1] == AUDIO_TOKENS == CROP_SEGMENTS * COLUMNS
    logits = synchformer(batch["visual"], batch["audio"]).float()
    right = (logits.argmax(-1) - batch["label"]).abs() <= 1
    return {"loss": F.cross_entropy(logits, batch["label"]), "within_one": right.float().mean()}


@torch.no_grad()
def begin_with_times(synchformer: Synchformer) -> None:
    """First position table: waves of each token's time, the same for both branches, and as large as tokens.

    A shift between picture and sound is then a turn of these waves, and need not be found in a table.
    """
    size, segments = synchformer.config.hidden_size, torch.arange(CROP_SEGMENTS)[:, None]
    seconds = [
        (SEGMENT_STEP * segments + SEGMENT_FRAMES * (torch.arange(n) + 0.5) / n).flatten() / SYNC_RATE
        for n in (TOKENS_PER_SEGMENT, COLUMNS)
    ]
    frequencies = torch.logspace(*LOG_FREQUENCIES, size // 2)
    visual, audio = (2 * torch.pi * frequencies * times[:, None] for times in seconds)
    table = synchformer.transformer.pos_emb_cfg.pos_emb
    for first, phases in ((1, visual), (2 + VISUAL_TOKENS, audio)):
        waves = torch.cat([torch.sin(phases), torch.cos(phases)], 1)
        table[0, first : first + len(phases)] = waves


def offset_training(folder: Path, synchformer: Synchformer, features: Batch, plan: Plan) -> Training:
    begin_with_times(synchformer)
    for name, parameter in synchformer.named_parameters():
        parameter.requires_grad_(name.startswith(("transformer.", "vproj.", "aproj.")))
    return Training(synchformer, offset_objective, partial(draw_offsets, features), plan, folder)


# --- both ---------------------------------------------------------------------------------------------------


def trained(folder: Path) -> Synchformer:
    """What the runs in a folder have reached; the offset transformer is the first one's if it never ran."""
    prefix = "synchformer."
    weights = trained_weights(folder)
    branches = {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}
    synchformer = Synchformer(CONFIG, operations=LAYERS)
    synchformer.load_state_dict(branches)
    if has_run(folder / "offsets"):
        synchformer.load_state_dict(trained_weights(folder / "offsets"))
    return synchformer.eval().requires_grad_(False)


def train(
    folder: Path, clips: Clips, plan: Plan, offset_steps: int = OFFSET_PLAN.steps, count: int = 400
) -> None:
    training(folder, clips, plan).run()
    synchformer = trained(folder).to(plan.device)
    features = cache_features(synchformer, clips, count, plan.device)
    offset_plan = replace(OFFSET_PLAN, steps=offset_steps, seed=plan.seed, device=plan.device)
    offset_training(folder / "offsets", synchformer, features, offset_plan).run()


def main() -> None:
    parser, planned = command(__doc__, PLAN)
    parser.add_argument("--clips", type=Path, required=True, help="folder of rendered clips")
    parser.add_argument("--offset-steps", type=int, default=OFFSET_PLAN.steps)
    args = parser.parse_args()
    train(args.out, Clips(args.clips), planned(args), args.offset_steps)


if __name__ == "__main__":
    main()
