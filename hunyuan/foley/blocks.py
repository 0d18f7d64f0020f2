"""The two kinds of block in the Foley transformer.

A joint block lets audio and visual tokens attend together, both then read the prompt; an audio block goes on
with the audio tokens alone, its modulation led token by token by the sync features.

Axes: b batch, n tokens, d channels per head.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from ..layers.attention import Attention
from ..layers.convolution import token_convolution
from ..layers.mlp import MLP, ConvMLP, convolve
from ..layers.modulation import Modulation, gated, modulate
from ..layers.norm import Float32HeadNorm, HeadNorm, layer_norm, norm_together
from ..layers.rope import rotary_table, rotate
from .config import FoleyConfig
from .positions import Positions

JOINT_EPS = 1e-6  # layer and head norms of joint blocks, and the final layer
AUDIO_EPS = 1e-5  # layer norms of audio blocks
AUDIO_HEAD_EPS = torch.finfo(torch.float32).eps  # head norms of audio blocks


class JointBlock(nn.Module):
    """Audio and visual tokens: joint self-attention, cross-attention to the prompt, an MLP each."""

    def __init__(
        self, config: FoleyConfig, *, attention: Attention, dtype=None, device=None, operations=nn
    ) -> None:
        super().__init__()
        size, heads = config.hidden_size, config.num_heads
        build = {"dtype": dtype, "device": device}
        layers = {**build, "operations": operations}
        self.heads, self.attention = heads, attention

        self.audio_mod = Modulation(size, 9, **layers)
        self.audio_self_attn_qkv = operations.Linear(size, 3 * size, **build)
        self.audio_self_q_norm = HeadNorm(size // heads, JOINT_EPS, **build)
        self.audio_self_k_norm = HeadNorm(size // heads, JOINT_EPS, **build)
        self.audio_self_proj = operations.Linear(size, size, **build)
        self.v_cond_mod = Modulation(size, 9, **layers)
        self.v_cond_attn_qkv = operations.Linear(size, 3 * size, **build)
        self.v_cond_attn_q_norm = HeadNorm(size // heads, JOINT_EPS, **build)
        self.v_cond_attn_k_norm = HeadNorm(size // heads, JOINT_EPS, **build)
        self.v_cond_self_proj = operations.Linear(size, size, **build)

        self.audio_cross_q = operations.Linear(size, size, **build)
        self.audio_cross_q_norm = HeadNorm(size // heads, JOINT_EPS, **build)
        self.audio_cross_proj = operations.Linear(size, size, **build)
        self.v_cond_cross_q = operations.Linear(size, size, **build)
        self.v_cond_cross_q_norm = HeadNorm(size // heads, JOINT_EPS, **build)
        self.v_cond_cross_proj = operations.Linear(size, size, **build)
        self.text_cross_kv = operations.Linear(size, 2 * size, **build)
        self.text_cross_k_norm = HeadNorm(size // heads, JOINT_EPS, **build)

        self.audio_mlp = MLP(size, config.mlp_size, **layers)
        self.v_cond_mlp = MLP(size, config.mlp_size, **layers)

    def text_keys_values(self, text: Tensor) -> Tensor:
        """The prompt as this block reads it. text: (b, n, hidden). Returns (b, 2, n, hidden)."""
        k, v = rearrange(
            self.text_cross_kv(text), "b n (two heads d) -> two b heads n d", two=2, heads=self.heads
        )
        k = rotate(
            self.text_cross_k_norm(k), rotary_table(torch.arange(k.shape[-2], device=k.device), k.shape[-1])
        )
        return rearrange([k, v], "two b heads n d -> b two n (heads d)")

    def forward(
        self,
        audio: Tensor,
        visual: Tensor,
        time: Tensor,
        text_kv: Tensor,
        positions: Positions,
        *,
        audio_only: bool,
        attention: Attention | None = None,
        reading: Attention | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Both streams after this block; with `audio_only` the visual one ends here and None stands for it.

        audio: (b, n, hidden). visual: (b, m, hidden). text_kv: (b, 2, text tokens, hidden).
        time:  (b, 1, hidden), the time vector after SiLU, in the compute dtype.
        attention, reading: in the place of the block's own, for this call alone: among the tokens, and to the
        prompt.
        """
        attend = attention or self.attention
        read = reading or attend
        audio_shift, audio_scale, audio_gate, *audio_rest = self.audio_mod(time)
        visual_shift, visual_scale, visual_gate, *visual_rest = self.v_cond_mod(time)
        audio_in = modulate(audio, audio_shift, audio_scale, eps=JOINT_EPS)
        visual_in = modulate(visual, visual_shift, visual_scale, eps=JOINT_EPS)

        visual_out, audio_out = self._joint_attention(audio_in, visual_in, positions, audio_only, attend)
        audio = gated(audio, audio_gate, self.audio_self_proj(audio_out))
        audio = self._read_prompt(
            audio, audio_rest[:3], text_kv, positions.audio, read,
            self.audio_cross_q, self.audio_cross_q_norm, self.audio_cross_proj,
        )  # fmt: skip
        audio = _feed_forward(audio, audio_rest[3:], self.audio_mlp)
        if visual_out is None:
            return audio, None

        visual = gated(visual, visual_gate, self.v_cond_self_proj(visual_out))
        visual = self._read_prompt(
            visual, visual_rest[:3], text_kv, positions.visual, read,
            self.v_cond_cross_q, self.v_cond_cross_q_norm, self.v_cond_cross_proj,
        )  # fmt: skip
        return audio, _feed_forward(visual, visual_rest[3:], self.v_cond_mlp)

    def _joint_attention(
        self, audio: Tensor, visual: Tensor, positions: Positions, audio_only: bool, attend: Attention
    ) -> tuple[Tensor | None, Tensor]:
        audio_qk, audio_v = self._heads(
            self.audio_self_attn_qkv(audio), self.audio_self_q_norm, self.audio_self_k_norm
        )
        visual_qk, visual_v = self._heads(
            self.v_cond_attn_qkv(visual), self.v_cond_attn_q_norm, self.v_cond_attn_k_norm
        )
        if positions.visual_content is not None:
            visual_qk = visual_qk[..., positions.visual_content, :]

        q, k = rotate(torch.cat([visual_qk, audio_qk], dim=3), positions.joint)
        v = torch.cat([visual_v, audio_v], dim=2)
        length = visual.shape[1]
        if audio_only:
            return None, _join(attend(q[:, :, length:], k, v))

        out = attend(q, k, v)
        return _join(out[:, :, :length]), _join(out[:, :, length:])

    def _read_prompt(
        self, x: Tensor, modulation: list[Tensor], text_kv: Tensor, table: Tensor, attend: Attention,
        to_q: nn.Module, q_norm: nn.Module, proj: nn.Module,
    ) -> Tensor:  # fmt: skip
        """Cross-attention to the text; each stream asks for itself, since queries do not see each other."""
        shift, scale, gate = modulation
        q = rearrange(
            to_q(modulate(x, shift, scale, eps=JOINT_EPS)), "b n (heads d) -> b heads n d", heads=self.heads
        )
        k, v = rearrange(text_kv, "b two n (heads d) -> two b heads n d", heads=self.heads)
        return gated(x, gate, proj(_join(attend(rotate(q_norm(q), table), k, v))))

    def _heads(self, qkv: Tensor, q_norm: HeadNorm, k_norm: HeadNorm) -> tuple[Tensor, Tensor]:
        """Normalised queries and keys, (2, b, heads, n, d), and values, (b, heads, n, d)."""
        heads = rearrange(qkv, "b n (three heads d) -> three b heads n d", three=3, heads=self.heads)
        return norm_together(heads[:2], q_norm, k_norm), heads[2]


