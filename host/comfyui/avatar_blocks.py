"""What other nodes do to Avatar's blocks, which are of HunyuanVideo's kinds: attention of their own, blocks
replaced, wrapped or left out."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import nn

from .attention import attention

ARGUMENTS = {
    "double": ("img", "txt", "vec", "pe"),
    "single": ("img", "vec", "pe"),
}  # core's names of the inputs
STREAMS = {"double": ("img", "txt"), "single": ("img",)}  # and of what comes out


def run_block(
    transformer_options: Mapping[str, Any], kind: str, number: int, block: nn.Module, *inputs: Any
) -> Any:
    """What comes out of a block, in the place of the transformer's own `run_block`."""
    told = {**transformer_options, "block_type": kind, "block_index": number}
    run = partial(block, attention=partial(attention, transformer_options=told))
    patches = told.get("patches_replace", {}).get("dit", {})
    patch = patches.get((f"{kind}_block", number))
    return run(*inputs) if patch is None else _patched(patch, run, kind, inputs, told)


def _patched(patch: Any, run: Any, kind: str, inputs: tuple[Any, ...], told: Any) -> Any:
    names, streams = ARGUMENTS[kind], STREAMS[kind]

    def original_block(arguments: dict[str, Any]) -> dict[str, Any]:
        out = run(*(arguments[name] for name in names))
        return dict(zip(streams, out if len(streams) > 1 else (out,), strict=True))

    arguments = dict(zip(names, inputs, strict=True)) | {"transformer_options": told}
    out = patch(arguments, {"original_block": original_block})
    return tuple(out[name] for name in streams) if len(streams) > 1 else out["img"]
