"""Fine-tune a Foley transformer on prepared clips: a LoRA, or with `--rank 0` all of its weights.

    python -m hunyuan_av.training.fine_tune CACHE --out DIR [--weights FOLDER] [--rank 16] [--steps 1000] ...

CACHE is what `hunyuan_av.training.prepare` wrote with the same weights. DIR gets `lora.safetensors`, which
ComfyUI's LoraLoaderModelOnly reads and `tools/merge_lora.py` merges, or `transformer.safetensors`. Repeated,
it goes on.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..hunyuan.foley.config import FoleyConfig
from ..hunyuan.foley.transformer import FoleyTransformer
from ..hunyuan.media.files import replacing
from ..model_loaders.foley import load_transformer
from ..model_loaders.foley_folder import POCKET, find_transformer
from ..model_loaders.inventory import Inventory
from ..model_loaders.lora import lora_tensors
from .clips import draw_int
from .loop import Batch, Plan, Training, command
from .lora import LAYERS, Adapters, adapt
from .objective import draw_dropped, flow_losses
from .prepare import REPORT, UNPROMPTED, best_device

PLAN = Plan(steps=1000, learning_rate=2e-4, warmup=20, decay=0.2, weight_decay=0.0)
FULL_RATE = 1e-5  # learning rate where all weights learn
RANK, ROWS = 16, 4
LORA, TRANSFORMER = "lora.safetensors", "transformer.safetensors"
SETTINGS = "settings.json"
FIXED = ("rank", "alpha", "layers", "size", "rows", "seed")  # options that a training keeps to its end


class PreparedClips:
    """The chunks that the last preparation kept in a folder, drawn in batches of equal length."""

    def __init__(self, folder: Path, rows: int = ROWS) -> None:
        """Raises: FileNotFoundError if nothing was prepared there; ValueError for batches without a row."""
        if rows < 1:
            raise ValueError(f"A batch must have at least 1 row, not {rows}.")
        report = folder / REPORT
        # Not all there is: what another preparation left may be of other captions, filters or weights.
        kept = json.loads(report.read_text())["kept"] if report.is_file() else {}
        paths = sorted({folder / name for name in kept.values()})
        if not paths:
            raise FileNotFoundError(f"No prepared clips in {folder}. Make some with training.prepare.")
        self.paths, self.rows = paths, rows
        self.unprompted = load_file(folder / UNPROMPTED)
        lengths = defaultdict(list)
        for path in paths:
            lengths[shape_of(path, "latents")].append(path)
        self.alike = {path: paths for paths in lengths.values() for path in paths}

    def check_fit(self, config: FoleyConfig) -> None:
        """Raises ValueError if the features are not of the sizes that a transformer takes."""
        wanted = {
            "latents": (0, config.latent_channels), "visual": (1, config.visual_size),
            "sync": (1, config.sync_size), "text": (1, config.text_size),
        }  # fmt: skip
        for path in self.paths:
            for name, (axis, size) in wanted.items():
                if (found := shape_of(path, name)[axis]) != size:
                    raise ValueError(
                        f"{path.name} was prepared with other weights: {name} of size {found}, the"
                        f" transformer takes {size}. Prepare the clips with the same --weights."
                    )

    def draw(self, generator: torch.Generator) -> Batch:
        """Any chunk and others as long, their conditions left out by chance."""
        alike = self.alike[self.paths[draw_int(generator, len(self.paths))]]
        chunks = [load_file(alike[draw_int(generator, len(alike))]) for _ in range(self.rows)]
        no_text, no_video = draw_dropped(self.rows, generator)
        texts = [
            self.unprompted_states(generator) if left_out else (chunk["text"], chunk["text_length"])
            for chunk, left_out in zip(chunks, no_text.tolist(), strict=True)
        ]
        heard = max(int(length) for _, length in texts)
        features = {name: torch.stack([c[name] for c in chunks]) for name in ("latents", "visual", "sync")}
        text = torch.stack([states[:heard] for states, _ in texts])
        return features | {"text": text, "drop_video": no_video}

    def unprompted_states(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        which = draw_int(generator, len(self.unprompted["text"]))
        return self.unprompted["text"][which], self.unprompted["text_length"][which]


def shape_of(path: Path, name: str) -> tuple[int, ...]:
    with safe_open(path, framework="pt") as file:
        return tuple(file.get_slice(name).get_shape())


def lora_training(
    transformer: FoleyTransformer, clips: PreparedClips, folder: Path, plan: Plan,
    *, rank: int = RANK, alpha: float | None = None, layers: str = LAYERS,
) -> Training:  # fmt: skip
    """The training of a LoRA; its network is the `Adapters`. The transformer is changed: it is wrapped."""
    transformer.to(plan.device)
    adapters = adapt(transformer, rank, alpha=alpha, layers=layers, seed=plan.seed)

    def objective(_: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        return flow_losses(transformer, batch, generator)

    return Training(adapters, objective, clips.draw, plan, folder)


def full_training(transformer: FoleyTransformer, clips: PreparedClips, folder: Path, plan: Plan) -> Training:
    """The training of all weights, which are float32."""

    def objective(network: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        assert isinstance(network, FoleyTransformer)
        return flow_losses(network, batch, generator)

    return Training(transformer.float().requires_grad_(True), objective, clips.draw, plan, folder)


def save_result(training: Training, folder: Path) -> Path:
    """What was learned, as a file for use."""
    if isinstance(training.network, Adapters):
        path = folder / LORA
        tensors = lora_tensors(training.network.learned())
    else:
        path = folder / TRANSFORMER
        state = training.network.state_dict()
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with replacing(path) as part:
        save_file(tensors, part, {"format": "pt"})
    return path


def main(given: Sequence[str] | None = None) -> int:
    parser, planned = command(__doc__, replace(PLAN, device=best_device()))
    parser.add_argument("cache", type=Path, metavar="CACHE")
    parser.add_argument("--weights", type=Path, default=POCKET, help="folder of the published weights")
    parser.add_argument("--size", choices=("xl", "xxl"), help="where the folder holds both transformers")
    parser.add_argument("--rank", type=int, default=RANK, help="of the LoRA; 0 trains all weights")
    parser.add_argument("--alpha", type=float, help="the LoRA is scaled by alpha / rank (default: not)")
    parser.add_argument("--layers", default=LAYERS, help="regular expression for the names of adapted layers")
    parser.add_argument("--rows", type=int, default=ROWS, help="chunks in a batch")
    rates = f"default {PLAN.learning_rate:g}, or {FULL_RATE:g} with --rank 0"
    parser.add_argument("--learning-rate", type=float, help=rates)
    args = parser.parse_args(given)
    try:
        run(args, planned(args))
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def run(args: argparse.Namespace, plan: Plan) -> None:
    rate = args.learning_rate or (PLAN.learning_rate if args.rank else FULL_RATE)
    plan = replace(plan, learning_rate=rate)
    clips = PreparedClips(args.cache, args.rows)
    # Without mixed precision the weights must have the features' dtype.
    dtype = None if plan.mixed else torch.float32
    transformer = load_transformer(find_transformer(Inventory(args.weights), args.size), dtype)
    clips.check_fit(transformer.config)
    keep_settings(args.out, {name: getattr(args, name) for name in FIXED})
    if args.rank:
        training = lora_training(
            transformer, clips, args.out, plan, rank=args.rank, alpha=args.alpha, layers=args.layers
        )
    else:
        training = full_training(transformer, clips, args.out, plan)
    losses = training.run()
    print(f"{save_result(training, args.out)}: {losses}")


def keep_settings(folder: Path, settings: dict) -> None:
    """Raises ValueError if the training in `folder` was begun with other settings: it could not go on."""
    path = folder / SETTINGS
    before = json.loads(path.read_text()) if path.is_file() else settings
    for name, value in settings.items():
        if before.get(name) != value:
            raise ValueError(
                f"The training in {folder} was begun with --{name} {before.get(name)}, not {value}. Repeat"
                " that, or begin another one with another --out."
            )
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
