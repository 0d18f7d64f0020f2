"""The pocket transformer: flow matching on cached features, with and without alignment.

python -m hunyuan_av.training.transformer --out DIR --features FEATURES [--runs RUNS] [--begin FILE]
    [--repa 0] [--steps N]
"""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..hunyuan.foley.config import FoleyConfig
from ..hunyuan.foley.transformer import FoleyTransformer
from ..hunyuan.layers import attention as layers
from ..model_loaders.encoders import load_text_encoder
from ..model_loaders.foley import load_transformer
from ..model_loaders.foley_folder import POCKET, find_foley
from . import outline, sync_reader, towers
from .clock import Clock
from .features import TOKENS, TOKENS_ON_A_CPU, Features
from .hearing import Hearing
from .initial import initialise
from .loop import Batch, DrawBatch, Plan, Training, command, on_device, trained_weights
from .objective import Alignment, AlignmentHead, draw_noise, flow_losses, weights_of
from .sync_reader import SyncReader

CONFIG = FoleyConfig(
    hidden_size=192, num_heads=3, joint_depth=2, audio_depth=4, mlp_ratio=2.0,
    text_size=towers.WIDTH, visual_size=towers.WIDTH, sync_size=towers.WIDTH,
)  # fmt: skip
PLAN = Plan(
    steps=20_000,
    learning_rate=5e-4,
    matrix_rate=0.006,
    warmup=100,
    decay=0.85,
    average=0.999,
    save_every=200,
    record=True,
)
ALIGNMENT = Alignment(block=1, weight=0.5)
READER = "reader"  # folder of the run that comes first, within the transformer's
# Where a transformer goes on: the heads that are thrown away learn alone first, in a folder of their own.
HEADS, HEADS_PLAN = "heads", Plan(steps=200, learning_rate=3e-3, warmup=1, decay=0.5)
HELD_OUT_BATCHES, HELD_OUT_SEED = 24, 77
NOISY = 0.3  # share of the noise levels that are high
OUTLINE_WEIGHT = 12.0  # of the latents that are the sound's outline, in the loss
SYNC_LEVEL = 0.2  # of the embedded sync features; noise has 0.8, and their norm is shared


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """PyTorch's own on an accelerator; two matrix products on a CPU, which in bfloat16 take half the time."""
    if q.device.type != "cpu" or mask is not None:
        return layers.attention(q, k, v, mask)
    heads = q.shape[:2]
    q, k, v = (x.contiguous().flatten(0, 1) for x in (q, k, v))
    weights = torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-1)
    return (weights.to(v.dtype) @ v).unflatten(0, heads)


class TransformerLearner(nn.Module):
    """The transformer and heads that are thrown away: clock, hearing and, where asked, the alignment's."""

    def __init__(self, config: FoleyConfig, teacher_size: int, aligned: bool) -> None:
        super().__init__()
        self.transformer = FoleyTransformer(config, attention=attention)
        self.clock = Clock(config.hidden_size, config.joint_depth)
        self.hearing = Hearing(config.hidden_size, config.audio_depth)
        self.head = AlignmentHead(config.hidden_size, teacher_size) if aligned else None


def directions(config: FoleyConfig, seed: int) -> tuple[Tensor, Tensor]:
    """Of the hidden states, orthonormal: those that the noise travels in at first, and those left free.

    Returns (hidden, latent channels) and (hidden, the rest).
    """
    size, generator = config.hidden_size, torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(size, size, generator=generator))[0]
    return basis[:, : config.latent_channels], basis[:, config.latent_channels :]


@torch.no_grad()
def begin_passing(transformer: FoleyTransformer, reader: SyncReader, sync: Tensor, noise: Tensor) -> None:
    """First weights with which noise passes through, and what is seen travels beside it.

    Latents take up as many directions of the hidden states as they have channels, and the last layer reads
    those; sync features are added in the others, by the layers that have learned to read them.

    sync:  (n, d), features as they are; the reader has seen them without their mean and scale.
    noise: (hidden, latent channels), the directions of the latents; the reader looks at the others.
    """
    config, free = transformer.config, reader.keep.weight.T
    transformer.audio_embedder.proj.weight.copy_(noise[:, :, None])
    gain = (config.latent_channels / config.hidden_size) ** 0.5
    transformer.final_layer.linear.weight.copy_(gain * noise.T)

    embedder: Any = transformer.sync_in
    embedder.load_state_dict(reader.embed.state_dict())
    centre, deviation = sync.mean(0), sync.std()
    first, last = embedder[0], embedder[-1].w2
    first.weight.div_(deviation)
    first.bias.sub_(first.weight @ centre)
    last.weight.copy_((free @ free.T @ last.weight[..., 0])[..., None])
    last.weight.mul_(SYNC_LEVEL / embedder(sync[None]).std())
    transformer.sync_pos_emb.copy_(deviation * reader.places)
    transformer.empty_sync_feat.copy_(centre)


