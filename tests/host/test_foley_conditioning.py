"""Latents and clips of different lengths do not go together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pack.host.foley_conditioning import check_fit
from pack.hunyuan.foley.timing import FoleyTiming


@given(st.integers(1, 376))
def test_every_clip_fits_its_own_latents(sync_frames):
    timing = FoleyTiming.from_sync_frames(sync_frames)
    if timing.latent_frames:
        check_fit(timing.latent_frames, timing.sync_tokens)


@given(st.integers(1, 376), st.integers(1, 376))
def test_a_clip_with_other_segments_fits_none_of_them(mine, other):
    mine, other = (FoleyTiming.from_sync_frames(frames) for frames in (mine, other))
    if mine.sync_tokens != other.sync_tokens:
        with pytest.raises(ValueError, match="Use the latent of Foley Conditioning"):
            check_fit(mine.latent_frames, other.sync_tokens)
