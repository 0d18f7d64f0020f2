"""Synchformer's audio branch: 6 tokens for every 0.64 s of sound, from an audio spectrogram transformer.

AST: arXiv:2104.01778; its parameters are named as in transformers 4. Synchformer: arXiv:2401.16423.

Axes: b batch, s segments, n tokens, f frequency rows, t time columns, d channels.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..layers.attention import Attention, attention
from .sync_blocks import GroupAggregator, SelfAttention, named
from .timing import SEGMENT_FRAMES, SEGMENT_STEP, SYNC_RATE

SAMPLE_RATE = 16_000  # Hz, of the sound this branch hears
SEGMENT_SAMPLES = SEGMENT_FRAMES * SAMPLE_RATE // SYNC_RATE
STEP_SAMPLES = SEGMENT_STEP * SAMPLE_RATE // SYNC_RATE

FFT_SIZE = 1024  # samples
WINDOW_SIZE = 400  # samples
HOP_SIZE = 160  # samples
MEL_BANDS = 128
MEL_FRAMES = SEGMENT_SAMPLES // HOP_SIZE + 2  # one of them padding
LOG_FLOOR = 1e-6
LOG_MEAN, LOG_STD = -4.2677393, 4.5689974  # of AudioSet

PATCH_SIZE, PATCH_STEP = 16, 10  # bands or frames
ROWS = (MEL_BANDS - PATCH_SIZE) // PATCH_STEP + 1
COLUMNS = (MEL_FRAMES - PATCH_SIZE) // PATCH_STEP + 1  # tokens that a segment becomes
SPECIAL_TOKENS = 2  # class and distillation
NUM_TOKENS = SPECIAL_TOKENS + ROWS * COLUMNS

EPS = 1e-12  # layer norms of the AST


def count_segments(samples: int) -> int:
    """Whole segments in so much sound at 16 kHz; 0 when there is less than one."""
    return max(0, (samples - SEGMENT_SAMPLES) // STEP_SAMPLES + 1)


def audio_segments(sound: Tensor) -> Tensor:
    """Cut sound into segments as long and as far apart as the visual branch's, without a copy.

    sound: (b, samples) at 16 kHz. Returns (b, s, 10240), a view.
    Raises: ValueError if there is less sound than one segment.
    """
    if not count_segments(sound.shape[-1]):
        raise ValueError(
            f"Sound too short for the sync model: {sound.shape[-1]} samples at {SAMPLE_RATE} Hz, "
            f"it needs {SEGMENT_SAMPLES} ({SEGMENT_SAMPLES / SAMPLE_RATE:.2f} s). Use a longer clip."
        )
    return sound.unfold(-1, SEGMENT_SAMPLES, STEP_SAMPLES)


def mel_bands() -> Tensor:
    """Triangular bands of equal width in HTK mel from 0 to 8000 Hz, peak 1. Returns (513, 128), float32."""
    bins = torch.linspace(0, SAMPLE_RATE / 2, FFT_SIZE // 2 + 1, dtype=torch.float64)[:, None]
    highest_mel = 2595 * torch.log10(torch.tensor(1 + SAMPLE_RATE / 2 / 700, dtype=torch.float64))
    edges = 700 * (10 ** (torch.linspace(0, 1, MEL_BANDS + 2, dtype=torch.float64) * highest_mel / 2595) - 1)

    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
    return torch.minimum(rising, falling).clamp(min=0).float()


def mel_spectrogram(segments: Tensor) -> Tensor:
    """Power in each mel band. segments: (n, 10240) at 16 kHz. Returns (n, 128, 65), float32."""
    window = torch.hann_window(WINDOW_SIZE, dtype=torch.float32, device=segments.device)
    with torch.autocast(segments.device.type, enabled=False):  # float16 overflows here
        spectrum = torch.stft(
            segments.float(),
            n_fft=FFT_SIZE,
            hop_length=HOP_SIZE,
            win_length=WINDOW_SIZE,
            window=window,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        return mel_bands().T.to(segments.device) @ spectrum.abs().square()


def normalised_log_mel(mel: Tensor) -> Tensor:
    """What the AST sees of a power spectrogram. mel: (n, 128, 65). Returns (n, 128, 66)."""
    # As trained: the frame of padding is zero before the normalisation, so the AST sees 0.467 there.
    padded = F.pad((mel + LOG_FLOOR).log(), (0, 1))
    return (padded - LOG_MEAN) / (2 * LOG_STD)


class SyncAudioEncoder(nn.Module):
    """Sound to features of audible events."""

    def __init__(
        self,
        size: int,
        depth: int,
        heads: int,
        mlp_size: int,
        *,
        dtype=None,
        device=None,
        operations=nn,
        attention: Attention = attention,
    ) -> None:
        super().__init__()
        layers = {"dtype": dtype, "device": device, "operations": operations, "attention": attention}
        self.ast = SpectrogramTransformer(size, depth, heads, mlp_size, **layers)
        self.freq_attn_agg = GroupAggregator(size, heads, mlp_size, **layers)

    def forward(self, sound: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Features of every whole segment of a sound.

        sound: (b, samples), mono at 16 kHz, best in float32: its spectrum is taken in float32 in any case.
        dtype: of the computation after that, and of the features; by default the sound's.
        Returns (b, s * 6, hidden).
        Raises: ValueError if there is less sound than one segment (0.64 s).
        """
        segments = audio_segments(sound).flatten(0, 1)
        log_mel = normalised_log_mel(mel_spectrogram(segments)).to(dtype or sound.dtype)

        x = self.ast(log_mel)[:, SPECIAL_TOKENS:]
        x = self.freq_attn_agg(rearrange(x, "n (f t) d -> (n t) f d", f=ROWS))
        return rearrange(x, "(b n) d -> b n d", b=len(sound))


