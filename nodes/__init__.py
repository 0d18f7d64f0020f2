"""The pack's nodes, handed to the host as one extension."""

from .. import host
from .avatar_conditioning import AvatarCharacter, AvatarConditioning
from .avatar_decoders import AvatarDecodeVideo, AvatarVAEDecode
from .avatar_encoders import AvatarPrompt, AvatarReferenceImage, AvatarSpeechEncode
from .avatar_loaders import (
    AvatarModelLoader,
    AvatarSpeechEncoderLoader,
    AvatarTextEncoderLoader,
    AvatarVAELoader,
    FaceDetectorLoader,
)
from .avatar_samplers import AvatarGuider, AvatarSampler
from .conditioning import FoleyConditioning, FoleyPrompt
from .decoders import FoleyVAEDecode
from .encoders import FoleyVAEEncode, FoleyVideoEncode
from .face_mask import FaceDetect, FaceMask
from .latents import FoleyEmptyLatent, FoleyTimeMask
from .loaders import FoleyModelLoader, FoleyTextEncoderLoader, FoleyVAELoader, FoleyVideoEncoderLoader
from .long_video import FoleyLongVideo, FoleyShots, SlidingWindows
from .samplers import FoleyGuider, FoleySampler, FoleySigmas
from .soundtrack import FoleyMix
from .sync_plot import FoleySyncPlot

NODES: list[type[host.io.ComfyNode]] = [
    FoleyModelLoader,
    FoleyVAELoader,
    FoleyTextEncoderLoader,
    FoleyVideoEncoderLoader,
    FoleyVideoEncode,
    FoleyPrompt,
    FoleyConditioning,
    FoleyEmptyLatent,
    FoleyTimeMask,
    FoleySigmas,
    FoleyGuider,
    FoleySampler,
    FoleyVAEDecode,
    FoleyVAEEncode,
    FoleyMix,
    FoleySyncPlot,
    FoleyShots,
    FoleyLongVideo,
    SlidingWindows,
    AvatarModelLoader,
    AvatarVAELoader,
    AvatarTextEncoderLoader,
    AvatarSpeechEncoderLoader,
    FaceDetectorLoader,
    AvatarReferenceImage,
    FaceDetect,
    FaceMask,
    AvatarSpeechEncode,
    AvatarCharacter,
    AvatarPrompt,
    AvatarConditioning,
    AvatarGuider,
    AvatarSampler,
    AvatarVAEDecode,
    AvatarDecodeVideo,
]


class HunyuanAV(host.ComfyExtension):
    async def get_node_list(self) -> list[type[host.io.ComfyNode]]:
        return list(NODES)


def extension() -> HunyuanAV:
    """The extension that ComfyUI asks for its nodes."""
    return HunyuanAV()
