"""From runs to the files that the pack reads: the pocket networks as they are shipped.

    python -m hunyuan_av.training.export --runs RUNS --rendered CLIPS --out pocket/foley

Whatever has been trained so far is written; of a run that is still going on, its last saved state. The
decoder's run, where there is one, has all of the autoencoder.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from ..model_loaders.foley import load_transformer
from . import audio_vae, decoder, synchformer, towers, transformer
from .clips import Clips
from .loop import has_run

HALF = torch.float16
TRANSFORMER = torch.bfloat16  # as the published one, which is loaded in the dtype it is stored in


def save(network: nn.Module, path: Path, dtype: torch.dtype, config: dict | None = None) -> None:
    """The network's floating-point tensors under their own names."""
    tensors = {
        name: tensor.to(dtype).contiguous()
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point()
    }
    metadata = {"format": "pt", "trained": "true"}
    if config is not None:
        metadata["config"] = json.dumps(config)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata)


def export(runs: Path, rendered: Path | None, folder: Path, share: float = 1.0) -> None:
    """Write every network that has a run.

    share: of the transformer's weights, how much is the run's; the rest is what the folder holds already. The
        mean of weights before and after more training may be better than both (arXiv:2109.01903).
    Raises: ValueError if the autoencoder has one, the decoder has none, and there are no clips, by which its
        latents are scaled; as `load_transformer` where a share is asked for.
    """
    if has_run(runs / "decoder"):
        save(decoder.trained(runs / "decoder"), folder / "audio_vae.safetensors", HALF)
    elif has_run(runs / "audio_vae"):
        if rendered is None:
            raise ValueError(f"{runs} has a run of the audio autoencoder: give --rendered, its clips.")
        save(
            audio_vae.trained(runs / "audio_vae", Clips(rendered)).vae, folder / "audio_vae.safetensors", HALF
        )
    if has_run(runs / "synchformer"):
        heads = dict.fromkeys(("visual_heads", "audio_heads", "num_heads"), synchformer.HEADS)
        network = synchformer.trained(runs / "synchformer")
        save(network, folder / "synchformer.safetensors", HALF, heads)
    if has_run(runs / "towers" / "siglip2"):
        save_towers(runs, folder)
    if has_run(runs / "transformer"):
        network, path = transformer.trained(runs / "transformer"), folder / "transformer.safetensors"
        if share < 1:
            blend(network, load_transformer(path, torch.float32), share)
        save(network, path, TRANSFORMER)


@torch.no_grad()
def blend(network: nn.Module, before: nn.Module, share: float) -> None:
    """Make the network's weights `share` of its own and the rest of another one of the same sizes."""
    for own, other in zip(network.parameters(), before.parameters(), strict=True):
        own.copy_(torch.lerp(other, own, share))


def save_towers(runs: Path, folder: Path) -> None:
    visual, text = towers.trained(runs / "towers")
    for name, tower, sizes in (("siglip2", visual, towers.SIGLIP), ("clap", text, towers.CLAP)):
        save(tower, folder / name / "model.safetensors", HALF)
        (folder / name / "config.json").write_text(json.dumps(sizes, indent=2) + "\n")
    towers.byte_tokenizer().save(str(folder / "clap" / "tokenizer.json"))


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the trained pocket networks.")
    parser.add_argument("--runs", type=Path, required=True, help="folder of all runs")
    parser.add_argument("--rendered", type=Path, help="folder of rendered clips, for the audio autoencoder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--share", type=float, default=1.0,
        help="of the transformer's weights, how much is the run's and not that of --out (default: 1)",
    )  # fmt: skip
    args = parser.parse_args()
    export(args.runs, args.rendered, args.out, args.share)


if __name__ == "__main__":
    main()
