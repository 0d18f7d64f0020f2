"""Whisper states around video frames, for speech of any length and video of any frame rate."""

from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.hunyuan.avatar.log_mel import log_mel
from pack.hunyuan.avatar.speech_encoder import (
    BLOCK_ROWS,
    Speech,
    SpeechEncoder,
    frame_windows,
    join_blocks,
    pad_with_silence,
)

SECOND = 16_000


def numbered_rows(rows, first=0):
    """States that say which row they are, from 1, so that they differ from silence."""
    return torch.arange(first + 1, first + rows + 1, dtype=torch.float64).view(1, rows, 1, 1)


def window_numbers(rows, frames, fps):
    return frame_windows(numbered_rows(rows), frames, fps)[0, :, :, 0, 0]


@pytest.fixture(scope="module")
def encoder():
    transformers = pytest.importorskip("transformers")
    config = transformers.WhisperConfig(
        d_model=8, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=8, decoder_layers=1,
        decoder_attention_heads=2, decoder_ffn_dim=8, vocab_size=8, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, decoder_start_token_id=3,
    )  # fmt: skip
    torch.manual_seed(0)
    return SpeechEncoder(transformers.WhisperModel(config).eval()).requires_grad_(False)


def noise(seconds):
    return torch.randn(int(seconds * SECOND), generator=torch.Generator().manual_seed(1)) * 0.1


@pytest.mark.parametrize(("fps", "step"), [(25, 2), (12.5, 4)])
def test_published_frame_rates_step_over_whole_rows(fps, step):
    found = window_numbers(100, 20, fps)
    for frame in range(20):
        rows = range(step * frame - 4, step * frame + 6)
        assert found[frame].tolist() == [row + 1 if row >= 0 else 0 for row in rows]


@given(
    fps=st.sampled_from([Fraction(24000, 1001), 24, 25, 29.97, 30, 50, 59.94, 60]) | st.floats(5, 240),
    frame=st.integers(0, 400),
)
@settings(max_examples=60, deadline=None)
def test_at_any_frame_rate_the_window_is_where_the_frame_is_in_time(fps, frame):
    rows = int((frame + 1) / fps * 50) + 10
    window = window_numbers(rows, frame + 1, fps)[frame]
    start = int(window[-1]) - 10  # the last row is always there, and they are counted from 1
    assert abs(Fraction(start + 4, 50) - frame / Fraction(fps)) <= Fraction(1, 100)
    assert window.diff()[window[:-1] > 0].tolist() == [1] * int((window[:-1] > 0).sum())


def test_after_the_last_row_there_is_silence():
    found = window_numbers(BLOCK_ROWS, 750, 25)
    assert found[749].tolist() == [*range(1495, 1501), 0, 0, 0, 0]


def test_no_frame_has_no_window():
    assert frame_windows(numbered_rows(10), 0).shape == (1, 0, 10, 1, 1)


@pytest.mark.parametrize("fps", [0, -25])
def test_a_video_that_stands_still_is_refused(fps):
    with pytest.raises(ValueError, match="more than"):
        frame_windows(numbered_rows(10), 3, fps)


@pytest.mark.parametrize(("frames", "padded"), [(1, 129), (129, 129), (130, 135), (400, 405), (9000, 9005)])
def test_speech_ends_in_windows_of_zeros(frames, padded):
    windows = torch.ones(1, frames, 10, 1, 1)
    found = pad_with_silence(windows)
    assert found.shape[1] == padded
    assert found[:, :frames].eq(1).all()
    assert found[:, frames:].eq(0).all()


@given(blocks=st.integers(1, 6))
@settings(max_examples=6, deadline=None)
def test_blocks_join_without_a_missing_or_a_doubled_row(blocks):
    rows = [numbered_rows(BLOCK_ROWS, first=1250 * block) for block in range(blocks)]
    assert torch.equal(join_blocks(rows), numbered_rows(1250 * (blocks - 1) + BLOCK_ROWS))


@pytest.mark.parametrize(("seconds", "rows"), [(0.05, 1500), (30, 1500), (30.01, 2750), (55.01, 4000)])
def test_there_are_as_many_blocks_as_the_speech_needs(encoder, seconds, rows):
    speech = encoder.encode(noise(seconds))
    assert speech.states.shape == (1, rows, 3, 8)
    assert speech.num_frames() == int(seconds * 25 + 1e-9)


def test_up_to_the_seam_long_speech_has_the_states_of_its_first_block(encoder):
    waveform = noise(40)
    first = encoder(log_mel(waveform[: 30 * SECOND])[None])
    second = encoder(log_mel(waveform[25 * SECOND :])[None])
    states = encoder.encode(waveform).states
    seam = 1375  # 27.5 s
    assert torch.equal(states[:, :seam], first[:, :seam])
    assert torch.equal(states[:, seam:], second[:, seam - 1250 :])
    window = encoder.encode(waveform).windows()[0, seam // 2]
    assert torch.equal(window, torch.cat([first[0, seam - 5 : seam], second[0, 125:130]]))


def test_states_are_the_embedding_then_the_layers_and_the_last_is_normed(encoder):
    mel = log_mel(noise(1))[None]
    whisper, outputs = encoder.encoder, []

    def record(_layer, _inputs, out):
        outputs.append(out[0] if isinstance(out, tuple) else out)

    hooks = [layer.register_forward_hook(record) for layer in whisper.layers]
    states = encoder(mel)
    for hook in hooks:
        hook.remove()

    embedded = F.gelu(whisper.conv2(F.gelu(whisper.conv1(mel.half().float()))))
    embedded = embedded.transpose(1, 2) + whisper.embed_positions.weight
    for found, expected in zip(
        states.unbind(2), [embedded, outputs[0], whisper.layer_norm(outputs[1])], strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_a_frame_that_is_not_full_is_dropped():
    speech = Speech(states=numbered_rows(1500), samples=640 * 3 + 639)
    assert speech.num_frames() == 3
    assert speech.num_frames(50) == 7
    assert speech.windows(50).shape == (1, 7, 10, 1, 1)


@pytest.mark.parametrize("shape", [(0,), (2, SECOND)])
def test_stereo_and_empty_speech_are_refused(encoder, shape):
    with pytest.raises(ValueError, match="must be mono and not empty"):
        encoder.encode(torch.zeros(shape))
