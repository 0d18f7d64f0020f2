"""Nodes that load the networks from their files."""

from typing import Literal

import torch

from .. import host
from .sockets import VideoEncoder, VideoEncoderSocket

io = host.io

CATEGORY = "Hunyuan AV/Foley"
WEIGHT_DTYPES = {
    "default": None,
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp8_e4m3fn": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
    "int8": torch.int8,
}


def file_input(input_id: str, kind: str, tooltip: str):
    """A list of the model files of a kind; the pocket file is always on it."""
    return io.Combo.Input(input_id, options=host.model_files(kind), tooltip=tooltip)


class FoleyModelLoader(io.ComfyNode):
    """file, weight dtype -> MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVFoleyModelLoader",
            display_name="Foley Model Loader",
            category=CATEGORY,
            description="Loads a HunyuanVideo-Foley transformer, XL or XXL, which makes the sound.",
            search_aliases=["hunyuanvideo foley", "video to audio", "load foley model"],
            inputs=[
                file_input(
                    "model_file",
                    "foley_model",
                    "The transformer, from models/diffusion_models or models/foley: hunyuanvideo_foley.pth "
                    "(XXL), hunyuanvideo_foley_xl.pth, or a safetensors or GGUF copy. The pocket file is "
                    "tiny, for trying out.",
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=list(WEIGHT_DTYPES),
                    default="default",
                    tooltip="The number format of the weights. default suits your device: bf16 on a GPU as "
                    "published; a GGUF file stays packed. fp32 takes twice the memory for hardly audible "
                    "differences; int8 takes two thirds and stays closer to bf16 than fp8, which takes as "
                    "much and roughens the sound a little.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="For Foley Sampler, Foley Guider or KSampler.")
            ],
        )

    @classmethod
    def execute(cls, model_file: str, weight_dtype: str) -> io.NodeOutput:
        path = host.model_path("foley_model", model_file)
        return io.NodeOutput(host.foley_model(path, WEIGHT_DTYPES[weight_dtype]))


class FoleyVAELoader(io.ComfyNode):
    """file, part -> VAE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVFoleyVAELoader",
            display_name="Foley VAE Loader",
            category=CATEGORY,
            description="Loads the audio VAE that turns Foley's latents into 48 kHz sound and back.",
            search_aliases=["dac vae", "audio vae", "load foley vae"],
            inputs=[
                file_input(
                    "vae_file",
                    "foley_vae",
                    "The audio VAE, from models/vae or models/foley: vae_128d_48k.pth.",
                ),
                io.Combo.Input(
                    "part",
                    options=["decoder", "both"],
                    default="decoder",
                    tooltip="decoder is all that making sound needs, and a fifth of the file (0.3 GB). both "
                    "can encode sound too, for changing a part of it; 1.5 GB.",
                ),
            ],
            outputs=[io.Vae.Output(display_name="vae", tooltip="For Foley VAE Decode and Foley VAE Encode.")],
        )

    @classmethod
    def execute(cls, vae_file: str, part: Literal["decoder", "both"]) -> io.NodeOutput:
        return io.NodeOutput(host.foley_vae(host.model_path("foley_vae", vae_file), part))


class FoleyTextEncoderLoader(io.ComfyNode):
    """CLAP file -> CLIP."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVFoleyTextEncoderLoader",
            display_name="Foley Text Encoder Loader",
            category=CATEGORY,
            description="Loads CLAP, which turns a description of the sound into what the Foley model "
            "follows.",
            search_aliases=["clap", "load clap", "larger_clap_general"],
            inputs=[
                file_input(
                    "text_encoder_file",
                    "clap",
                    "The weights in the folder of CLAP (larger_clap_general), in models/text_encoders or "
                    "models/foley. tokenizer.json, or vocab.json and merges.txt, must lie beside them.",
                ),
            ],
            outputs=[io.Clip.Output(display_name="clip", tooltip="For Foley Prompt.")],
        )

    @classmethod
    def execute(cls, text_encoder_file: str) -> io.NodeOutput:
        return io.NodeOutput(host.foley_text_encoder(host.model_path("clap", text_encoder_file)))


class FoleyVideoEncoderLoader(io.ComfyNode):
    """SigLIP 2 and Synchformer files -> HYAV_VIDEO_ENCODER."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVFoleyVideoEncoderLoader",
            display_name="Foley Video Encoder Loader",
            category=CATEGORY,
            description="Loads the two networks that watch the video: SigLIP 2 sees what is in the picture, "
            "Synchformer sees when something happens.",
            search_aliases=["siglip2", "synchformer", "load synchformer"],
            inputs=[
                file_input(
                    "siglip_file",
                    "siglip",
                    "SigLIP 2 (siglip2-base-patch16-512), from models/clip_vision or models/foley. The "
                    "vision tower alone is enough.",
                ),
                file_input(
                    "synchformer_file",
                    "synchformer",
                    "Synchformer, from models/foley or models/clip_vision: synchformer_state_dict.pth.",
                ),
            ],
            outputs=[
                VideoEncoderSocket.Output(display_name="video_encoder", tooltip="For Foley Video Encode.")
            ],
        )

    @classmethod
    def execute(cls, siglip_file: str, synchformer_file: str) -> io.NodeOutput:
        from ..model_loaders.encoders import load_visual_encoder
        from ..model_loaders.foley import load_sync_encoder

        visual = load_visual_encoder(host.model_path("siglip", siglip_file))
        sync = load_sync_encoder(host.model_path("synchformer", synchformer_file))
        return io.NodeOutput(VideoEncoder.of(visual, sync))