class FlowObjective:
    """`flow_losses` of a learner."""

    def __init__(self, deviations: Tensor, alignment: Alignment) -> None:
        """deviations: (c,), of the latents' channels, on the device where they are trained."""
        self.channel_weights, self.alignment = weights_of(deviations), alignment
        self.channel_weights[-outline.CHANNELS :] *= OUTLINE_WEIGHT
        self.level = float(deviations.square().mean().sqrt())

    def __call__(self, learner: nn.Module, batch: Batch, _: object) -> dict[str, Tensor]:
        assert isinstance(learner, TransformerLearner)
        return flow_losses(
            learner.transformer, batch,
            head=learner.head, alignment=self.alignment, clock=learner.clock, hearing=learner.hearing,
            channel_weights=self.channel_weights, level=self.level,
        )  # fmt: skip


def training(
    folder: Path,
    features: Features,
    plan: Plan,
    alignment: Alignment = ALIGNMENT,
    config: FoleyConfig = CONFIG,
    reader_plan: Plan = sync_reader.PLAN,
    begin: Path | None = None,
) -> Training:
    """Learns to read the sync features, if that is not done yet, and gives the training of all else.

    alignment: with a weight of 0 there is no head for it.
    begin: file of a transformer to go on from; as it has learned to read, no reader is trained, but the heads
        learn from it as it is before it changes.
    Raises: ValueError if something is to be aligned that no teacher has heard; as `load_transformer`.
    """
    teacher_size = len(features.teacher_centre)
    if alignment.weight and not teacher_size:
        raise ValueError(
            "Nothing can be aligned: these features were made without a teacher. Give --repa 0, or build them"
            " with --runs."
        )
    learner = initialise(TransformerLearner(config, teacher_size, alignment.weight > 0), plan.seed)
    if begin is not None:
        learner.transformer.load_state_dict(load_transformer(begin, torch.float32).state_dict())
    else:
        noise, free = directions(config, plan.seed)
        reading = sync_reader.training(
            folder / READER, features, config, free, replace(reader_plan, seed=plan.seed, device=plan.device)
        )
        reading.run()
        begin_passing(learner.transformer, reading.network.cpu(), features.some_sync(), noise)  # type: ignore[arg-type]
    objective = FlowObjective(features.deviations().to(plan.device), alignment)
    draw = partial(draw_batch, features)
    if begin is not None:
        teach_heads(learner, objective, draw, plan, folder / HEADS)
    learner.transformer.sync_in.requires_grad_(False)
    return Training(learner, objective, draw, plan, folder)


def teach_heads(
    learner: TransformerLearner, objective: FlowObjective, draw: DrawBatch, plan: Plan, folder: Path
) -> None:
    """Let the heads learn from the transformer as it is: what they ask for at first would only disturb it."""
    steps = min(HEADS_PLAN.steps, plan.steps)
    alone = replace(HEADS_PLAN, steps=steps, seed=plan.seed, device=plan.device, mixed=plan.mixed)
    learner.transformer.requires_grad_(False)
    Training(learner, objective, draw, alone, folder).run()
    learner.transformer.requires_grad_(True)


def draw_batch(features: Features, generator: torch.Generator) -> Batch:
    """With its noise levels and its noise, so that a step can be recorded."""
    batch = features.draw(generator)
    return batch | draw_noise(batch["latents"], generator, NOISY)


@torch.no_grad()
def held_out_loss(transformer: FoleyTransformer, features: Features) -> float:
    """The velocity's loss on clips of the other split, always on the same windows, levels and noise."""
    weights = weights_of(features.deviations())
    total = 0.0
    for number in range(HELD_OUT_BATCHES):
        generator = torch.Generator().manual_seed(HELD_OUT_SEED + number)
        batch = on_device(features.draw(generator), str(features.device))
        total += float(flow_losses(transformer, batch, generator, channel_weights=weights)["velocity"])
    return total / HELD_OUT_BATCHES


def trained(folder: Path) -> FoleyTransformer:
    prefix = "transformer."
    weights = {n.removeprefix(prefix): t for n, t in trained_weights(folder).items() if n.startswith(prefix)}
    transformer = FoleyTransformer(CONFIG)
    transformer.load_state_dict(weights)
    return transformer.eval().requires_grad_(False)


def main() -> None:
    parser, planned = command(__doc__, PLAN)
    parser.add_argument("--features", type=Path, required=True, help="folder of cached features")
    parser.add_argument(
        "--runs", type=Path, help="folder of the encoders' runs, as for the features (default: those shipped)"
    )
    parser.add_argument("--begin", type=Path, metavar="FILE", help="a transformer to go on from")
    parser.add_argument(
        "--repa", type=float, default=ALIGNMENT.weight, help="weight of the alignment; 0: none"
    )
    parser.add_argument(
        "--tokens", type=int, help=f"audio tokens in a batch (default: {TOKENS}, on a CPU {TOKENS_ON_A_CPU})"
    )
    parser.add_argument("--until", type=int, help="stop at this step of the plan")
    args = parser.parse_args()
    text = (
        towers.trained(args.runs / "towers")[1]
        if args.runs
        else load_text_encoder(find_foley(POCKET, None).text_encoder)
    )
    place = {"device": args.device, "tokens": args.tokens}
    features = Features(args.features, text, **place)
    held_out = Features(args.features, text, "held-out", **place)
    alignment = Alignment(ALIGNMENT.block, args.repa)
    training(args.out, features, planned(args), alignment, begin=args.begin).run(args.until)

    figures = {"held_out_velocity": held_out_loss(trained(args.out).to(args.device), held_out)}
    (args.out / "held_out.json").write_text(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
