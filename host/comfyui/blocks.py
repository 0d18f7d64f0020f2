"""What other nodes do to a model's blocks: attention of their own, blocks replaced, wrapped or left out.

ComfyUI carries such patches in `transformer_options`. A joint block is its "double_block" with the audio
tokens as `img` and the visual tokens as `txt`; an audio block is its "single_block".
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from .attention import attention, self_attention

NAMES = {"joint": "double", "audio": "single"}
ARGUMENTS = {
    "joint": ("img", "txt", "vec"),
    "audio": ("img", "vec"),
}  # core's names of a block's first inputs


def run_block(
    transformer_options: Mapping[str, Any],
    middle: int,
    kind: str,
    number: int,
    block: nn.Module,
    *inputs: Any,
    **options: Any,
) -> Any:
    """What comes out of a block, in the place of the transformer's own `run_block`.

    middle: the audio block that stands for a U-Net's middle, where some nodes of core's act.
    """
    told = {**transformer_options, "block_type": NAMES[kind], "block_index": number}
    is_middle = kind == "audio" and number == middle
    if kind == "joint":
        options["reading"] = partial(attention, transformer_options=told)

    def run(audio: Tensor, *others: Any) -> Any:
        among = partial(
            self_attention, transformer_options=told, audio_tokens=audio.shape[1], is_middle=is_middle
        )
        return block(audio, *others, **options, attention=among)

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