class SpectrogramTransformer(nn.Module):
    """The AST: overlapping patches of a log-mel spectrogram through a pre-norm vision transformer."""

    def __init__(
        self, size: int, depth: int, heads: int, mlp_size: int, *,
        attention: Attention, dtype=None, device=None, operations=nn,
    ) -> None:  # fmt: skip
        super().__init__()
        build = {"dtype": dtype, "device": device}
        layers = {**build, "operations": operations}
        self.embeddings = SpectrogramTokens(size, **layers)
        blocks = (
            SpectrogramLayer(size, heads, mlp_size, attention=attention, **layers) for _ in range(depth)
        )
        self.encoder = named(layer=nn.Sequential(*blocks))
        self.layernorm = operations.LayerNorm(size, eps=EPS, **build)

    def forward(self, log_mel: Tensor) -> Tensor:
        """log_mel: (n, 128, 66). Returns (n, 2 + 12 * 6, hidden), patches ordered by frequency, then time."""
        return self.layernorm(self.encoder(self.embeddings(log_mel)))


class SpectrogramTokens(nn.Module):
    """Class and distillation token, then patches, all with their positions."""

    def __init__(self, size: int, *, dtype=None, device=None, operations=nn) -> None:
        super().__init__()
        build = {"dtype": dtype, "device": device}
        self.cls_token = nn.Parameter(torch.empty(1, 1, size, **build))
        self.distillation_token = nn.Parameter(torch.empty(1, 1, size, **build))
        self.position_embeddings = nn.Parameter(torch.empty(1, NUM_TOKENS, size, **build))
        self.patch_embeddings = named(
            projection=operations.Conv2d(1, size, PATCH_SIZE, stride=PATCH_STEP, **build)
        )

    def forward(self, log_mel: Tensor) -> Tensor:
        patches = rearrange(self.patch_embeddings(log_mel[:, None]), "n d f t -> n (f t) d")
        special = torch.cat([self.cls_token, self.distillation_token], dim=1).to(log_mel)
        tokens = torch.cat([special.expand(len(log_mel), -1, -1), patches.to(log_mel)], dim=1)
        return tokens + self.position_embeddings.to(log_mel)


class SpectrogramLayer(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(
        self, size: int, heads: int, mlp_size: int, *,
        attention: Attention, dtype=None, device=None, operations=nn,
    ) -> None:  # fmt: skip
        super().__init__()
        build = {"dtype": dtype, "device": device}
        layers = {**build, "operations": operations}
        self.layernorm_before = operations.LayerNorm(size, eps=EPS, **build)
        self.attention = SpectrogramAttention(size, heads, attention=attention, **layers)
        self.layernorm_after = operations.LayerNorm(size, eps=EPS, **build)
        self.intermediate = named(dense=operations.Linear(size, mlp_size, **build))
        self.output = named(dense=operations.Linear(mlp_size, size, **build))

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, tokens, hidden). Returns the same shape."""
        x = x + self.attention(self.layernorm_before(x))
        return x + self.output(F.gelu(self.intermediate(self.layernorm_after(x))))


class SpectrogramAttention(nn.Module):
    """Self-attention and its output projection."""

    def __init__(
        self, size: int, heads: int, *, attention: Attention, dtype=None, device=None, operations=nn
    ) -> None:
        super().__init__()
        build = {"dtype": dtype, "device": device}
        self.attention = SelfAttention(size, heads, attention=attention, operations=operations, **build)
        self.output = named(dense=operations.Linear(size, size, **build))

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.attention(x))
