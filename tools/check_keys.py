"""Compare the parameter names and shapes of every network with those of the published checkpoints.

    python tools/check_keys.py [SPEC_DIR]

Networks are built on the meta device: no weights are needed. Last line `N passed, M failed`.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

import _pack
from hunyuan_av.hunyuan.avatar.config import PUBLISHED as AVATAR
from hunyuan_av.hunyuan.avatar.transformer import AvatarTransformer
from hunyuan_av.hunyuan.avatar.video_vae import VideoVAE
from hunyuan_av.hunyuan.foley.audio_vae import AudioVAE, AudioVAEConfig
from hunyuan_av.hunyuan.foley.config import XL, XXL
from hunyuan_av.hunyuan.foley.desync import Synchformer, SynchformerConfig
from hunyuan_av.hunyuan.foley.sync_encoder import PREFIX, SyncEncoder, SyncEncoderConfig
from hunyuan_av.hunyuan.foley.transformer import FoleyTransformer
from hunyuan_av.hunyuan.foley.weight_norm import published_shapes

Shapes = Mapping[str, tuple[int, ...]]
DEFAULT = _pack.ROOT / "tests" / "keys"


def shapes(network: nn.Module, prefix: str = "") -> Shapes:
    return {prefix + name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def sync_encoder() -> Shapes:
    return shapes(SyncEncoder(SyncEncoderConfig(), device="meta"), PREFIX)


def siglip() -> Shapes:
    """transformers' vision tower; version 5 leaves out the prefix that the files have."""
    from transformers import SiglipVisionConfig, SiglipVisionModel

    with torch.device("meta"):
        tower = SiglipVisionModel(SiglipVisionConfig(image_size=512, patch_size=16))
    found = shapes(tower)
    return found if "vision_model.post_layernorm.weight" in found else shapes(tower, "vision_model.")


def clap() -> Shapes:
    """transformers' text tower. Its constant buffers are in the list, but files may lack them."""
    from transformers import ClapTextConfig, ClapTextModel

    with torch.device("meta"):
        tower = ClapTextModel(ClapTextConfig())
    buffers = {f"embeddings.{name}": (1, 514) for name in ("position_ids", "token_type_ids")}
    return {f"text_model.{name}": shape for name, shape in {**buffers, **shapes(tower)}.items()}


NETWORKS: dict[str, Callable[[], Shapes]] = {
    "foley_keys_xl": lambda: shapes(FoleyTransformer(XL, device="meta")),
    "foley_keys_xxl": lambda: shapes(FoleyTransformer(XXL, device="meta")),
    "dac_vae_keys": lambda: published_shapes(AudioVAE(AudioVAEConfig(), part="both", device="meta")),
    "synchformer_visual_keys": sync_encoder,
    "synchformer_full_keys": lambda: shapes(Synchformer(SynchformerConfig(), device="meta")),
    "siglip2_vision_keys": siglip,
    "clap_text_keys": clap,
    "avatar_keys": lambda: shapes(AvatarTransformer(AVATAR, device="meta")),
    "hunyuan_vae_keys": lambda: shapes(VideoVAE(device="meta")),
}


def recorded(path: Path) -> Shapes:
    return {name: tuple(shape) for name, shape in json.loads(path.read_text()).items()}


def differences(mine: Shapes, published: Shapes) -> list[str]:
    """One sentence for each name or shape that differs."""
    missing = [f"no tensor named {name}" for name in published if name not in mine]
    extra = [f"{name} is not in the published file" for name in mine if name not in published]
    wrong = [
        f"{name} is {mine[name]}, published {shape}"
        for name, shape in published.items()
        if name in mine and mine[name] != shape
    ]
    return missing + extra + wrong


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Compare parameter names and shapes with the published ones."
    )
    parser.add_argument("folder", nargs="?", type=Path, default=DEFAULT, metavar="SPEC_DIR")
    folder = parser.parse_args().folder

    failed = 0
    for name, build in NETWORKS.items():
        published = recorded(folder / f"{name}.json")
        problems = differences(build(), published)
        failed += bool(problems)
        print(f"{name}  {len(published)} tensors  {'FAILED' if problems else 'ok'}")
        for problem in problems[:10]:
            print(f"  {problem}")
    print(f"{len(NETWORKS) - failed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
