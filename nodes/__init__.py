"""The pack's nodes, handed to the host as one extension."""

from .. import host
from .conditioning import FoleyConditioning, FoleyPrompt
from .decoders import FoleyVAEDecode
from .encoders import FoleyVAEEncode, FoleyVideoEncode
from .latents import FoleyEmptyLatent, FoleyTimeMask
from .loaders import FoleyModelLoader, FoleyTextEncoderLoader, FoleyVAELoader, FoleyVideoEncoderLoader
from .samplers import FoleyGuider, FoleySampler, FoleySigmas

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
]


class HunyuanAV(host.ComfyExtension):
    async def get_node_list(self) -> list[type[host.io.ComfyNode]]:
        return list(NODES)


def extension() -> HunyuanAV:
    """The extension that ComfyUI asks for its nodes."""
    return HunyuanAV()
