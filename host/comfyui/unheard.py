"""Says at the start of a run which patches of other nodes the Foley transformer has no place for.

Core ignores such patches without a word, and a user would take the unchanged sound for the node's effect.
"""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from .attention import CHANGED, OF_MIDDLE, REPLACED

HEARD_REPLACEMENTS = {"dit", REPLACED}

log = logging.getLogger(__name__)


def warn_of_unheard_patches(patcher: ModelPatcher) -> None:
    """Have every run of this model, and of its clones, begin with the warnings that it needs."""
    patcher.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "hunyuan_av", _warn_and_sample)


def _warn_and_sample(sample: Any, *arguments: Any, **options: Any) -> Any:
    guider = sample.class_obj
    for warning in warnings(guider.model_options.get("transformer_options", {}), guider.conds):
        log.warning(warning)
    return sample(*arguments, **options)


def warnings(transformer_options: Mapping[str, Any], conds: Mapping[str, Any]) -> Iterator[str]:
    """One sentence for each kind of patch that will not act. conds: the guider's, by name."""
    patches = transformer_options.get("patches", {})
    replacements = transformer_options.get("patches_replace", {})
    unheard = sorted({*patches} - {CHANGED} | {*replacements} - HEARD_REPLACEMENTS)
    if unheard:
        yield (
            f"A node patched {', '.join(unheard)}, which the Foley model does not have: it changes nothing. "
            "Take the node out, or use one for DiT models."
        )
    elsewhere = [place for place in replacements.get(REPLACED, {}) if not _is_place(place)]
    if elsewhere:
        yield (
            f"A node replaced attention in {elsewhere}, which the Foley model does not have: it changes "
            "nothing. Use double_block, single_block, or the middle block 0."
        )
    lengths = {entry["cross_attn"].shape[1] for entries in conds.values() for entry in entries or ()}
    if CHANGED in patches and len(lengths) > 1:
        yield (
            f"The prompts are {' and '.join(map(str, sorted(lengths)))} tokens long and run one after the "
            "other, so what a node does to attention between them (NAG) changes nothing. Encode both with "
            "one Foley Prompt."
        )


def _is_place(place: tuple[Any, ...]) -> bool:
    return place[:2] == OF_MIDDLE or place[0] in ("double_block", "single_block")
