"""Write Avatar's pocket weights: tiny networks of exactly our classes, with random numbers from a seed.

    python tools/make_pocket_avatar.py [DIR]

They make every path run on any machine; untrained as they are, the picture is noise. The face detector is
calculated, not random: it finds patches of the colour of skin.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import onnx
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

import _pack
from hunyuan_av.hunyuan.avatar.clip_text import ClipText
from hunyuan_av.hunyuan.avatar.config import AvatarConfig, rope_sizes
from hunyuan_av.hunyuan.avatar.llava import Llava
from hunyuan_av.hunyuan.avatar.llava_config import ClipVisionConfig, LlamaConfig, LlavaConfig
from hunyuan_av.hunyuan.avatar.speech_encoder import SpeechEncoder
from hunyuan_av.hunyuan.avatar.transformer import AvatarTransformer
from hunyuan_av.hunyuan.avatar.video_vae import VideoVAE
from hunyuan_av.hunyuan.avatar.video_vae_config import SETTINGS, VideoVAEConfig
from pocket_detector import detector

SEED = 20_250_520
WIDTH = 32  # of every encoder
HEADS = 2

TRANSFORMER = AvatarConfig(
    hidden_size=64, num_heads=2, double_depth=4, single_depth=3, rope_sizes=rope_sizes(32),
    text_size=WIDTH, pooled_size=WIDTH, audio_size=16, audio_hidden_size=WIDTH, adapter_size=WIDTH,
    mlp_ratio=2.0,
)  # fmt: skip
VIDEO_VAE = VideoVAEConfig(channels=(4, 8, 8, 8), layers_per_level=1, norm_groups=4)
LLAMA_SPECIAL = ("<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<image>")
CLIP_SPECIAL = ("<|startoftext|>", "<|endoftext|>")
BYTES = 256
LLAVA = LlavaConfig(
    # All layers are written, also those at the ends that are not used.
    vision=ClipVisionConfig(hidden_size=8, mlp_size=16, depth=2, num_heads=HEADS, patch_size=56),
    text=LlamaConfig(
        hidden_size=WIDTH, mlp_size=2 * WIDTH, depth=4, num_heads=HEADS, num_kv_heads=1,
        vocabulary=BYTES + len(LLAMA_SPECIAL),
    ),
    image_token=BYTES + len(LLAMA_SPECIAL) - 1,
)  # fmt: skip
CLIP = {
    "model_type": "clip_text_model", "vocab_size": BYTES + len(CLIP_SPECIAL), "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH, "num_hidden_layers": 2, "num_attention_heads": HEADS,
    "max_position_embeddings": 77, "hidden_act": "quick_gelu",
    "bos_token_id": BYTES, "eos_token_id": BYTES + 1, "pad_token_id": BYTES + 1,
}  # fmt: skip
WHISPER = {
    "model_type": "whisper", "d_model": TRANSFORMER.audio_size, "encoder_layers": 4,
    "encoder_attention_heads": HEADS, "encoder_ffn_dim": WIDTH, "num_mel_bins": 80,
    "max_source_positions": 1500,
}  # fmt: skip


def byte_tokenizer(special: tuple[str, ...], template: str) -> Tokenizer:
    """A token for each byte, without merges, then the special ones. template: what goes around a text."""
    vocabulary = {token: i for i, token in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = Tokenizer(BPE(vocabulary, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    known = [(token, tokenizer.token_to_id(token)) for token in special]
    tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=known)
    return tokenizer


def llava_config() -> dict[str, Any]:
    """What no shape tells, by transformers' names."""
    return {
        "model_type": "llava",
        "image_token_index": LLAVA.image_token,
        "vision_config": {"num_attention_heads": LLAVA.vision.num_heads},
        "text_config": {"num_attention_heads": LLAVA.text.num_heads, "rope_theta": LLAVA.text.rope_theta},
    }


def write_networks(folder: Path) -> None:
    generator = torch.Generator().manual_seed(SEED)
    clip_tokenizer = byte_tokenizer(CLIP_SPECIAL, "<|startoftext|> $A <|endoftext|>")
    clip = ClipText(CLIPTextModel(CLIPTextConfig(**CLIP)), clip_tokenizer)
    settings = {published: getattr(VIDEO_VAE, ours) for published, ours in SETTINGS.items()}
    networks = {
        "transformer.safetensors": (AvatarTransformer(TRANSFORMER), None),
        "video_vae.safetensors": (VideoVAE(VIDEO_VAE), settings),
        "llava/model.safetensors": (Llava(LLAVA), None),
        "clip/model.safetensors": (clip, None),
        "whisper/model.safetensors": (SpeechEncoder(WhisperEncoder(WhisperConfig(**WHISPER))), None),
    }
    for name, (network, config) in networks.items():
        save(random_weights(network, generator), folder / name, config)

    clip_tokenizer.save(str(folder / "clip" / "tokenizer.json"))
    llava_tokenizer = byte_tokenizer(LLAMA_SPECIAL, "<|begin_of_text|> $A")
    llava_tokenizer.save(str(folder / "llava" / "tokenizer.json"))
    for name, config in {"llava": llava_config(), "clip": CLIP, "whisper": WHISPER}.items():
        (folder / name / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def random_weights(network: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """Numbers that keep signals at a comfortable level, bfloat16, the same on every machine."""
    return {
        name: initial(name, tensor, generator).bfloat16().contiguous()
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point()
    }


def initial(name: str, tensor: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(tensor.shape, generator=generator)
    if name.endswith(".bias"):
        return 0.02 * noise
    if tensor.ndim == 1:  # the scale of a norm
        return 1 + 0.02 * noise
    return noise / math.sqrt(tensor[0].numel())


def save(tensors: dict[str, Tensor], path: Path, config: dict | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"format": "pt", "trained": "false"}
    if config is not None:
        metadata["config"] = json.dumps(config)
    save_file(tensors, path, metadata)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write Avatar's untrained pocket weights.")
    default = _pack.ROOT / "pocket" / "avatar"
    parser.add_argument("folder", nargs="?", type=Path, default=default, metavar="DIR")
    folder = parser.parse_args().folder

    write_networks(folder)
    onnx.save(detector(), folder / "face_detector.onnx")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
