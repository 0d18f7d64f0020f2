"""The Foley transformer: a multimodal diffusion transformer from noisy latents to velocity.

Source: HunyuanVideo-Foley, arXiv:2508.16930. Audio tokens start as latents plus sync features, pass joint
blocks with the visual tokens and the prompt, then audio blocks led by the sync features.

Axes: b batch, n tokens, d channels.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from ..layers.attention import Attention, attention
from ..layers.embeddings import TextProjection, TimestepEmbedder
from ..layers.mlp import ConvMLP, SwiGLU
from ..layers.modulation import at_places
from .blocks import AudioBlock, FinalLayer, JointBlock
from .conditions import SYNC, VISUAL, FoleyConditions
from .config import FoleyConfig
from .positions import Positions
from .timing import TOKENS_PER_SEGMENT

RunBlock = Callable[..., Any]  # what `run_block` is, for a host that wraps blocks or leaves some out


def run_block(kind: str, number: int, block: nn.Module, *inputs: Any, **options: Any) -> Any:
    """What comes out of a block. kind: "joint" or "audio". number: counted within its kind."""
    return block(*inputs, **options)


class FoleyTransformer(nn.Module):
    """Velocity of the latents at a time, given a clip and a prompt."""

    def __init__(
        self,
        config: FoleyConfig,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        operations=nn,
        attention: Attention = attention,
    ) -> None:
        super().__init__()
        size = config.hidden_size
        build = {"dtype": dtype, "device": device}
        layers = {**build, "operations": operations}
        blocks = {**layers, "attention": attention}
        self.config = config

        self.audio_embedder = LatentEmbedder(config.latent_channels, size, **layers)
        self.visual_proj = SwiGLU(config.visual_size, size, **layers)
        self.cond_in = TextProjection(config.text_size, size, **layers)
        self.time_in = TimestepEmbedder(size, **layers)
        self.sync_in = nn.Sequential(
            operations.Linear(config.sync_size, size, **build),
            nn.SiLU(),
            ConvMLP(size, config.sync_mlp_size, 1, **layers),
        )
        self.sync_pos_emb = nn.Parameter(torch.empty(1, 1, TOKENS_PER_SEGMENT, config.sync_size, **build))
        self.empty_clip_feat = nn.Parameter(torch.empty(1, config.visual_size, **build))
        self.empty_sync_feat = nn.Parameter(torch.empty(1, config.sync_size, **build))

        self.triple_blocks = nn.ModuleList(JointBlock(config, **blocks) for _ in range(config.joint_depth))
        self.single_blocks = nn.ModuleList(AudioBlock(config, **blocks) for _ in range(config.audio_depth))
        self.final_layer = FinalLayer(config, **layers)

    def prepare(
        self, text: Tensor, visual: Tensor, sync: Tensor, drop: Collection[str] = frozenset()
    ) -> FoleyConditions:
        """Everything that does not depend on the step, once per clip; computed in the dtype of `text`.

        text:   (b, n, text size), CLAP states. visual: (b, n, visual size), SigLIP 2 features.
        sync:   (b, 8 segments, sync size), Synchformer features.
        drop:   the modalities ("visual", "sync") that the learned empties replace; their lengths still count.
        Raises: ValueError on features of the wrong size or a broken number of sync tokens.
        """
        self._check_features(text, visual, sync)
        if VISUAL in drop:
            visual = self.empty_clip_feat.expand(*visual.shape[:2], -1)
        if SYNC in drop:
            sync = self.empty_sync_feat.expand(*sync.shape[:2], -1)

        segments = sync.shape[1] // TOKENS_PER_SEGMENT
        places = repeat(self.sync_pos_emb, "1 1 n d -> 1 (segments n) d", segments=segments)
        states = self.cond_in(text)
        return FoleyConditions(
            text_kv=torch.stack([block.text_keys_values(states) for block in self.joint_blocks], dim=1),
            visual=self.visual_proj(visual.to(text)),
            # As trained: sync features are float32, and with them the audio stream, even in half precision.
            sync=self.sync_in((sync.float() + places.to(sync.device, torch.float32)).to(text)).float(),
        )

    def place(self, conditions: FoleyConditions, audio_tokens: int) -> FoleyConditions:
        """The conditions with their positions for latents of this length: made once, not in every step."""
        return replace(conditions, positions=self._positions(conditions, audio_tokens))

    def forward(
        self, x: Tensor, t: Tensor, conditions: FoleyConditions, *, run: RunBlock = run_block
    ) -> Tensor:
        """The velocity d x / d sigma, computed in the dtype of x.

        x: (b, latent channels, n), noisy latents. t: (b,), time in 0..1000; (1,) for all rows.
        conditions: as many rows as x, from `prepare`; `place` saves making their positions anew.
        run:        calls each block, in the place of `run_block`.
        Returns x's shape.
        Raises:     ValueError for times of their own where rows share sync tokens.
        """
        positions = self._positions(conditions, x.shape[-1])
        to_audio = positions.to_audio
        if conditions.sync_places is not None:
            if len(t) > 1:
                raise ValueError(
                    f"Rows that share sync tokens have one time, not {len(t)}. For times of their own, stack"
                    " what `prepare` gives."
                )
            to_audio = conditions.sync_places[:, to_audio]
        vec = self.time_in(t, x.dtype)[:, None]
        sync = conditions.sync.float()  # a host may have cast it to the weights' dtype

        audio, visual = self.audio_embedder(x) + at_places(sync, to_audio), conditions.visual
        time, last = F.silu(vec), len(self.triple_blocks) - 1
        for i, block in enumerate(self.joint_blocks):
            # The visual stream ends in the last joint block.
            inputs = audio, visual, time, conditions.text_kv[:, i], positions
            audio, visual = run("joint", i, block, *inputs, audio_only=i == last)

        condition = F.silu(sync + vec).to(x.dtype)
        for i, block in enumerate(self.single_blocks):
            inputs = audio, condition, to_audio, positions.audio
            audio = run("audio", i, block, *inputs)

        return self.final_layer(audio, x.dtype).transpose(1, 2)

    @property
    def joint_blocks(self) -> list[JointBlock]:
        return list(self.triple_blocks)  # type: ignore[arg-type]

    def _positions(self, conditions: FoleyConditions, audio_tokens: int) -> Positions:
        positions = conditions.positions
        if positions is not None and positions.audio_tokens == audio_tokens:
            return positions
        visual, sync_tokens = conditions.visual, conditions.sync_tokens
        return Positions.of(audio_tokens, visual.shape[1], sync_tokens, self.config.head_size, visual.device)

    def _check_features(self, text: Tensor, visual: Tensor, sync: Tensor) -> None:
        sizes = {
            "Text": (text, self.config.text_size),
            "Visual": (visual, self.config.visual_size),
            "Sync": (sync, self.config.sync_size),
        }
        for name, (features, size) in sizes.items():
            if features.ndim != 3 or features.shape[-1] != size:
                raise ValueError(
                    f"{name} features are {tuple(features.shape)}, not (batch, tokens, {size}) as needed."
                    " Use the encoders that belong to this transformer."
                )
        if not sync.shape[1] or sync.shape[1] % TOKENS_PER_SEGMENT:
            raise ValueError(
                f"{sync.shape[1]} sync tokens are no whole number of segments of {TOKENS_PER_SEGMENT}."
                " Use the features as the video encoder gave them."
            )


class LatentEmbedder(nn.Module):
    """Latents (b, c, n) to tokens (b, n, d)."""

    def __init__(self, channels: int, hidden_size: int, *, dtype=None, device=None, operations=nn) -> None:
        super().__init__()
        self.proj = operations.Conv1d(channels, hidden_size, 1, dtype=dtype, device=device)

    def forward(self, latents: Tensor) -> Tensor:
        return rearrange(self.proj(latents), "b d n -> b n d")
