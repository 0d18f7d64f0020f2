"""The pocket towers: SigLIP's tells what is in a frame, CLAP's what is asked for in words.

    python -m hunyuan_av.training.towers --out DIR --clips CLIPS [--steps N] [--seed S] [--device D]

The vision tower learns a frame's sources, the density of its rain, and the sound around its time. The text
tower learns the sources of a caption, and to find the sound that belongs to it in the batch
(arXiv:2211.06687). Both are transformers' classes, as the pack runs them.

Axes: b batch, n tokens, d channels, t frames of sound at 50 a second.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..hunyuan.foley.text_encoder import MAX_STATES, TextEncoder, Tokenizer
from ..hunyuan.foley.timing import SAMPLES_PER_LATENT
from ..hunyuan.foley.visual_encoder import VisualEncoder
from ..hunyuan.media.video import normalise
from . import outline
from .clips import CLIP_FRAMES, FRAME_SIZE, Clips, draw_int, draw_sounds
from .initial import initialise
from .loop import Batch, Plan, Training, command, trained_weights
from .scenes import KINDS, MATERIALS, Scene
from .spectra import MEL_BANDS, log_mel

if TYPE_CHECKING:
    import tokenizers

WIDTH, HEADS = 64, 4
SIGLIP = {
    "model_type": "siglip_vision_model", "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": 2, "num_attention_heads": HEADS, "image_size": FRAME_SIZE, "patch_size": 16,
    "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6,
}  # fmt: skip
CLAP = {
    "model_type": "clap_text_model", "vocab_size": 261, "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": 2, "num_attention_heads": HEADS, "max_position_embeddings": 514,
    "type_vocab_size": 1, "projection_dim": WIDTH, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
    "pad_token_id": 1,
}  # fmt: skip
SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")

SOURCES = tuple((kind, material) for kind in KINDS for material in MATERIALS.get(kind, ()))
VISION_PLAN = Plan(steps=1200, learning_rate=1e-3, matrix_rate=0.02, average=0.99, mixed=False)
TEXT_PLAN = Plan(steps=400, learning_rate=2e-3, average=0.99, mixed=False)
VISION_BATCH, FRAMES_PER_CLIP = 12, 4
REACH = 8  # frames of sound to each side that a picture is to foretell
TEXT_BATCH, TEXT_LATENTS = 24, 150
TEMPERATURE = 0.1
CONTRAST_WEIGHT = 0.2


def byte_tokenizer() -> "tokenizers.Tokenizer":
    """RoBERTa's layout over single bytes: 261 ids, no merges."""
    import tokenizers
    from tokenizers import AddedToken
    from tokenizers.decoders import ByteLevel as ByteLevelDecoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.processors import RobertaProcessing

    letters = sorted(ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate((*SPECIAL_TOKENS, *letters, "<mask>"))}
    tokenizer = tokenizers.Tokenizer(BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in (*SPECIAL_TOKENS, "<mask>")])
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer


def new_visual_encoder(sizes: dict) -> VisualEncoder:
    from transformers import SiglipVisionConfig, SiglipVisionModel

    return VisualEncoder(SiglipVisionModel(SiglipVisionConfig(**sizes)))


