"""Write the pocket weights: tiny networks of exactly our classes, with random numbers from a seed.

    python tools/make_pocket.py [DIR]

They make every path run on any machine; untrained as they are, the sound is noise.
"""

import argparse
import json
import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import RobertaProcessing
from torch import Tensor, nn
from transformers import ClapTextConfig, ClapTextModel, SiglipVisionConfig, SiglipVisionModel

import _pack
from hunyuan_av.hunyuan.foley.audio_vae import AudioVAE, AudioVAEConfig
from hunyuan_av.hunyuan.foley.config import FoleyConfig
from hunyuan_av.hunyuan.foley.desync import Synchformer, SynchformerConfig
from hunyuan_av.hunyuan.foley.sync_encoder import SyncEncoderConfig
from hunyuan_av.hunyuan.foley.text_encoder import TextEncoder
from hunyuan_av.hunyuan.foley.transformer import FoleyTransformer
from hunyuan_av.hunyuan.foley.visual_encoder import VisualEncoder

SEED = 20_250_828
WIDTH = 64  # of every encoder
TRANSFORMER = FoleyConfig(
    hidden_size=96, num_heads=3, joint_depth=2, audio_depth=3,
    text_size=WIDTH, visual_size=WIDTH, sync_size=WIDTH,
)  # fmt: skip
AUDIO_VAE = AudioVAEConfig(encoder_dim=4, decoder_dim=128)
HEADS = 4
SYNCHFORMER = SynchformerConfig(
    hidden_size=WIDTH,
    visual=SyncEncoderConfig(hidden_size=WIDTH, depth=2, num_heads=HEADS, image_size=112, mlp_ratio=2.0),
    audio_depth=2, audio_heads=HEADS, audio_mlp_size=2 * WIDTH,
    depth=2, num_heads=HEADS, mlp_size=2 * WIDTH,
)  # fmt: skip
SIGLIP = {
    "model_type": "siglip_vision_model", "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": 2, "num_attention_heads": HEADS, "image_size": 128, "patch_size": 16,
    "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6,
}  # fmt: skip
CLAP = {
    "model_type": "clap_text_model", "vocab_size": 261, "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": 2, "num_attention_heads": HEADS, "max_position_embeddings": 514,
    "type_vocab_size": 1, "projection_dim": WIDTH, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
    "pad_token_id": 1,
}  # fmt: skip
GAINS = {"decoder.model.7.weight": 0.05, ".block.3.weight": 0.2}  # so that the decoder does not saturate
SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")


def random_weights(network: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """Numbers that keep signals at a comfortable level, bfloat16, the same on every machine."""
    return {
        name: initial(name, tensor, generator).bfloat16().contiguous()
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point()
    }


def initial(name: str, tensor: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(tensor.shape, generator=generator)
    if name.endswith("alpha"):
        return torch.ones(tensor.shape)
    if name.endswith(".bias"):
        return 0.02 * noise
    if tensor.ndim == 1:  # the scale of a norm
        return 1 + 0.02 * noise
    gain = next((gain for part, gain in GAINS.items() if part in name), 1.0)
    return gain * noise / math.sqrt(tensor[0].numel())


def save(tensors: dict[str, Tensor], path: Path, config: dict | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"format": "pt", "trained": "false"}
    if config is not None:
        metadata["config"] = json.dumps(config)
    save_file(tensors, path, metadata)


def byte_tokenizer() -> Tokenizer:
    """RoBERTa's layout over single bytes: 261 ids, no merges."""
    letters = sorted(ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate((*SPECIAL_TOKENS, *letters, "<mask>"))}
    tokenizer = Tokenizer(BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in (*SPECIAL_TOKENS, "<mask>")])
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the untrained pocket weights.")
    default = _pack.ROOT / "pocket" / "foley"
    parser.add_argument("folder", nargs="?", type=Path, default=default, metavar="DIR")
    folder = parser.parse_args().folder

    generator = torch.Generator().manual_seed(SEED)
    tokenizer = byte_tokenizer()
    clap = ClapTextModel(ClapTextConfig(**CLAP), add_pooling_layer=False)
    networks = {
        "transformer.safetensors": (FoleyTransformer(TRANSFORMER), None),
        "audio_vae.safetensors": (AudioVAE(AUDIO_VAE, part="both"), None),
        "synchformer.safetensors": (
            Synchformer(SYNCHFORMER),
            {"visual_heads": HEADS, "audio_heads": HEADS, "num_heads": HEADS},
        ),
        "siglip2/model.safetensors": (VisualEncoder(SiglipVisionModel(SiglipVisionConfig(**SIGLIP))), None),
        "clap/model.safetensors": (TextEncoder(clap, tokenizer), None),
    }
    for name, (network, config) in networks.items():
        save(random_weights(network, generator), folder / name, config)
    for name, config in {"siglip2": SIGLIP, "clap": CLAP}.items():
        (folder / name / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    tokenizer.save(str(folder / "clap" / "tokenizer.json"))

    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
