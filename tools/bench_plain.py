"""Foley's guided velocity as the published program computes it: everything anew in every step.

The yardstick for what `hunyuan/foley` computes once per clip or not at all, written down operation by
operation and with the same weights. In every step: the text embedding and all text keys and values, the
visual and sync embeddings, the resampling, rotary tables (once for each forward pass), the modulation of the
audio blocks at every latent, the visual stream of the last joint block, and the final layer's modulation,
which never acts. How the published program groups its operations into kernels is not known here: norms of
joint blocks and rotations are written as their formulas say.

Axes: b batch, n tokens, d channels per head.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

import _pack  # noqa: F401 - makes hunyuan_av importable
from hunyuan_av.hunyuan.foley.blocks import (
    AUDIO_EPS,
    AUDIO_HEAD_EPS,
    JOINT_EPS,
    AudioBlock,
    JointBlock,
)
from hunyuan_av.hunyuan.foley.timing import TOKENS_PER_SEGMENT
from hunyuan_av.hunyuan.foley.transformer import FoleyTransformer
from hunyuan_av.hunyuan.foley.velocity import FoleyPrompt
from hunyuan_av.hunyuan.sampling.denoise import SMALLEST_SIGMA
from hunyuan_av.hunyuan.sampling.schedule import TIME_SCALE

THETA = 10_000.0


@dataclass(frozen=True, kw_only=True)
class PlainVelocity:
    """d latents / d sigma under one guidance scale, as `GuidedVelocity` gives it, the slow way.

    dtype: of the weights. Features and latents may come in any.
    """

    transformer: FoleyTransformer
    prompt: FoleyPrompt
    scale: float
    dtype: torch.dtype = torch.float32

    def __call__(self, latents: Tensor, sigma: float) -> Tensor:
        """latents: (b, c, n), float32. Returns the same shape, float32."""
        rows, prompt, network = latents.shape[0], self.prompt, self.transformer
        empty_visual = network.empty_clip_feat.expand(1, prompt.visual.shape[1], -1)
        empty_sync = network.empty_sync_feat.expand(1, prompt.sync.shape[1], -1)
        velocity = plain_forward(
            network,
            torch.cat([latents, latents]).to(self.dtype),
            torch.full((2 * rows,), max(sigma, SMALLEST_SIGMA) * TIME_SCALE, device=latents.device),
            _rows(prompt.negative, prompt.positive, rows).to(self.dtype),
            _rows(empty_visual.to(prompt.visual), prompt.visual, rows).to(self.dtype),
            _rows(empty_sync.to(prompt.sync), prompt.sync, rows),
        )
        unconditional, conditional = velocity.float().chunk(2)
        return unconditional + self.scale * (conditional - unconditional)


def _rows(unconditional: Tensor, conditional: Tensor, rows: int) -> Tensor:
    return torch.cat([unconditional.repeat(rows, 1, 1), conditional.repeat(rows, 1, 1)])


def plain_forward(
    network: FoleyTransformer, x: Tensor, t: Tensor, text: Tensor, visual: Tensor, sync: Tensor
) -> Tensor:
    """x: (b, c, n). text, visual, sync: features as the encoders give them, b rows. Returns x's shape."""
    length, dtype = x.shape[-1], x.dtype
    places = network.sync_pos_emb.float().repeat(1, 1, sync.shape[1] // TOKENS_PER_SEGMENT, 1)[0]
    sync = resampled(network.sync_in((sync.float() + places).to(dtype)), length)
    text, visual, vec = network.cond_in(text), network.visual_proj(visual), network.time_in(t, dtype)
    audio = network.audio_embedder(x) + sync

    head_size = network.config.head_size
    tables = {
        "audio": table(length, head_size, x.device),
        "visual": table(visual.shape[1], head_size, x.device),
        "text": table(text.shape[1], head_size, x.device),
        "both": table(2 * length, head_size, x.device),
    }
    for block in network.joint_blocks:
        audio, visual = joint_block(block, audio, visual, text, vec, tables)

    condition = sync + vec[:, None]
    for block in network.single_blocks:
        audio = audio_block(block, audio, condition, tables["audio"])

    network.final_layer.adaLN_modulation(condition.to(dtype))  # its answer is not used
    return network.final_layer.linear(norm(audio, JOINT_EPS).to(dtype)).transpose(1, 2)


def joint_block(
    block: JointBlock, audio: Tensor, visual: Tensor, text: Tensor, vec: Tensor, tables: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    a = [chunk[:, None] for chunk in block.audio_mod.linear(F.silu(vec)).chunk(9, dim=-1)]
    w = [chunk[:, None] for chunk in block.v_cond_mod.linear(F.silu(vec)).chunk(9, dim=-1)]
    heads, length = block.heads, visual.shape[1]

    audio_q, audio_k, audio_v = split(block.audio_self_attn_qkv(modulated(audio, *a[:2], JOINT_EPS)), heads)
    visual_q, visual_k, visual_v = split(block.v_cond_attn_qkv(modulated(visual, *w[:2], JOINT_EPS)), heads)
    audio_q, audio_k = rms(audio_q, block.audio_self_q_norm), rms(audio_k, block.audio_self_k_norm)
    visual_q, visual_k = rms(visual_q, block.v_cond_attn_q_norm), rms(visual_k, block.v_cond_attn_k_norm)
    audio_q, visual_q = rotated_together(audio_q, visual_q, tables["both"])
    audio_k, visual_k = rotated_together(audio_k, visual_k, tables["both"])
    out = joined(
        block.attention(
            torch.cat([visual_q, audio_q], dim=2),
            torch.cat([visual_k, audio_k], dim=2),
            torch.cat([visual_v, audio_v], dim=2),
        )
    )
    audio = audio + a[2] * block.audio_self_proj(out[:, length:])
    visual = visual + w[2] * block.v_cond_self_proj(out[:, :length])

    audio_q = separate(block.audio_cross_q(modulated(audio, *a[3:5], JOINT_EPS)), heads)
    visual_q = separate(block.v_cond_cross_q(modulated(visual, *w[3:5], JOINT_EPS)), heads)
    k, v = rearrange(block.text_cross_kv(text), "b n (two heads d) -> two b heads n d", two=2, heads=heads)
    audio_q = rotated(rms(audio_q, block.audio_cross_q_norm), tables["audio"])
    visual_q = rotated(rms(visual_q, block.v_cond_cross_q_norm), tables["visual"])
    k = rotated(rms(k, block.text_cross_k_norm), tables["text"])
    out = joined(block.attention(torch.cat([visual_q, audio_q], dim=2), k, v))
    audio = audio + a[5] * block.audio_cross_proj(out[:, length:])
    visual = visual + w[5] * block.v_cond_cross_proj(out[:, :length])

    audio = audio + a[8] * block.audio_mlp(modulated(audio, *a[6:8], JOINT_EPS))
    return audio, visual + w[8] * block.v_cond_mlp(modulated(visual, *w[6:8], JOINT_EPS))


def audio_block(block: AudioBlock, audio: Tensor, condition: Tensor, positions: Tensor) -> Tensor:
    dtype = block.linear_qkv.weight.dtype
    m = block.modulation.linear(F.silu(condition).to(dtype)).chunk(6, dim=-1)
    qkv = block.linear_qkv(modulated(audio, *m[:2], AUDIO_EPS))
    q, k, v = rearrange(qkv, "b n (heads d three) -> three b heads n d", three=3, heads=block.heads)
    q, k = (
        F.rms_norm(x.float(), x.shape[-1:], layer.weight.float(), AUDIO_HEAD_EPS)
        for x, layer in ((q, block.q_norm), (k, block.k_norm))
    )
    q, k = rotated(q, positions).to(dtype), rotated(k, positions).to(dtype)
    attended = joined(block.attention(q, k, v.contiguous()))
    audio = audio + m[2] * block.linear1(attended.transpose(1, 2)).transpose(1, 2)
    return audio + m[5] * block.linear2(modulated(audio, *m[3:5], AUDIO_EPS))


def norm(x: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x.float(), x.shape[-1:], eps=eps)


def modulated(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    return (norm(x, eps) * (1 + scale) + shift).to(shift.dtype)


def rms(x: Tensor, layer: nn.Module) -> Tensor:
    """As the formula says it: a kernel for each operation."""
    numbers = x.float()
    scaled = numbers * torch.rsqrt(numbers.square().mean(-1, keepdim=True) + JOINT_EPS)
    return scaled.to(x.dtype) * layer.weight


def table(length: int, head_size: int, device: torch.device) -> Tensor:
    """Cosines and sines (2, n, d / 2) of the positions from 0 on."""
    exponents = torch.arange(0, head_size, 2, dtype=torch.float32, device=device) / head_size
    angles = torch.outer(torch.arange(length, dtype=torch.float32, device=device), 1.0 / THETA**exponents)
    return torch.stack([angles.cos(), angles.sin()])


def rotated(x: Tensor, positions: Tensor) -> Tensor:
    cos, sin = positions
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2).to(x.dtype)


def rotated_together(audio: Tensor, visual: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """A latent and a frame by turns, at the latents' rate, rotated; then frames back at their own."""
    length, frames = audio.shape[2], visual.shape[2]
    stretched = rearrange(resampled_heads(visual, length), "b heads n d -> b heads n 1 d")
    both = torch.cat([audio[..., None, :], stretched], dim=3).flatten(2, 3)
    audio, stretched = rotated(both, positions).unflatten(2, (length, 2)).unbind(3)
    return audio, resampled_heads(stretched, frames)


def resampled(x: Tensor, length: int) -> Tensor:
    """(b, n, c) to so many tokens, nearest-exact; float32, as torch's autocast runs it."""
    return F.interpolate(x.float().transpose(1, 2), size=length, mode="nearest-exact").transpose(1, 2)


def resampled_heads(x: Tensor, length: int) -> Tensor:
    if x.shape[2] == length:
        return x
    heads = x.shape[1]
    tokens = resampled(joined(x), length).to(x.dtype)
    return separate(tokens, heads)


def split(qkv: Tensor, heads: int) -> Tensor:
    return rearrange(qkv, "b n (three heads d) -> three b heads n d", three=3, heads=heads)


def separate(x: Tensor, heads: int) -> Tensor:
    return rearrange(x, "b n (heads d) -> b heads n d", heads=heads)


def joined(x: Tensor) -> Tensor:
    return rearrange(x, "b heads n d -> b n (heads d)")
