"""Which network a checkpoint holds, told by its tensor names, so that errors can say where it belongs."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FileKind:
    """One sort of checkpoint."""

    what: str  # with its article, as errors name it
    prefix: str  # what some tensor's name begins with in files of this sort and of no other
    sample: str = ""  # a tensor that every such file has
    loader: str = ""  # title of the node that loads it
    published: str = ""  # the file to look for

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
)
CLAP = FileKind(
    what="a CLAP text encoder",
    prefix="text_model.encoder.layer.",
    sample="text_model.embeddings.word_embeddings.weight",
    loader="Foley Text Encoder Loader",
    published="larger_clap_general",
)
AVATAR_TRANSFORMER = FileKind(what="a HunyuanVideo-Avatar transformer", prefix="audio_adapter_blocks.")
VIDEO_TRANSFORMER = FileKind(what="a HunyuanVideo transformer", prefix="double_blocks.")
VIDEO_VAE = FileKind(what="a HunyuanVideo VAE", prefix="decoder.conv_in.conv.")
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
)


def identify(names: Iterable[str]) -> FileKind:
    """The kind of file whose tensors have these names; UNKNOWN if none of ours."""
    names = tuple(names)
    return next((kind for kind in KINDS if any(name.startswith(kind.prefix) for name in names)), UNKNOWN)
