"""LLaVA and CLIP-L inside ComfyUI: LLaVA of its layers, so that it can wait in parts; CLIP-L whole."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy import model_management, ops
from comfy.model_patcher import CoreModelPatcher, ModelPatcher

from ...hunyuan.avatar.llava import Llava
from ...hunyuan.avatar.text_encoder import TextEncoder
from ...model_loaders.avatar_encoders import load_text_encoder
from .memory import patcher


@dataclass(frozen=True, eq=False)
class Part:
    """A network's place in ComfyUI's memory."""

    patcher: Any


@dataclass(frozen=True, eq=False)
class AvatarTextEncoder:
    """HYAV_TEXT_ENCODER: both networks with their tokenizers.

    parts: what has to be on the device while they encode. patcher: of the larger one, by which ComfyUI knows
    such an object.
    """

    encoder: TextEncoder
    parts: tuple[Part, Part]

    @property
    def patcher(self) -> Any:
        return self.parts[0].patcher


def avatar_text_encoder(llava: Path, clip: Path) -> AvatarTextEncoder:
    """LLaVA and CLIP-L, folders or files."""
    encoder = load_text_encoder(llava, clip)
    encoder.llava = hosted(encoder.llava)
    return AvatarTextEncoder(encoder, (Part(_llava_patcher(encoder.llava)), Part(patcher(encoder.clip))))


def hosted(stored: Llava) -> Llava:
    """The same network of ComfyUI's layers, over the same weights."""
    network = Llava(stored.config, device="meta", operations=ops.disable_weight_init)
    network.load_state_dict(stored.state_dict(), assign=True)
    return network.requires_grad_(False).eval()


def _llava_patcher(network: Llava) -> ModelPatcher:
    model_management.archive_model_dtypes(network)
    return CoreModelPatcher(
        network,
        load_device=model_management.text_encoder_device(),
        offload_device=model_management.text_encoder_offload_device(),
    )
