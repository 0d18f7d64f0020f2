"""What other nodes do to attention: a kernel of their own, its answer changed or put in its place.

ComfyUI carries such patches in `transformer_options`; inside, patches see tokens (b, n, heads * d).
"""

from collections.abc import Mapping
from typing import Any

from comfy.ldm.modules.attention import optimized_attention
from einops import rearrange
from torch import Tensor

CHANGED = "attn1_output_patch"  # core's name for what changes a self-attention's answer (NAG)
REPLACED = "attn1"  # and for what is asked in its place (PAG)
OF_MIDDLE = ("middle", 0)  # where core's nodes, made for U-Nets, replace it


def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, transformer_options: Mapping[str, Any]
) -> Tensor:
    """The attention that ComfyUI's user or a node has chosen; shapes as in `hunyuan.layers.attention`."""
    return optimized_attention(
        q, k, v, heads=q.shape[1], mask=mask,
        skip_reshape=True, skip_output_reshape=True, transformer_options=transformer_options,
    )  # fmt: skip


def self_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    *,
    transformer_options: Mapping[str, Any],
    audio_tokens: int,
    is_middle: bool,
) -> Tensor:
    """Attention among the tokens of one block, as patched. Queries may be of the last tokens alone.

    transformer_options: with the block's `block_type` and `block_index`.
    audio_tokens: how many of the tokens, the last ones, become sound.
    is_middle: whether this block stands for a U-Net's middle.
    """
    told = {**transformer_options, "n_heads": q.shape[1], "dim_head": q.shape[3]}
    replacement = _replacement(transformer_options, is_middle)
    changes = told.get("patches", {}).get(CHANGED, ())
    if replacement is None and not changes:
        return attention(q, k, v, mask, transformer_options=transformer_options)

    if replacement is None:
        out = _tokens(attention(q, k, v, mask, transformer_options=transformer_options))
    else:
        out = replacement(_tokens(q), _tokens(k), _tokens(v), told)[:, -q.shape[2] :]
    if q.shape[2] > audio_tokens:
        told["img_slice"] = [q.shape[2] - audio_tokens, q.shape[2]]
    for change in changes:
        out = change(out, told)
    return rearrange(out, "b n (heads d) -> b heads n d", heads=q.shape[1])


def _replacement(told: Mapping[str, Any], is_middle: bool) -> Any:
    replacements = told.get("patches_replace", {}).get(REPLACED, {})
    own = replacements.get((f"{told['block_type']}_block", told["block_index"]))
    return replacements.get(OF_MIDDLE) if own is None and is_middle else own


def _tokens(heads: Tensor) -> Tensor:
    return rearrange(heads, "b heads n d -> b n (heads d)")
