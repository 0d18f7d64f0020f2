"""Latents as the sampler makes them, beside the sounds that they stand for: the decoder's last lessons.

    python -m hunyuan_av.training.generated --out DIR --features FEATURES [--weights DIR] [--clips N]

The transformer gets what the encoders saw and, three times in four, what noise leaves of the true latents: it
begins at a level below 1. Sounds then begin when they should, and all else is as it makes it.

Axes: n clips, c channels, l latents.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..hunyuan.foley.transformer import FoleyTransformer
from ..hunyuan.media.files import replacing
from ..hunyuan.sampling.denoise import denoise_from
from ..hunyuan.sampling.schedule import TIME_SCALE, flow_sigmas
from ..model_loaders.encoders import load_text_encoder
from ..model_loaders.foley import load_transformer
from ..model_loaders.foley_folder import POCKET, find_foley
from .clips import draw_int
from .features import FRAMES, SECONDS, Excerpt, Features
from .loop import Batch
from .objective import conditions_of

CLIPS = 400
STEPS = 25
LEVELS = 1.0, 0.92, 0.84, 0.76  # of the noise to begin at, one for each `TOGETHER` clips
TOGETHER, PER_SHARD = 4, 20
DUBBED = 0.3  # of the clips


def build(folder: Path, transformer: FoleyTransformer, features: Features, first: int, count: int) -> None:
    """Write what is missing of the shards of the clips first .. first + count - 1 of the features."""
    folder.mkdir(parents=True, exist_ok=True)
    end = min(first + count, len(features))
    for start in range(first, end, PER_SHARD):
        path = folder / f"{features.split}-{start:06d}.safetensors"
        if path.exists():
            continue
        clips = range(start, min(start + PER_SHARD, end))
        rows = [clips[i : i + TOGETHER] for i in range(0, len(clips), TOGETHER)]
        made = [made_of(transformer, features, list(group)) for group in rows]
        tensors = {name: torch.cat([one[name] for one in made]).half().cpu().contiguous() for name in made[0]}
        with replacing(path) as part:
            save_file(tensors, part)


def made_of(transformer: FoleyTransformer, features: Features, clips: list[int]) -> Batch:
    """Of these clips: "made" and "latents" (n, c, l), and "waveform" (n, samples), the true sound."""
    generator = torch.Generator().manual_seed(clips[0])
    dubs = (torch.rand(len(clips), generator=generator) < DUBBED).long().tolist()
    level = LEVELS[draw_int(generator, len(LEVELS))]
    batch = features.windows(clips, dubs, [0] * len(clips), FRAMES)
    prompts = [features.captions[clip][dub] for clip, dub in zip(clips, dubs, strict=True)]
    shown = torch.zeros(len(clips), dtype=torch.bool, device=features.device)
    made = make(transformer, batch | {"text": features.text(prompts), "drop_video": shown}, level, generator)
    sounds = [true_sound(features, clip, dub) for clip, dub in zip(clips, dubs, strict=True)]
    return {"made": made, "latents": batch["latents"], "waveform": torch.stack(sounds)}


def true_sound(features: Features, clip: int, dubbed: int) -> Tensor:
    """(samples,): what is heard in a clip."""
    seed = features.seeds[clip]
    excerpt = Excerpt.draw(seed, features.split)
    excerpt = excerpt.dubbed(seed) if dubbed else excerpt
    return torch.from_numpy(excerpt.scene.waveform(excerpt.start, SECONDS))


@torch.no_grad()
def make(transformer: FoleyTransformer, batch: Batch, level: float, generator: torch.Generator) -> Tensor:
    """(n, c, l): what the sampler makes of the batch's conditions and of its latents at this noise level."""
    conditions, latents = conditions_of(transformer, batch), batch["latents"]
    noise = torch.randn(latents.shape, generator=generator).to(latents.device)

    def velocity(x: Tensor, sigma: float) -> Tensor:
        return transformer(x, torch.full((len(x),), sigma * TIME_SCALE, device=x.device), conditions).float()

    sigmas = flow_sigmas(round(STEPS * level), denoise=level)
    *_, made = denoise_from(velocity, latents, noise, sigmas)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description="Make latents for the decoder to learn from.")
    parser.add_argument("--features", type=Path, required=True, help="folder of cached features")
    parser.add_argument(
        "--weights", type=Path, default=POCKET, help="folder of the pocket networks (default: shipped)"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--first", type=int, default=0, help="place of the first clip among the features")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    found = find_foley(args.weights, None)
    features = Features(args.features, load_text_encoder(found.text_encoder), device=args.device)
    transformer = load_transformer(found.transformer, torch.float32).to(args.device).eval()
    build(args.out, transformer, features, args.first, args.clips)


if __name__ == "__main__":
    main()