def new_text_encoder(sizes: dict) -> TextEncoder:
    from transformers import ClapTextConfig, ClapTextModel

    # No dropout: a step's chance comes from its own generator alone.
    config = ClapTextConfig(**sizes, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    return TextEncoder(ClapTextModel(config, add_pooling_layer=False), byte_tokenizer())


def sources_of(scene: Scene) -> Tensor:
    """1 for every (kind, material) of `SOURCES` that the scene shows: (sources,)."""
    return torch.tensor([float(source in scene.sources) for source in SOURCES])


# --- vision -------------------------------------------------------------------------------------------------


class VisionLearner(nn.Module):
    """The tower and its heads, which are thrown away."""

    def __init__(self, sizes: dict) -> None:
        super().__init__()
        self.encoder = new_visual_encoder(sizes)
        self.sources = nn.Linear(sizes["hidden_size"], len(SOURCES))
        self.density = nn.Linear(sizes["hidden_size"], 1)
        self.foretell = nn.Linear(sizes["hidden_size"], (2 * REACH + 1) * outline.CHANNELS)


def vision_objective(learner: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
    """batch: "frames" (b, 3, h, w) uint8; "sources" (b, sources); "density" (b,); "course" (b, t, 9)."""
    assert isinstance(learner, VisionLearner)
    features = learner.encoder(normalise(batch["frames"]))
    sources = F.binary_cross_entropy_with_logits(learner.sources(features).float(), batch["sources"])
    density = F.mse_loss(learner.density(features).float()[:, 0], batch["density"])
    foretold = F.mse_loss(learner.foretell(features).float(), batch["course"].flatten(1))
    loss = 5 * sources + density + foretold
    return {"loss": loss, "sources": sources, "density": density, "foretold": foretold}


class FrameBatches:
    """Frames from anywhere, every other one mirrored, and what is known of them."""

    def __init__(self, clips: Clips) -> None:
        self.clips = clips
        self.courses = torch.cat([outline.outline(clips.sound(i)[None]) for i in range(len(clips))])
        self.sources = torch.stack([sources_of(scene) for scene in clips.scenes])

    def __call__(self, generator: torch.Generator) -> Batch:
        frames, courses, picks, densities = [], [], [], []
        for _ in range(VISION_BATCH):
            clip = draw_int(generator, len(self.clips))
            for _ in range(FRAMES_PER_CLIP):
                start = REACH + draw_int(generator, CLIP_FRAMES - 2 * REACH)
                frame = self.clips.frames(clip, start, 1)[0]
                frames.append(frame.flip(-1) if draw_int(generator, 2) else frame)
                courses.append(self.courses[clip, 2 * start - REACH : 2 * start + REACH + 1])
                densities.append(self.clips.scenes[clip].density(start / 25))
                picks.append(clip)
        return {
            "frames": torch.stack(frames),
            "sources": self.sources[picks],
            "density": torch.tensor(densities, dtype=torch.float32),
            "course": torch.stack(courses),
        }


def vision_training(folder: Path, clips: Clips, plan: Plan, sizes: dict = SIGLIP) -> Training:
    learner = initialise(VisionLearner(sizes), plan.seed)
    return Training(learner, vision_objective, FrameBatches(clips), plan, folder)


# --- text ---------------------------------------------------------------------------------------------------


class TextLearner(nn.Module):
    """The tower, its heads, and the small network that hears; all but the tower is thrown away."""

    def __init__(self, sizes: dict) -> None:
        super().__init__()
        width = sizes["hidden_size"]
        self.encoder = new_text_encoder(sizes)
        self.sources = nn.Linear(width, len(SOURCES))
        self.project = nn.Linear(width, width)
        self.hearing = nn.Sequential(
            nn.Conv1d(MEL_BANDS, width, 5, stride=2),
            nn.GELU(),
            nn.Conv1d(width, width, 5, stride=2),
            nn.GELU(),
        )


def text_objective(learner: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
    """batch: "ids", "mask" (b, n); "sound" (b, samples) at 48 kHz; "sources" (b, sources)."""
    assert isinstance(learner, TextLearner)
    states = learner.encoder(batch["ids"], batch["mask"])
    mask = batch["mask"][:, : states.shape[1], None]
    read = (states * mask).sum(1) / mask.sum(1)
    sources = F.binary_cross_entropy_with_logits(learner.sources(read).float(), batch["sources"])

    # Prompts with the same sources are no strangers: each row finds all of its like.
    alike = (batch["sources"][:, None] == batch["sources"][None]).all(-1).float()
    heard = F.normalize(learner.hearing(log_mel(batch["sound"])).float().mean(-1), dim=-1)
    logits = F.normalize(learner.project(read).float(), dim=-1) @ heard.T / TEMPERATURE
    contrast = F.cross_entropy(logits, alike / alike.sum(1, keepdim=True))
    return {"loss": 5 * sources + CONTRAST_WEIGHT * contrast, "sources": sources, "contrast": contrast}


class CaptionBatches:
    """Captions, in small or capital letters, and windows of the sounds they belong to."""

    def __init__(self, clips: Clips) -> None:
        self.clips, self.tokenizer = clips, byte_tokenizer()
        self.sources = torch.stack([sources_of(scene) for scene in clips.scenes])

    def __call__(self, generator: torch.Generator) -> Batch:
        picks = [draw_int(generator, len(self.clips)) for _ in range(TEXT_BATCH)]
        captions = [self.clips.scenes[clip].caption for clip in picks]
        captions = [text.capitalize() if draw_int(generator, 4) == 0 else text for text in captions]
        ids, mask = padded(self.tokenizer, captions)
        samples = TEXT_LATENTS * SAMPLES_PER_LATENT
        sound = torch.stack([draw_sounds(self.clips, 1, samples, generator, clip=clip)[0] for clip in picks])
        return {"ids": ids, "mask": mask, "sound": sound, "sources": self.sources[picks]}


def padded(tokenizer: Tokenizer, captions: list[str], full: bool = False) -> tuple[Tensor, Tensor]:
    """Token ids and their mask, (b, n) each; shorter captions are padded on the right, longer ones cut.

    full: pad all to the longest that is heard.
    """
    rows = [torch.tensor(tokenizer.encode(caption).ids[:MAX_STATES]) for caption in captions]
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=CLAP["pad_token_id"])
    mask = nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    missing = (0, MAX_STATES - ids.shape[1] if full else 0)
    return F.pad(ids, missing, value=CLAP["pad_token_id"]), F.pad(mask, missing)


def text_training(folder: Path, clips: Clips, plan: Plan, sizes: dict = CLAP) -> Training:
    learner = initialise(TextLearner(sizes), plan.seed)
    return Training(learner, text_objective, CaptionBatches(clips), plan, folder)


# --- both ---------------------------------------------------------------------------------------------------


def train(folder: Path, clips: Clips, plan: Plan, text_steps: int = TEXT_PLAN.steps) -> None:
    text_plan = replace(TEXT_PLAN, steps=text_steps, seed=plan.seed, device=plan.device, mixed=plan.mixed)
    text_training(folder / "clap", clips, text_plan).run()
    vision_training(folder / "siglip2", clips, plan).run()


def trained(folder: Path) -> tuple[VisualEncoder, TextEncoder]:
    """Both towers as the runs in `folder` have left them."""
    visual, text = new_visual_encoder(SIGLIP), new_text_encoder(CLAP)
    for encoder, name in ((visual, "siglip2"), (text, "clap")):
        weights = trained_weights(folder / name)
        prefix = "encoder."
        encoder.load_state_dict(
            {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}
        )
        encoder.eval().requires_grad_(False)
    return visual, text


def main() -> None:
    parser, planned = command(__doc__, VISION_PLAN)
    parser.add_argument("--clips", type=Path, required=True, help="folder of rendered clips")
    parser.add_argument("--text-steps", type=int, default=TEXT_PLAN.steps)
    args = parser.parse_args()
    train(args.out, Clips(args.clips), planned(args), args.text_steps)


if __name__ == "__main__":
    main()
