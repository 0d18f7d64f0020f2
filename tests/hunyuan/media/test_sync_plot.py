import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.hunyuan.media.sync_plot import HEARD, SEEN, WIDTH, Filmstrip, SyncPlot, block_extremes


def plot(seconds: float = 2.0, fps: float = 25.0, rate: int = 8000) -> SyncPlot:
    times = np.arange(round(seconds * fps)) / fps
    waveform = np.sin(np.arange(round(seconds * rate)) / 9).astype(np.float32)
    return SyncPlot(
        duration=seconds, fps=fps, times=times, energy=times % 0.5, waveform=waveform, sample_rate=rate,
        events=np.array([0.5, 1.5]), onsets=np.array([0.52]), matches=((0, 0, 0.02),),
        strip=np.full((90, 900, 3), 200, np.uint8),
    )  # fmt: skip


def test_the_picture_shows_what_was_seen_and_heard():
    picture = plot().draw()
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (WIDTH, 3)
    for colour in (SEEN, HEARD, (200, 200, 200)):
        assert (picture == colour).all(axis=-1).any()


def test_a_long_clip_is_thinned_out_but_no_peak_is_lost():
    long = plot(seconds=600)
    told = long.as_json()
    assert len(told["motion"]) <= 2000
    assert len(told["waveform"]["max"]) <= 2001
    assert len(told["waveform"]["max"]) / told["waveform"]["rate"] == pytest.approx(600, rel=0.01)
    assert max(energy for _, energy in told["motion"]) == pytest.approx(long.energy.max(), abs=1e-3)


def test_figures_describe_the_matches():
    told = plot().as_json()
    assert told["offset_ms"] == 20
    assert told["matched"] == 0.5
    assert told["matches"] == [[0, 0, 20.0]]


@given(st.lists(st.floats(-1, 1), max_size=40), st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_block_extremes_keep_the_extremes(values, size):
    values = np.array(values, float)
    low, high = block_extremes(values, size)
    assert len(low) == len(high) == -(-len(values) // size)
    if len(values):
        assert (low.min(), high.max()) == (values.min(), values.max())


@pytest.mark.parametrize("frames", [3, 12, 200])
def test_the_strip_has_as_many_pictures_from_few_frames_as_from_many(frames):
    strip = Filmstrip(duration=8.0, count=6, rows=20)
    for i in range(frames):
        strip.see(i * 8 / frames, np.full((40, 60, 3), i, np.uint8))
    assert strip.picture().shape == (20, 6 * 30, 3)


def test_the_strip_comes_from_all_over_the_clip():
    strip = Filmstrip(duration=10.0, count=5, rows=1)
    for i in range(100):
        strip.see(i / 10, np.full((1, 1, 3), i, np.uint8))
    levels = strip.picture()[0, :, 0].astype(int)
    assert (np.diff(levels) > 10).all()
