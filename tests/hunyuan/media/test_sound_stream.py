"""A sound read block by block is the one that is read at once, and lies where the file's clock says."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from pack.hunyuan.media import sound_stream
from pack.hunyuan.media.audio import fit_length, resample, to_mono
from pack.hunyuan.media.files import read_audio
from pack.hunyuan.media.sound_stream import BLOCK, check_sound, in_blocks, on_the_clock, stream_sound
from pack.hunyuan.media.soundtrack import mix_blocks, mix_tracks

RATE = 48_000


@pytest.fixture
def noise(tmp_path) -> Path:
    """25 s in two channels at 44.1 kHz."""
    path = tmp_path / "noise.wav"
    rng = np.random.default_rng(0)
    soundfile.write(path, rng.uniform(-0.5, 0.5, (25 * 44_100 + 77, 2)), 44_100, subtype="FLOAT")
    return path


@pytest.mark.parametrize(("start", "seconds"), [(0.0, 25.0), (3.3, 14.7), (0.0, 40.0)])
def test_blocks_together_are_what_is_read_at_once(noise, start, seconds):
    samples = round(seconds * RATE)
    blocks = list(stream_sound(noise, start, samples))
    waveform, rate = read_audio(noise, start, seconds)
    expected = fit_length(resample(waveform, rate, RATE), samples)
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), expected)
    assert [block.shape[1] for block in blocks[:-1]] == [BLOCK] * (len(blocks) - 1)


def test_more_channels_than_fit_become_one(tmp_path):
    path = tmp_path / "six.wav"
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (2 * RATE, 6)).astype(np.float32)
    soundfile.write(path, sound, RATE, subtype="FLOAT")
    (block,) = stream_sound(path, 0.0, 2 * RATE)
    np.testing.assert_array_equal(block, to_mono(sound.T))


def test_clicks_stay_in_their_place_for_minutes(tmp_path):
    """A click every second for three minutes at 44.1 kHz, compressed: each is heard within a millisecond."""
    path, seconds = tmp_path / "clicks.flac", 180
    sound = np.zeros(seconds * 44_100, np.float32)
    sound[22_050::44_100] = 0.9
    soundfile.write(path, sound, 44_100, subtype="PCM_24")
    heard = np.concatenate(list(stream_sound(path, 0.0, seconds * RATE)), axis=1)[0]
    assert len(heard) == seconds * RATE
    places = np.abs(heard.reshape(seconds, RATE)).argmax(axis=1) / RATE
    assert np.abs(places - 0.5).max() < 0.001


def piece(time: float, samples: int, level: float = 1.0, rate: int = 1000):
    return time, np.full((1, samples), level, np.float32), rate


def test_holes_are_silent_overlaps_are_told_once_and_the_end_is_reached():
    pieces = [piece(-0.1, 200), piece(0.3, 100, 2.0), piece(0.35, 100, 3.0), piece(0.6, 10, 4.0)]
    told = np.concatenate([samples for samples, _ in on_the_clock(pieces, 0.0, 1.0)], axis=1)[0]
    expected = np.zeros(1000)
    expected[:100], expected[300:400], expected[400:450], expected[600:610] = 1, 2, 3, 4
    np.testing.assert_array_equal(told, expected)


def test_a_long_hole_takes_no_more_memory_than_a_block(monkeypatch):
    monkeypatch.setattr(sound_stream, "BLOCK", 50)
    blocks = [samples for samples, _ in on_the_clock([piece(0, 10), piece(0.9, 100)], 0.0, 1.0)]
    assert max(block.shape[1] for block in blocks) == 100
    assert sum(block.shape[1] for block in blocks) == 1000


def test_a_part_without_sound_is_named(noise):
    with pytest.raises(ValueError, match=r"noise.wav from 30 s on: no sound can be decoded"):
        check_sound(noise, 30.0, RATE)
    check_sound(noise, 20.0, RATE)


def test_blocks_have_one_size_whatever_comes():
    sizes = [3, 0, 11, 1, 1, 4]
    whole = np.arange(20)[None]
    pieces = np.split(whole, np.cumsum(sizes)[:-1], axis=1)
    blocks = list(in_blocks(pieces, 5))
    assert [block.shape[1] for block in blocks] == [5] * 4
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), whole)


def test_mixing_in_blocks_is_mixing_at_once():
    rng = np.random.default_rng(2)
    samples = 3 * RATE + 123
    original = rng.uniform(-1, 1, (2, samples)) * (np.sin(np.arange(samples) / 9000) > 0)
    ours, original = rng.uniform(-1, 1, (1, samples)).astype(np.float32), original.astype(np.float32)
    cuts = range(0, samples, RATE // 4)
    pairs = ((ours[:, i : i + RATE // 4], original[:, i : i + RATE // 4]) for i in cuts)
    mixed = np.concatenate(list(mix_blocks(pairs, gain_db=-3, duck_db=12)), axis=1)
    np.testing.assert_allclose(mixed, mix_tracks(ours, original, gain_db=-3, duck_db=12), atol=1e-6)