def _join(heads: Tensor) -> Tensor:
    return rearrange(heads, "b heads n d -> b n (heads d)")


def _feed_forward(x: Tensor, modulation: list[Tensor], mlp: nn.Module) -> Tensor:
    shift, scale, gate = modulation
    return gated(x, gate, mlp(modulate(x, shift, scale, eps=JOINT_EPS)))


class AudioBlock(nn.Module):
    """Audio tokens alone, with convolutions over time, modulated per token by time and sync features."""

    def __init__(
        self, config: FoleyConfig, *, attention: Attention, dtype=None, device=None, operations=nn
    ) -> None:
        super().__init__()
        size, heads = config.hidden_size, config.num_heads
        build = {"dtype": dtype, "device": device}
        layers = {**build, "operations": operations}
        self.heads, self.attention = heads, attention

        self.modulation = Modulation(size, 6, **layers)
        self.linear_qkv = operations.Linear(size, 3 * size, **build)
        self.q_norm = Float32HeadNorm(size // heads, AUDIO_HEAD_EPS, **build)
        self.k_norm = Float32HeadNorm(size // heads, AUDIO_HEAD_EPS, **build)
        self.linear1 = token_convolution(operations.Conv1d)(size, size, 3, padding=1, **build)
        self.linear2 = ConvMLP(size, config.audio_mlp_size, 3, **layers)

    def forward(
        self,
        audio: Tensor,
        condition: Tensor,
        to_audio: Tensor,
        table: Tensor,
        attention: Attention | None = None,
    ) -> Tensor:
        """The audio stream after this block.

        audio:     (b, n, hidden).
        condition: (b, m, hidden), time plus sync features after SiLU, in the compute dtype. (1, m, hidden)
                   where rows share them.
        to_audio:  which sync token leads each audio token, (n,) of the row's own or (b, n) of the shared:
                   modulation is computed once per sync token.
        table:     rotary table of the audio positions.
        attention: in the place of the block's own, for this call alone.
        """
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = self.modulation(condition, to_audio)

        qkv = self.linear_qkv(modulate(audio, shift, scale, eps=AUDIO_EPS))
        # As trained: here q, k and v lie innermost, not outermost as in the joint blocks.
        heads = rearrange(qkv, "b n (heads d three) -> three b heads n d", three=3, heads=self.heads)
        q, k = rotate(
            norm_together(heads[:2], self.q_norm, self.k_norm), table, into=qkv.new_empty(heads[:2].shape)
        )
        # Fused attention wants the channels of a head side by side; with every third one it is not taken.
        v = heads[2].contiguous()
        attended = _join((attention or self.attention)(q, k, v))
        audio = gated(audio, gate, convolve(self.linear1, attended))

        return gated(audio, mlp_gate, self.linear2(modulate(audio, mlp_shift, mlp_scale, eps=AUDIO_EPS)))


class FinalLayer(nn.Module):
    """Layer norm and a linear layer to latent channels.

    As trained: `adaLN_modulation` is in the file but never acts: its per-token output was ignored.
    """

    def __init__(self, config: FoleyConfig, *, dtype=None, device=None, operations=nn) -> None:
        super().__init__()
        size = config.hidden_size
        self.linear = operations.Linear(size, config.latent_channels, dtype=dtype, device=device)
        self.adaLN_modulation = nn.Sequential(
            nn.SiLU(), operations.Linear(size, 2 * size, dtype=dtype, device=device)
        )

    def forward(self, audio: Tensor, dtype: torch.dtype) -> Tensor:
        return self.linear(layer_norm(audio, JOINT_EPS).to(dtype))
