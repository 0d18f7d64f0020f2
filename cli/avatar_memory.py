"""`hunyuan_av avatar --memory`: the sizes of Avatar's networks in files, from which a plan is made."""

import torch

from ..host.standalone.avatar_plan import AvatarForm
from ..host.standalone.memory import DTYPES, Placement
from ..host.standalone.streaming import byte_size
from ..hunyuan.layers.float8 import FLOAT8
from ..model_loaders.avatar import sized_transformer, sized_video_vae
from ..model_loaders.avatar_encoders import sized_clip_text, sized_llava
from ..model_loaders.avatar_folder import AvatarFiles


def llava_dtype(placement: Placement) -> torch.dtype | None:
    """Its file's own on a GPU, as published."""
    return torch.float32 if placement.device.type == "cpu" else None


def form_of(
    files: AvatarFiles,
    placement: Placement,
    size: tuple[int, int],
    *,
    vae_dtype: str,
    keep_float8: bool,
    float8_products: bool = False,
) -> AvatarForm:
    """The networks as `AvatarModels` loads them; no values are read. size: of the video, height and width."""
    dtype, name = placement.dtype, str(placement.dtype).removeprefix("torch.")
    transformer = sized_transformer(files.transformer, FLOAT8 if keep_float8 else dtype, dtype)
    llava = sized_llava(files.llava, llava_dtype(placement))
    vae = sized_video_vae(files.video_vae, DTYPES[vae_dtype])
    return AvatarForm.of(
        transformer, llava, vae, byte_size(sized_clip_text(files.clip)),
        name="fp8" if keep_float8 else name, dtype=dtype, height=size[0], width=size[1],
        float8_products=float8_products,
    )  # fmt: skip
