"""Which network a checkpoint holds, told by its tensor names, so that errors can say where it belongs."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FileKind:
    """One sort of checkpoint."""

    what: str  # with its article, as errors name it
    prefix: str | tuple[str, ...]  # what some tensor's name begins with in files of this sort and of no other
    sample: str = ""  # a tensor that every such file has
    loader: str = ""  # title of the node that loads it
    published: str = ""  # the file to look for
    is_folder: bool = False  # published as a folder: weights, config.json and, for text, a tokenizer

    @property
    def advice(self) -> str:
        """Where a file of this kind belongs."""
        return f"Choose it in the {self.loader}." if self.loader else f"It looks like {self.what}."


FOLEY_TRANSFORMER = FileKind(
    what="a Foley transformer",
    prefix="triple_blocks.",
    sample="triple_blocks.0.audio_mod.linear.weight",
    loader="Foley Model Loader",
    published="hunyuanvideo_foley.pth",
)
AUDIO_VAE = FileKind(
    what="a Foley audio VAE",
    prefix="decoder.model.",
    sample="decoder.model.0.bias",
    loader="Foley VAE Loader",
    published="vae_128d_48k.pth",
)
SYNCHFORMER = FileKind(
    what="a Synchformer",
    prefix="vfeat_extractor.",
    sample="vfeat_extractor.patch_embed_3d.proj.weight",
    loader="Foley Video Encoder Loader (Synchformer)",
    published="synchformer_state_dict.pth",
)
SIGLIP = FileKind(
    what="a SigLIP vision encoder",
    prefix="vision_model.head.",
    sample="vision_model.embeddings.patch_embedding.weight",
    loader="Foley Video Encoder Loader (SigLIP)",
    published="siglip2-base-patch16-512",
    is_folder=True,
)
CLAP = FileKind(
    what="a CLAP text encoder",
    prefix="text_model.encoder.layer.",
    sample="text_model.embeddings.word_embeddings.weight",
    loader="Foley Text Encoder Loader",
    published="larger_clap_general",
    is_folder=True,
)
AVATAR_TRANSFORMER = FileKind(
    what="a HunyuanVideo-Avatar transformer",
    prefix="audio_adapter_blocks.",
    sample="audio_adapter_blocks.0.to_q.weight",
    loader="Avatar Model Loader",
    published="mp_rank_00_model_states.pt",
)
VIDEO_TRANSFORMER = FileKind(what="a HunyuanVideo transformer", prefix="double_blocks.")
VIDEO_VAE = FileKind(
    what="a HunyuanVideo VAE",
    prefix=("decoder.conv_in.conv.", "vae.decoder.conv_in.conv."),
    sample="decoder.conv_in.conv.weight",
    loader="Avatar VAE Loader",
    published="vae/pytorch_model.pt",
)
LLAVA = FileKind(
    what="a LLaVA-Llama-3 model",
    prefix=("multi_modal_projector.", "vision_tower.", "language_model.", "model.language_model."),
    sample="multi_modal_projector.linear_1.weight",
    loader="Avatar Text Encoder Loader (LLaVA)",
    published="llava_llama_image",
    is_folder=True,
)
CLIP = FileKind(
    what="a CLIP text encoder",
    prefix=("text_model.encoder.layers.", "encoder.layers.0.layer_norm1."),
    sample="text_model.embeddings.token_embedding.weight",
    loader="Avatar Text Encoder Loader (CLIP-L)",
    published="text_encoder_2",
    is_folder=True,
)
WHISPER = FileKind(
    what="a Whisper speech encoder",
    prefix=("model.encoder.embed_positions.", "encoder.embed_positions."),
    sample="encoder.embed_positions.weight",
    loader="Avatar Speech Encoder Loader",
    published="whisper-tiny",
    is_folder=True,
)
UNKNOWN = FileKind(what="an unknown file", prefix="")

KINDS = (
    FOLEY_TRANSFORMER,
    AUDIO_VAE,
    SYNCHFORMER,
    SIGLIP,
    CLAP,
    AVATAR_TRANSFORMER,
    VIDEO_TRANSFORMER,
    VIDEO_VAE,
    LLAVA,
    WHISPER,
    CLIP,
)


def identify(names: Iterable[str]) -> FileKind:
    """The kind of file whose tensors have these names; UNKNOWN if none of ours."""
    names = tuple(names)
    return next((kind for kind in KINDS if any(name.startswith(kind.prefix) for name in names)), UNKNOWN)
