"""What other nodes do to a model's blocks: attention of their own, blocks replaced, wrapped or left out.

ComfyUI carries such patches in `transformer_options`. A joint block is its "double_block" with the audio
tokens as `img` and the visual tokens as `txt`; an audio block is its "single_block".
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from comfy.ldm.modules.attention import optimized_attention
from torch import Tensor, nn

NAMES = {"joint": "double", "audio": "single"}
ARGUMENTS = {
    "joint": ("img", "txt", "vec"),
    "audio": ("img", "vec"),
}  # core's names of a block's first inputs


def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, transformer_options: Mapping[str, Any]
) -> Tensor:
    """The attention that ComfyUI's user or a node has chosen; shapes as in `hunyuan.layers.attention`."""
    return optimized_attention(
        q, k, v, heads=q.shape[1], mask=mask,
        skip_reshape=True, skip_output_reshape=True, transformer_options=transformer_options,
    )  # fmt: skip


def run_block(
    transformer_options: Mapping[str, Any],
    kind: str,
    number: int,
    block: nn.Module,
    *inputs: Any,
    **options: Any,
) -> Any:
    """What comes out of a block, in the place of the transformer's own `run_block`."""
    told = {**transformer_options, "block_type": NAMES[kind], "block_index": number}
    run = partial(block, **options, attention=partial(attention, transformer_options=told))

    patches = told.get("patches_replace", {}).get("dit", {})
    patch = patches.get((f"{NAMES[kind]}_block", number))
    return run(*inputs) if patch is None else _patched(patch, run, ARGUMENTS[kind], inputs, told)


def _patched(patch: Any, run: Any, names: tuple[str, ...], inputs: tuple[Any, ...], told: Any) -> Any:
    streams, rest = names[:-1], inputs[len(names) :]  # the last name is no stream: it goes in, not out

    def original_block(arguments: dict[str, Any]) -> dict[str, Any]:
        out = run(*(arguments[name] for name in names), *rest)
        return dict(zip(streams, out if len(streams) > 1 else (out,), strict=True))

    arguments = dict(zip(names, inputs, strict=False)) | {"transformer_options": told}
    out = patch(arguments, {"original_block": original_block})
    return tuple(out[name] for name in streams) if len(streams) > 1 else out["img"]
