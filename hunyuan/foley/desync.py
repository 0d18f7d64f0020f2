"""How far sound and picture are apart: Synchformer complete, and the DeSync score made of its answers.

Synchformer: arXiv:2401.16423; the score is that of the field's av-benchmark.

Axes: b batch, s segments, n tokens, d channels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..layers.attention import Attention, attention
from ..layers.numbering import count_blocks
from .sync_audio import COLUMNS, SEGMENT_SAMPLES, STEP_SAMPLES, SyncAudioEncoder, count_segments
from .sync_blocks import PUBLISHED_HEAD_SIZE, SelfAttention
from .sync_encoder import PREFIX, SyncEncoder, SyncEncoderConfig
from .timing import SEGMENT_FRAMES, SEGMENT_STEP, SYNC_RATE, TOKENS_PER_SEGMENT

CROP_SEGMENTS = 14  # segments of each that are compared
CROP_SECONDS = (SEGMENT_FRAMES + SEGMENT_STEP * (CROP_SEGMENTS - 1)) / SYNC_RATE
CROP_SAMPLES = SEGMENT_SAMPLES + STEP_SAMPLES * (CROP_SEGMENTS - 1)
VISUAL_TOKENS = CROP_SEGMENTS * TOKENS_PER_SEGMENT
AUDIO_TOKENS = CROP_SEGMENTS * COLUMNS

NUM_OFFSETS = 21
LARGEST_OFFSET = 2.0  # seconds
EPS = 1e-5  # layer norms of the offset transformer
OFFSET_HEAD_SIZE = 96  # channels per head of the published offset transformer


def class_grid() -> Tensor:
    """The offsets that the classes stand for, in seconds: (21,), float32, from -2.0 to 2.0."""
    return torch.linspace(-LARGEST_OFFSET, LARGEST_OFFSET, NUM_OFFSETS, dtype=torch.float64).float()


def desync_score(offsets: Tensor) -> Tensor:
    """DeSync in seconds: how far off a clip's crops are on average, whichever of the two comes first.

    offsets: (b, crops), from `Synchformer.offsets`. Returns (b,).
    """
    return offsets.abs().mean(dim=-1)


@dataclass(frozen=True, kw_only=True)
class SynchformerConfig:
    """Sizes of Synchformer; the defaults are the published ones."""

    hidden_size: int = 768
    visual: SyncEncoderConfig | None = field(default_factory=SyncEncoderConfig)  # None: no visual branch
    audio_depth: int = 12
    audio_heads: int = 12
    audio_mlp_size: int = 3072
    depth: int = 3  # of the offset transformer, like what follows
    num_heads: int = 8
    mlp_size: int = 3072

    def __post_init__(self) -> None:
        for heads in (self.audio_heads, self.num_heads):
            if heads < 1 or self.hidden_size % heads:
                raise ValueError(
                    f"A hidden size of {self.hidden_size} does not split into {heads} heads: "
                    "give the number of heads of Synchformer's audio branch and of its offset transformer."
                )

    @classmethod
    def from_shapes(
        cls,
        shapes: Mapping[str, Sequence[int]],
        *,
        num_heads: int | None = None,
        audio_heads: int | None = None,
        visual_heads: int | None = None,
    ) -> "SynchformerConfig":
        """The configuration that a checkpoint's tensor shapes imply.

        shapes: by name, as in the published file, whose visual branch may be missing.
        num_heads (offset transformer), audio_heads, visual_heads: no shape tells them; without them, heads as
        wide as published.
        Raises KeyError with the missing name if this is not a complete Synchformer.
        """
        layer = "afeat_extractor.ast.encoder.layer"
        hidden_size = shapes["aproj.weight"][0]
        visual = {name[len(PREFIX) :]: shape for name, shape in shapes.items() if name.startswith(PREFIX)}
        return cls(
            hidden_size=hidden_size,
            visual=SyncEncoderConfig.from_shapes(visual, visual_heads) if visual else None,
            audio_depth=count_blocks(shapes, layer),
            audio_heads=audio_heads or hidden_size // PUBLISHED_HEAD_SIZE,
            audio_mlp_size=shapes[f"{layer}.0.intermediate.dense.weight"][0],
            depth=count_blocks(shapes, "transformer.blocks"),
            num_heads=num_heads or hidden_size // OFFSET_HEAD_SIZE,
            mlp_size=shapes["transformer.blocks.0.mlp.0.weight"][0],
        )


class Synchformer(nn.Module):
    """Sync features of picture and sound, and the transformer that tells how far apart they are."""

    def __init__(
        self,
        config: SynchformerConfig | None = None,
        *,
        dtype=None,
        device=None,
        operations=nn,
        attention: Attention = attention,
    ) -> None:
        super().__init__()
        self.config = config = config or SynchformerConfig()
        size = config.hidden_size
        build = {"dtype": dtype, "device": device}
        layers = {**build, "operations": operations, "attention": attention}

        self.vfeat_extractor = SyncEncoder(config.visual, **layers) if config.visual else None
        self.afeat_extractor = SyncAudioEncoder(
            size, config.audio_depth, config.audio_heads, config.audio_mlp_size, **layers
        )
        self.vproj = operations.Linear(size, size, **build)
        self.aproj = operations.Linear(size, size, **build)
        self.transformer = OffsetTransformer(config, **layers)

    def forward(self, visual: Tensor, audio: Tensor) -> Tensor:
        """Logits of the 21 offsets in `class_grid`.

        visual: (b, 14 * 8, hidden) and audio: (b, 14 * 6, hidden), of the same 14 segments. Returns (b, 21).
        """
        return self.transformer(self.vproj(visual), self.aproj(audio))

    def offsets(self, visual_features: Tensor, sound: Tensor) -> Tensor:
        """Seconds, with sign, by which sound and picture differ at the start and at the end of a clip.

        visual_features: (b, s * 8, hidden), as SyncEncoder returns them for the whole clip.
        sound:           (b, samples), mono at 16 kHz, of the same clip; float32 whatever the features are.
        Returns:         (b, 2), for the first and the last 14 segments, which overlap in clips under 9.6 s.
        Raises:          ValueError if the clip is shorter than 14 segments (4.8 s).
        """
        segments = min(visual_features.shape[1] // TOKENS_PER_SEGMENT, count_segments(sound.shape[-1]))
        if segments < CROP_SEGMENTS:
            raise ValueError(
                f"Clip too short for a sync score: picture and sound share {segments} segments of "
                f"{SEGMENT_FRAMES / SYNC_RATE:.2f} s, it needs {CROP_SEGMENTS} ({CROP_SECONDS:.1f} s). "
                "Use a longer clip."
            )
        starts = (0, segments - CROP_SEGMENTS)
        return torch.stack([self._crop_offset(visual_features, sound, start) for start in starts], dim=1)

    def _crop_offset(self, visual_features: Tensor, sound: Tensor, start: int) -> Tensor:
        """The offset of the 14 segments from `start` on. Returns (b,)."""
        visual = visual_features[:, start * TOKENS_PER_SEGMENT :][:, :VISUAL_TOKENS]
        audio = self.afeat_extractor(sound[:, start * STEP_SAMPLES :][:, :CROP_SAMPLES], visual.dtype)
        best = self(visual, audio).argmax(dim=-1)
        return class_grid().to(best.device)[best]


class OffsetTransformer(nn.Module):
    """Both feature sequences, each after a learned token; the first of these tokens gives the answer."""

    def __init__(
        self, config: SynchformerConfig, *, attention: Attention, dtype=None, device=None, operations=nn
    ) -> None:
        super().__init__()
        size, tokens = config.hidden_size, 2 + VISUAL_TOKENS + AUDIO_TOKENS
        build = {"dtype": dtype, "device": device}
        layers = {**build, "operations": operations, "attention": attention}
        self.OFF_tok = nn.Parameter(torch.empty(1, 1, size, **build))
        self.MOD_tok = nn.Parameter(torch.empty(1, 1, size, **build))
        self.vis_in_lnorm = operations.LayerNorm(size, eps=EPS, **build)
        self.aud_in_lnorm = operations.LayerNorm(size, eps=EPS, **build)
        self.pos_emb_cfg = PositionTable(tokens, size, **build)
        self.blocks = nn.Sequential(*(OffsetBlock(config, **layers) for _ in range(config.depth)))
        self.ln_f = operations.LayerNorm(size, eps=EPS, **build)
        self.off_head = operations.Linear(size, NUM_OFFSETS, **build)

    def forward(self, visual: Tensor, audio: Tensor) -> Tensor:
        """visual: (b, 14 * 8, hidden). audio: (b, 14 * 6, hidden). Returns logits (b, 21)."""
        visual, audio = self.vis_in_lnorm(visual), self.aud_in_lnorm(audio)
        answer, border = (
            token.to(visual).expand(len(visual), -1, -1) for token in (self.OFF_tok, self.MOD_tok)
        )
        x = self.pos_emb_cfg(torch.cat([answer, visual, border, audio], dim=1))
        return self.off_head(self.ln_f(self.blocks(x)[:, 0]))


class PositionTable(nn.Module):
    """One learned vector added at each place of a sequence of fixed length."""

    def __init__(self, tokens: int, size: int, *, dtype=None, device=None) -> None:
        super().__init__()
        self.pos_emb = nn.Parameter(torch.empty(1, tokens, size, dtype=dtype, device=device))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pos_emb.to(x)


class OffsetBlock(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(
        self, config: SynchformerConfig, *, attention: Attention, dtype=None, device=None, operations=nn
    ) -> None:
        super().__init__()
        size = config.hidden_size
        build = {"dtype": dtype, "device": device}
        self.ln1 = operations.LayerNorm(size, eps=EPS, **build)
        self.attn = OffsetAttention(
            size, config.num_heads, attention=attention, operations=operations, **build
        )
        self.ln2 = operations.LayerNorm(size, eps=EPS, **build)
        self.mlp = nn.Sequential(
            operations.Linear(size, config.mlp_size, **build),
            nn.GELU(),
            operations.Linear(config.mlp_size, size, **build),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (b, n, hidden). Returns the same shape."""
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class OffsetAttention(SelfAttention):
    """Self-attention and its output projection."""

    def __init__(
        self, size: int, heads: int, *, attention: Attention, dtype=None, device=None, operations=nn
    ) -> None:
        super().__init__(size, heads, attention=attention, dtype=dtype, device=device, operations=operations)
        self.proj = operations.Linear(size, size, dtype=dtype, device=device)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(super().forward(x))
