import pytest
from hypothesis import given
from hypothesis import strategies as st
from pack.hunyuan.foley.timing import FoleyTiming, check_length

LOSE_A_LATENT = {29, 57, 58, 113, 114, 115, 116, 201, 203, 205, 207, 226, 228, 230, 232, 251, 253, 255}


@pytest.mark.parametrize("frames", range(1, 377))
def test_latents_are_two_a_frame_but_where_the_published_truncation_loses_one(frames):
    timing = FoleyTiming.from_sync_frames(frames)
    assert timing.latent_frames == 2 * frames - (frames in LOSE_A_LATENT)
    assert timing.sync_frames == frames
    assert timing.samples == 960 * timing.latent_frames


@given(st.integers(16, 400))
def test_segments_are_those_that_fit(frames):
    timing = FoleyTiming.from_sync_frames(frames)
    fitting = [start for start in range(0, frames, 8) if start + 16 <= frames]
    assert timing.sync_segments == len(fitting)
    assert timing.sync_tokens == 8 * len(fitting)


def test_a_clip_shorter_than_a_segment_gets_one_segment_of_tokens():
    timing = FoleyTiming.from_sync_frames(5)
    assert (timing.sync_segments, timing.sync_tokens) == (0, 8)


def test_fifteen_seconds_and_a_last_frame_are_allowed_and_more_is_not():
    check_length(15.04)
    with pytest.raises(ValueError, match=r"20\.00 s long, .* at most 15 s\. .* its start and its length"):
        check_length(20)
