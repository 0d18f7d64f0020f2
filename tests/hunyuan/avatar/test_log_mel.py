"""Whisper's spectrogram beside transformers' feature extractor."""

import pytest
import torch
from pack.hunyuan.avatar.log_mel import BLOCK_SAMPLES, log_mel, mel_filters


@pytest.fixture(scope="module")
def extractor():
    return pytest.importorskip("transformers").WhisperFeatureExtractor(feature_size=80)


@pytest.mark.parametrize("seconds", [0.01, 3.3, 30.0])
def test_a_block_is_what_the_feature_extractor_gives(extractor, seconds):
    waveform = torch.randn(int(seconds * 16_000), generator=torch.Generator().manual_seed(1)) * 0.1
    expected = extractor(waveform.numpy(), sampling_rate=16_000, return_tensors="pt").input_features[0]
    torch.testing.assert_close(log_mel(waveform), expected, rtol=0, atol=1e-4)


def test_the_loudest_cell_of_each_block_sets_its_floor(extractor):
    generator = torch.Generator().manual_seed(2)
    loud = torch.randn(BLOCK_SAMPLES, generator=generator)
    quiet = torch.randn(16_000, generator=generator) * 1e-4
    mel = log_mel(torch.cat([loud, quiet]))
    assert mel.shape == (80, 6000)
    expected = extractor(quiet.numpy(), sampling_rate=16_000, return_tensors="pt").input_features[0]
    torch.testing.assert_close(mel[:, 3000:], expected, rtol=0, atol=1e-4)


def test_filters_are_slaneys():
    audio_utils = pytest.importorskip("transformers.audio_utils")
    expected = audio_utils.mel_filter_bank(201, 80, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney")
    torch.testing.assert_close(torch.from_numpy(mel_filters()).double(), torch.from_numpy(expected.T))


@pytest.mark.parametrize("shape", [(0,), (2, 160), (1, 1, 160)])
def test_stereo_and_empty_speech_are_refused_with_their_shape(shape):
    with pytest.raises(ValueError, match="must be mono and not empty"):
        log_mel(torch.zeros(shape))
