"""Avatar's networks from one folder, or the pocket ones of the pack: each is loaded for its part of the work.

One after another they fit where all of them together would not: the largest is what counts. Within a given
amount of memory, parts of it wait in host memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..host.standalone.avatar_plan import AvatarPlan, blocks_of, layers_of, on_device, plan_avatar
from ..host.standalone.memory import DTYPES, Placement
from ..host.standalone.memory_plan import GB, limit_cuda
from ..host.standalone.progress import say
from ..hunyuan.avatar.blocks import use_tokenwise
from ..hunyuan.avatar.compiled import compiled_tokenwise
from ..hunyuan.avatar.face_detector import ScrfdDetector
from ..hunyuan.avatar.speech_encoder import SpeechEncoder
from ..hunyuan.avatar.text_encoder import TextEncoder
from ..hunyuan.avatar.transformer import AvatarTransformer
from ..hunyuan.avatar.video_vae import VideoVAE
from ..hunyuan.layers.compiling import check_compiling
from ..hunyuan.layers.float8 import FLOAT8, check_multiplies_float8, use_float8_products
from ..model_loaders.avatar import load_transformer, load_video_vae
from ..model_loaders.avatar_encoders import load_speech_encoder, load_text_encoder
from ..model_loaders.avatar_folder import POCKET, AvatarFiles, find_avatar
from ..model_loaders.face_detector import load_face_detector
from .avatar_memory import form_of, llava_dtype


def check_float8_products(form: str | None, placement: Placement) -> None:
    """Raise ValueError where products in float8 are asked for and nothing would come of it."""
    if form != "fp8":
        raise ValueError("--fp8-products needs layers that are 8 bits wide. Give --form fp8 as well.")
    if placement.dtype == torch.float32:
        raise ValueError("--fp8-products is for what is computed in 16 bits. Give --dtype bfloat16 as well.")
    check_multiplies_float8(placement.device)


@dataclass(frozen=True, kw_only=True)
class AvatarModels:
    """Where the networks are, and what they are loaded onto. All come in eval mode, on their device.

    plan: how they fit into an amount of memory, where one is given.
    """

    files: AvatarFiles
    placement: Placement
    origin: str  # for people
    vae_dtype: str = "float32"
    keep_float8: bool = False  # whether the transformer's layers stay, or become, 8 bits wide
    float8_products: bool = False  # whether what enters them does, too
    compiled: bool = False  # whether what blocks do between products is
    plan: AvatarPlan | None = None

    @classmethod
    def find(
        cls,
        folder: Path | None,
        form: str | None,
        placement: Placement,
        *,
        float8_products: bool = False,
        compiled: bool = False,
        **how,
    ) -> "AvatarModels":
        """The weights in `folder`, or the pocket weights.

        float8_products: multiply in float8 what has 8-bit weights.
        compiled: compile what blocks do between products and attention; it is said when that happens.
        Raises: as `find_avatar`, `check_float8_products` and `check_compiling`.
        """
        if float8_products:
            check_float8_products(form, placement)
        if compiled:
            check_compiling(placement.device)
        origin = str(folder) if folder else "pocket (tiny and untrained: the picture is noise)"
        files = find_avatar(folder or POCKET, form)
        return cls(
            files=files,
            placement=placement,
            origin=origin,
            keep_float8=form == "fp8",
            float8_products=float8_products,
            compiled=compiled,
            **how,
        )

    def within(self, gigabytes: float, size: tuple[int, int]) -> "AvatarModels":
        """The same, within so much of the device's memory; it is said how, and torch is held to it.

        size: height and width of the video. Raises: ValueError naming the least that works.
        """
        form = form_of(
            self.files, self.placement, size,
            vae_dtype=self.vae_dtype, keep_float8=self.keep_float8, float8_products=self.float8_products,
        )  # fmt: skip
        budget = int(gigabytes * GB)
        plan = plan_avatar(budget, form)
        print(f"Memory: {plan}")
        limit_cuda(budget, self.placement.device)
        return replace(self, plan=plan)

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

    @contextmanager
    def text_encoder(self) -> Iterator[TextEncoder]:
        """To be used while the context lasts, like the transformer."""
        encoder = load_text_encoder(self.files.llava, self.files.clip, llava_dtype(self.placement))
        encoder.clip.to(self.placement.device)
        stage = self.plan.llava if self.plan else None
        with on_device(encoder.llava, layers_of(encoder.llava), stage, self.placement.device):
            yield encoder

    def video_vae(self) -> VideoVAE:
        return load_video_vae(self.files.video_vae, DTYPES[self.vae_dtype]).to(self.placement.device)

    @contextmanager
    def transformer(self) -> Iterator[AvatarTransformer]:
        dtype = self.placement.dtype
        layers = FLOAT8 if self.keep_float8 else dtype
        transformer = load_transformer(self.files.transformer, layers, rest=dtype)
        if self.float8_products:
            use_float8_products(transformer, self.placement.device)
        if self.compiled:
            use_tokenwise(transformer, compiled_tokenwise(told=say))
        stage = self.plan.transformer if self.plan else None
        with on_device(transformer, blocks_of(transformer), stage, self.placement.device):
            yield transformer

    @property
    def halves_apart(self) -> bool:
        """Whether halves of guidance run in turn, for want of memory; which shows in the last digits."""
        return self.plan is not None and self.plan.transformer.apart
