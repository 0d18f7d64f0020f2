"""The pocket transformer: flow matching on cached features, with and without alignment.

python -m hunyuan_av.training.transformer --out DIR --features FEATURES --runs RUNS [--repa 0] [--steps N]
"""

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from ..hunyuan.foley.config import FoleyConfig
from ..hunyuan.foley.transformer import FoleyTransformer
from ..hunyuan.layers import attention as layers
from . import towers
from .features import Features
from .initial import initialise
from .loop import Batch, Plan, Training, command, trained_weights
from .objective import Alignment, AlignmentHead, flow_losses, weights_of

CONFIG = FoleyConfig(
    hidden_size=192, num_heads=3, joint_depth=2, audio_depth=4, mlp_ratio=2.0,
    text_size=towers.WIDTH, visual_size=towers.WIDTH, sync_size=towers.WIDTH,
)  # fmt: skip
PLAN = Plan(
    steps=3000, learning_rate=1e-3, matrix_rate=0.02, warmup=50, decay=0.4, average=0.995, save_every=50
)
ALIGNMENT = Alignment(block=1, weight=0.5)
HELD_OUT_BATCHES, HELD_OUT_SEED = 24, 77


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """PyTorch's own on an accelerator; two matrix products on a CPU, which in bfloat16 take half the time."""
    if q.device.type != "cpu" or mask is not None:
        return layers.attention(q, k, v, mask)
    heads = q.shape[:2]
    q, k, v = (x.contiguous().flatten(0, 1) for x in (q, k, v))
    weights = torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-1)
    return (weights.to(v.dtype) @ v).unflatten(0, heads)


class TransformerLearner(nn.Module):
    """The transformer and, where its states are aligned, the head that is thrown away."""

    def __init__(self, config: FoleyConfig, teacher_size: int, aligned: bool) -> None:
        super().__init__()
        self.transformer = FoleyTransformer(config, attention=attention)
        self.head = AlignmentHead(config.hidden_size, teacher_size) if aligned else None


class FlowObjective:
    """`flow_losses` of a learner."""

    def __init__(self, channel_weights: Tensor, alignment: Alignment) -> None:
        self.channel_weights, self.alignment = channel_weights, alignment

    def __call__(self, learner: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        assert isinstance(learner, TransformerLearner)
        return flow_losses(
            learner.transformer, batch, generator,
            head=learner.head, alignment=self.alignment, channel_weights=self.channel_weights,
        )  # fmt: skip


def training(
    folder: Path,
    features: Features,
    plan: Plan,
    alignment: Alignment = ALIGNMENT,
    config: FoleyConfig = CONFIG,
) -> Training:
    """alignment: with a weight of 0 there is no head, and nothing but the velocity is learned."""
    teacher_size = len(features.teacher_centre)
    learner = initialise(TransformerLearner(config, teacher_size, alignment.weight > 0), plan.seed)
    objective = FlowObjective(weights_of(features.deviations()), alignment)
    return Training(learner, objective, features.draw, plan, folder)


@torch.no_grad()
def held_out_loss(
    transformer: FoleyTransformer, features: Features, batches: int = HELD_OUT_BATCHES
) -> float:
    """The velocity's loss on clips of the other split, always on the same windows, levels and noise."""
    weights = weights_of(features.deviations())
    total = 0.0
    for number in range(batches):
        generator = torch.Generator().manual_seed(HELD_OUT_SEED + number)
        batch = features.draw(generator)
        total += float(flow_losses(transformer, batch, generator, channel_weights=weights)["velocity"])
    return total / batches


def trained(folder: Path) -> FoleyTransformer:
    prefix = "transformer."
    weights = {n.removeprefix(prefix): t for n, t in trained_weights(folder).items() if n.startswith(prefix)}
    transformer = FoleyTransformer(CONFIG)
    transformer.load_state_dict(weights)
    return transformer.eval().requires_grad_(False)


def main() -> None:
    parser, planned = command(__doc__, PLAN)
    parser.add_argument("--features", type=Path, required=True, help="folder of cached features")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the encoders' runs")
    parser.add_argument(
        "--repa", type=float, default=ALIGNMENT.weight, help="weight of the alignment; 0: none"
    )
    parser.add_argument("--until", type=int, help="stop at this step of the plan")
    args = parser.parse_args()
    _, text = towers.trained(args.runs / "towers")
    features = Features(args.features, text)
    alignment = Alignment(ALIGNMENT.block, args.repa)
    training(args.out, features, planned(args), alignment).run(args.until)

    held_out = Features(args.features, text, "held-out")
    figures = {"held_out_velocity": held_out_loss(trained(args.out), held_out)}
    (args.out / "held_out.json").write_text(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
