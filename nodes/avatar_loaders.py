"""Nodes that load Avatar's networks from their files."""

import torch

from .. import host
from .avatar_sockets import (
    AVATAR_CATEGORY,
    FaceDetectorSocket,
    HeldSpeechEncoder,
    SpeechEncoderSocket,
    TextEncoderSocket,
)
from .loaders import file_input

io = host.io

BESIDE = "beside the model"
WEIGHT_DTYPES = {
    "default": None,
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp8_e4m3fn": torch.float8_e4m3fn,
}


class AvatarModelLoader(io.ComfyNode):
    """file, fp8 map, weight dtype -> MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        maps = [name for name in host.model_files("avatar_model") if "map" in name.lower()]
        return io.Schema(
            node_id="HunyuanAVAvatarModelLoader",
            display_name="Avatar Model Loader",
            category=AVATAR_CATEGORY,
            description="Loads a HunyuanVideo-Avatar transformer, which makes the video.",
            search_aliases=["hunyuanvideo avatar", "talking head", "load avatar model"],
            inputs=[
                file_input(
                    "model_file",
                    "avatar_model",
                    "The transformer, from models/diffusion_models: mp_rank_00_model_states.pt, the _fp8 "
                    "one, or a safetensors copy. The pocket file is tiny, for trying out.",
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=list(WEIGHT_DTYPES),
                    default="default",
                    tooltip="The number format of the weights. default suits your device: bf16 on a GPU as "
                    "published, 26 GB. fp8 takes half of that, and the picture is a little less exact.",
                ),
                io.Combo.Input(
                    "map_file",
                    options=[BESIDE, *maps],
                    default=BESIDE,
                    advanced=True,
                    tooltip="The scales of the published fp8 file: a file of the same name with _map, which "
                    "is found where it lies beside the model.",
                ),
            ],
            outputs=[
                io.Model.Output(
                    display_name="model", tooltip="For Avatar Sampler, Avatar Guider or KSampler."
                )
            ],
        )

    @classmethod
    def execute(cls, model_file: str, weight_dtype: str, map_file: str) -> io.NodeOutput:
        path = host.model_path("avatar_model", model_file)
        map_path = None if map_file == BESIDE else host.model_path("avatar_model", map_file)
        return io.NodeOutput(host.avatar_model(path, map_path, WEIGHT_DTYPES[weight_dtype]))


class AvatarVAELoader(io.ComfyNode):
    """file -> VAE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVAvatarVAELoader",
            display_name="Avatar VAE Loader",
            category=AVATAR_CATEGORY,
            description="Loads the video VAE that turns pictures into Avatar's latents and these into video.",
            search_aliases=["hunyuanvideo vae", "load avatar vae", "video vae"],
            inputs=[
                file_input(
                    "vae_file",
                    "avatar_vae",
                    "The video VAE of HunyuanVideo-Avatar (vae/pytorch_model.pt, 1 GB), from models/vae, "
                    "with its config.json beside it.",
                ),
            ],
            outputs=[
                io.Vae.Output(
                    display_name="vae", tooltip="For Avatar Conditioning and the nodes that decode."
                )
            ],
        )

    @classmethod
    def execute(cls, vae_file: str) -> io.NodeOutput:
        return io.NodeOutput(host.avatar_vae(host.model_path("avatar_vae", vae_file)))


class AvatarTextEncoderLoader(io.ComfyNode):
    """LLaVA folder, CLIP-L -> HYAV_TEXT_ENCODER."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVAvatarTextEncoderLoader",
            display_name="Avatar Text Encoder Loader",
            category=AVATAR_CATEGORY,
            description="Loads the two networks that read the prompt: LLaVA, which sees the picture too, and "
            "CLIP-L.",
            search_aliases=["llava llama3", "clip-l", "load avatar text encoder"],
            inputs=[
                file_input(
                    "llava_file",
                    "llava",
                    "The weights in the folder of LLaVA (llava_llama_image, 17 GB; of several files the "
                    "first), from models/text_encoders. Its tokenizer must lie beside them.",
                ),
                file_input(
                    "clip_file",
                    "avatar_clip",
                    "CLIP-L (text_encoder_2), from models/text_encoders, with its tokenizer beside it.",
                ),
            ],
            outputs=[TextEncoderSocket.Output(display_name="text_encoder", tooltip="For Avatar Prompt.")],
        )

    @classmethod
    def execute(cls, llava_file: str, clip_file: str) -> io.NodeOutput:
        llava, clip = host.model_path("llava", llava_file), host.model_path("avatar_clip", clip_file)
        return io.NodeOutput(host.avatar_text_encoder(llava, clip))


class AvatarSpeechEncoderLoader(io.ComfyNode):
    """Whisper-tiny folder -> HYAV_SPEECH_ENCODER."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVAvatarSpeechEncoderLoader",
            display_name="Avatar Speech Encoder Loader",
            category=AVATAR_CATEGORY,
            description="Loads Whisper-tiny, which listens to the speech.",
            search_aliases=["whisper tiny", "audio encoder", "load whisper"],
            inputs=[
                file_input(
                    "whisper_file",
                    "whisper",
                    "The weights in the folder of Whisper-tiny, from models/audio_encoders.",
                ),
            ],
            outputs=[
                SpeechEncoderSocket.Output(display_name="speech_encoder", tooltip="For Avatar Speech Encode.")
            ],
        )

    @classmethod
    def execute(cls, whisper_file: str) -> io.NodeOutput:
        from ..model_loaders.avatar_encoders import load_speech_encoder

        network = load_speech_encoder(host.model_path("whisper", whisper_file))
        return io.NodeOutput(HeldSpeechEncoder.of(network))


class FaceDetectorLoader(io.ComfyNode):
    """detector file -> HYAV_FACE_DETECTOR."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVFaceDetectorLoader",
            display_name="Face Detector Loader",
            category=AVATAR_CATEGORY,
            description="Loads an SCRFD face detector, which insightface runs. Not needed where you draw the "
            "masks yourself.",
            search_aliases=["insightface", "scrfd", "buffalo_l"],
            inputs=[
                file_input(
                    "detector_file",
                    "face_detector",
                    "An SCRFD in an ONNX file, such as det_10g.onnx of insightface's buffalo_l, from "
                    "models/insightface. The pocket file finds light squares, for trying out.",
                ),
            ],
            outputs=[FaceDetectorSocket.Output(display_name="detector", tooltip="For Face Detect.")],
        )

    @classmethod
    def execute(cls, detector_file: str) -> io.NodeOutput:
        from ..model_loaders.face_detector import load_face_detector

        return io.NodeOutput(load_face_detector(host.model_path("face_detector", detector_file)))
