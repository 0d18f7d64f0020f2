"""Foley's five networks from one folder, or the pocket ones of the pack."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..host.standalone.memory import DTYPES, Placement
from ..hunyuan.foley.audio_vae import AudioVAE
from ..hunyuan.foley.sync_encoder import SyncEncoder
from ..hunyuan.foley.text_encoder import TextEncoder
from ..hunyuan.foley.transformer import FoleyTransformer
from ..hunyuan.foley.visual_encoder import VisualEncoder
from ..model_loaders.encoders import load_text_encoder, load_visual_encoder
from ..model_loaders.foley import load_audio_vae, load_sync_encoder, load_transformer
from ..model_loaders.foley_folder import POCKET, find_foley


@dataclass(frozen=True, kw_only=True)
class FoleyModels:
    """All in eval mode, on their device."""

    transformer: FoleyTransformer
    audio_vae: AudioVAE
    visual_encoder: VisualEncoder
    sync_encoder: SyncEncoder
    text_encoder: TextEncoder
    origin: str  # for people
    fingerprint: str  # for machines: changes when the files do
    placement: Placement

    @classmethod
    def load(
        cls,
        folder: Path | None,
        size: str | None,
        placement: Placement,
        *,
        vae_part: Literal["decoder", "both"] = "decoder",
        vae_dtype: str = "float32",
    ) -> "FoleyModels":
        """The weights in `folder`, or the pocket weights. vae_part: "both" to start from a given sound."""
        files = find_foley(folder or POCKET, size)
        device = placement.device
        return cls(
            transformer=load_transformer(files.transformer, placement.dtype).to(device),
            audio_vae=load_audio_vae(files.audio_vae, vae_part, DTYPES[vae_dtype]).to(device),
            visual_encoder=load_visual_encoder(files.visual_encoder).to(device),
            sync_encoder=load_sync_encoder(files.synchformer).to(device),
            text_encoder=load_text_encoder(files.text_encoder).to(device),
            origin=str(folder) if folder else "pocket (tiny and untrained: the sound is noise)",
            fingerprint=files.fingerprint,
            placement=placement,
        )
