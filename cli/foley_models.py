"""Foley's five networks from one folder, or the pocket ones of the pack, and LoRAs added to them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..host.standalone.memory import DTYPES, Placement
from ..host.standalone.memory_plan import MemoryPlan, carry_out, limit_cuda
from ..host.standalone.progress import say
from ..hunyuan.foley.audio_vae import AudioVAE
from ..hunyuan.foley.compiled import compiled_blocks
from ..hunyuan.foley.sync_encoder import SyncEncoder
from ..hunyuan.foley.text_encoder import TextEncoder
from ..hunyuan.foley.transformer import FoleyTransformer, RunBlock, run_block
from ..hunyuan.foley.visual_encoder import VisualEncoder
from ..hunyuan.layers.compiling import check_compiling
from ..hunyuan.media.files import digest
from ..hunyuan.media.source import check_readable
from ..model_loaders.encoders import load_text_encoder, load_visual_encoder
from ..model_loaders.foley import load_audio_vae, load_sync_encoder
from ..model_loaders.foley_folder import POCKET, find_foley
from ..model_loaders.lora import add_lora
from .foley_memory import MemoryLimit, make_plan, needs_of, transformer_of


@dataclass(frozen=True)
class Lora:
    """A LoRA file, and how much of it is added to the transformer."""

    path: Path
    strength: float = 1.0

    @classmethod
    def parse(cls, text: str) -> "Lora":
        """FILE or FILE:STRENGTH. Raises: as `check_readable`; ValueError for a strength that is no number."""
        path, _, strength = text.rpartition(":")
        try:
            lora = cls(Path(path), float(strength)) if path else cls(Path(text))
        except ValueError:
            lora = cls(Path(text))  # the colon belongs to the file's name
        if not math.isfinite(lora.strength):
            raise ValueError(f"--lora {text}: the strength {lora.strength} is no number.")
        check_readable(lora.path)
        return lora

    def __str__(self) -> str:
        return f"{self.path.name} at {self.strength:g}"

    @property
    def fingerprint(self) -> str:
        return f"{digest(self.path)} at {self.strength!r}"


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
    run: RunBlock = run_block  # calls each of the transformer's blocks
    graphs: bool | None = False  # whether steps are recorded as CUDA graphs; None is where that pays
    limited: bool = False  # whether all was planned for a limit of memory

    @property
    def is_compiled(self) -> bool:
        return self.run is not run_block

    @classmethod
    def load(
        cls,
        folder: Path | None,
        size: str | None,
        placement: Placement,
        *,
        vae_part: Literal["decoder", "both"] = "decoder",
        vae_dtype: str = "float32",
        loras: Iterable[str] = (),
        weight_dtype: str | None = None,
        memory: MemoryLimit | None = None,
        compiled: bool = False,
        graphs: bool | None = None,
    ) -> "FoleyModels":
        """The weights in `folder`, or the pocket weights.

        vae_part: "both" to start from a given sound. loras: added to the transformer, FILE or FILE:STRENGTH.
        weight_dtype: how the transformer's layers are stored, None being as they compute, or packed as in
            their file. memory: what all has to fit into; then it is said how it does.
        compiled: call the transformer's blocks through `torch.compile`; it is said when that happens.
        graphs: record steps as CUDA graphs; None is where that pays.
        Raises: ValueError if it does not fit, CompileError, and what the loaders raise.
        """
        if compiled:
            check_compiling(placement.device)
        chosen = [Lora.parse(text) for text in loras]  # before gigabytes are read
        files = find_foley(folder or POCKET, size)
        vae = load_audio_vae(files.audio_vae, vae_part, DTYPES[vae_dtype])
        visual, sync = load_visual_encoder(files.visual_encoder), load_sync_encoder(files.synchformer)
        text = load_text_encoder(files.text_encoder)

        plan = None
        if memory is not None:
            beside = sum(lora.path.stat().st_size for lora in chosen)
            others = needs_of(visual, sync, text, vae, memory)
            plan = make_plan(files.transformer, weight_dtype, placement.dtype, memory, others, beside)
            print(f"Memory: {plan}")
            _check_together(plan, memory, {"--compile": compiled, "--graphs": graphs})
            limit_cuda(memory.bytes, placement.device)
            weight_dtype = plan.form.packing
        transformer = transformer_of(files.transformer, weight_dtype, placement.dtype)
        for lora in chosen:
            add_lora(transformer, lora.path, lora.strength)
        carry_out(plan, transformer, [[visual, sync], [text], [vae]], placement.device)

        origin = str(folder) if folder else "pocket (tiny, trained on rendered scenes)"
        stored = [weight_dtype] if weight_dtype else []
        return cls(
            transformer=transformer,
            audio_vae=vae,
            visual_encoder=visual,
            sync_encoder=sync,
            text_encoder=text,
            origin=", with ".join([origin, *map(str, chosen)]),
            fingerprint="; ".join([files.fingerprint, *(lora.fingerprint for lora in chosen), *stored]),
            placement=placement,
            run=compiled_blocks(told=say) if compiled else run_block,
            graphs=graphs,
            limited=memory is not None,
        )


def _check_together(plan: MemoryPlan, memory: MemoryLimit, asked: Mapping[str, bool | None]) -> None:
    """Raises ValueError for an option that needs all networks on the device, where they do not stay there."""
    for option, is_asked in asked.items():
        if is_asked and not plan.together:
            raise ValueError(
                f"{option} needs all networks to stay on the device, and with {memory.gigabytes:g} GB they do"
                f" not: {plan.how}. Give more --memory, or leave out {option}."
            )
