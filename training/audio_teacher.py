"""A self-supervised audio encoder in ATST's manner (arXiv:2306.04186): what the transformer is aligned to.

    python -m hunyuan_av.training.audio_teacher --out DIR --clips CLIPS [--steps N] [--seed S] [--device D]

A student sees a log-mel spectrogram with stretches of it masked, a teacher another view of the same sound as
a whole; frame by frame, the student's prediction must point where the teacher's embedding does. The teacher
is the slow average of the student.

Axes: b batch, f bands, t frames (one per latent), d channels.
"""

import copy
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..hunyuan.foley.sync_audio import SpectrogramLayer
from ..hunyuan.foley.timing import SAMPLES_PER_LATENT
from ..hunyuan.layers.attention import attention
from .clips import Clips, draw_sounds
from .initial import initialise
from .loop import Batch, Plan, Training, command, trained_weights
from .spectra import MEL_BANDS, log_mel

WIDTH, DEPTH, HEADS = 96, 2, 4
PLAN = Plan(steps=500, learning_rate=1e-3, mixed=False)
BATCH, LATENTS = 16, 100  # windows of 2 s
MASKED, SPAN = 0.5, 5  # share of the frames that the student does not see, in stretches of so many
KEPT = 0.99  # of the teacher, in each step
GAIN = 0.4  # the views differ in loudness by so much, in the spectrogram's own unit


class FrameEncoder(nn.Module):
    """Log-mel frames to embeddings of the same rate."""

    def __init__(self, width: int = WIDTH, depth: int = DEPTH, heads: int = HEADS) -> None:
        super().__init__()
        self.embed = nn.Conv1d(MEL_BANDS, width, 5, padding=2)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.layers = nn.Sequential(
            *(SpectrogramLayer(width, heads, 2 * width, attention=attention) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, mel: Tensor, masked: Tensor | None = None) -> Tensor:
        """mel: (b, f, t). masked: (b, t), true where a frame is hidden. Returns (b, t, d)."""
        if masked is not None:
            mel = mel.masked_fill(masked[:, None], 0.0)
        x = rearrange(self.embed(mel), "b d t -> b t d")
        if masked is not None:
            x = torch.where(masked[..., None], self.mask_token.to(x), x)
        return self.norm(self.layers(x))


class TeacherLearner(nn.Module):
    """Student, predictor, and the teacher that follows."""

    def __init__(self, width: int = WIDTH, depth: int = DEPTH) -> None:
        super().__init__()
        self.student = FrameEncoder(width, depth)
        self.predictor = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.teacher = FrameEncoder(width, depth).requires_grad_(False)

    @torch.no_grad()
    def follow(self) -> None:
        for mine, students in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            mine.lerp_(students, 1 - KEPT)


def objective(learner: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
    """batch: "sound", (b, samples)."""
    assert isinstance(learner, TeacherLearner)
    learner.follow()
    mel = log_mel(batch["sound"])
    first, second = (mel + GAIN * shifts(mel, generator) for _ in range(2))
    masked = draw_mask(len(mel), mel.shape[-1], generator).to(mel.device)

    with torch.no_grad():
        target = learner.teacher(second)
        # Without what all frames share, agreeing on one vector for everything would not pay.
        target = F.normalize(target.float() - target.float().mean((0, 1)), dim=-1)
    predicted = F.normalize(learner.predictor(learner.student(first, masked)).float(), dim=-1)
    agreement = (predicted * target).sum(-1)
    spread = target.flatten(0, 1).std(0).mean() * target.shape[-1] ** 0.5
    return {"loss": (1 - agreement).mean(), "spread": spread}


def shifts(mel: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(len(mel), 1, 1, generator=generator).to(mel.device)


def draw_mask(rows: int, frames: int, generator: torch.Generator) -> Tensor:
    """(rows, frames) bool, half of it true, in stretches."""
    stretches = torch.rand(rows, -(-frames // SPAN), generator=generator) < MASKED
    return stretches.repeat_interleave(SPAN, dim=1)[:, :frames]


def training(folder: Path, clips: Clips, plan: Plan) -> Training:
    learner = initialise(TeacherLearner(), plan.seed)
    learner.teacher.load_state_dict(copy.deepcopy(learner.student.state_dict()))
    return Training(learner, objective, partial(draw_batch, clips), plan, folder)


def draw_batch(clips: Clips, generator: torch.Generator) -> Batch:
    return {"sound": draw_sounds(clips, BATCH, LATENTS * SAMPLES_PER_LATENT, generator)}


def trained(folder: Path) -> FrameEncoder:
    prefix = "teacher."
    weights = {n.removeprefix(prefix): t for n, t in trained_weights(folder).items() if n.startswith(prefix)}
    teacher = FrameEncoder()
    teacher.load_state_dict(weights)
    return teacher.eval().requires_grad_(False)


def main() -> None:
    parser, planned = command(__doc__, PLAN)
    parser.add_argument("--clips", type=Path, required=True, help="folder of rendered clips")
    args = parser.parse_args()
    training(args.out, Clips(args.clips), planned(args)).run()


if __name__ == "__main__":
    main()
