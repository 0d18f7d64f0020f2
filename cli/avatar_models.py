"""Avatar's networks from one folder, or the pocket ones of the pack: each is loaded for its part of the work.

One after another they fit where all of them together would not: the largest is what counts.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from ..host.standalone.memory import DTYPES, Placement
from ..hunyuan.avatar.face_detector import ScrfdDetector
from ..hunyuan.avatar.speech_encoder import SpeechEncoder
from ..hunyuan.avatar.text_encoder import TextEncoder
from ..hunyuan.avatar.transformer import AvatarTransformer
from ..hunyuan.avatar.video_vae import VideoVAE
from ..hunyuan.layers.float8 import FLOAT8
from ..model_loaders.avatar import load_transformer, load_video_vae
from ..model_loaders.avatar_encoders import load_speech_encoder, load_text_encoder
from ..model_loaders.avatar_folder import POCKET, AvatarFiles, find_avatar
from ..model_loaders.face_detector import load_face_detector


@dataclass(frozen=True, kw_only=True)
class AvatarModels:
    """Where the networks are, and what they are loaded onto. All come in eval mode, on their device."""

    files: AvatarFiles
    placement: Placement
    origin: str  # for people
    vae_dtype: str = "float32"
    keep_float8: bool = False  # whether the transformer's layers stay, or become, 8 bits wide

    @classmethod
    def find(cls, folder: Path | None, form: str | None, placement: Placement, **how) -> "AvatarModels":
        """The weights in `folder`, or the pocket weights. Raises as `find_avatar`."""
        origin = str(folder) if folder else "pocket (tiny and untrained: the picture is noise)"
        files = find_avatar(folder or POCKET, form)
        return cls(files=files, placement=placement, origin=origin, keep_float8=form == "fp8", **how)

    def face_detector(self) -> ScrfdDetector:
        """Raises FileNotFoundError if there is none: then only a mask can say who speaks."""
        if self.files.face_detector is None:
            raise FileNotFoundError(
                "There is no face detector among the weights: put an SCRFD such as det_10g.onnx there, or say"
                " with --mask where the face is."
            )
        return load_face_detector(self.files.face_detector)

    def speech_encoder(self) -> SpeechEncoder:
        return load_speech_encoder(self.files.whisper).to(self.placement.device)

    def text_encoder(self) -> TextEncoder:
        """LLaVA in its file's own dtype on a GPU, as published."""
        dtype = torch.float32 if self.placement.device.type == "cpu" else None
        encoder = load_text_encoder(self.files.llava, self.files.clip, dtype)
        encoder.llava.to(self.placement.device)
        encoder.clip.to(self.placement.device)
        return encoder

    def video_vae(self) -> VideoVAE:
        return load_video_vae(self.files.video_vae, DTYPES[self.vae_dtype]).to(self.placement.device)

    def transformer(self) -> AvatarTransformer:
        dtype = self.placement.dtype
        layers = FLOAT8 if self.keep_float8 else dtype
        return load_transformer(self.files.transformer, layers, rest=dtype).to(self.placement.device)
