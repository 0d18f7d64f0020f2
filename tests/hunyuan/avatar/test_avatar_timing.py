import pytest
from hypothesis import given
from hypothesis import strategies as st
from pack.hunyuan.avatar.timing import PUBLISHED_FRAMES, WINDOW_FRAMES, AvatarTiming, latent_frames


@pytest.mark.parametrize(
    ("frames", "padded", "drawn", "ring", "windows", "latents"),
    [
        (1, 129, 65, 33, 1, 33),
        (129, 129, 65, 33, 1, 33),
        (130, 135, 65, 65, 2, 34),
        (250, 255, 65, 65, 2, 64),
        (251, 256, 97, 97, 3, 65),
        (378, 383, 97, 97, 3, 96),
        (379, 384, 129, 129, 4, 97),
        (400, 405, 129, 129, 4, 102),
        (1000, 405, 129, 129, 4, 102),
    ],
)
def test_released_lengths(frames, padded, drawn, ring, windows, latents):
    timing = AvatarTiming(frames, PUBLISHED_FRAMES)
    found = (
        timing.padded_frames, timing.noise_latents, timing.ring_latents, timing.windows, timing.latents
    )  # fmt: skip
    assert found == (padded, drawn, ring, windows, latents)


@given(st.integers(1, 5000))
def test_every_frame_of_the_speech_gets_a_video_frame(frames):
    timing = AvatarTiming(frames)
    assert timing.kept_frames == frames
    assert timing.latents <= timing.ring_latents <= timing.noise_latents
    assert timing.padded_frames - timing.decoded_frames < 4


@given(st.integers(1, 5000))
def test_a_fitted_ring_is_what_the_speech_needs_and_at_least_a_window(frames):
    fitted, released = AvatarTiming(frames, fit=True), AvatarTiming(frames)
    assert fitted.latents == -(-(frames + 3) // 4)
    assert fitted.ring_latents == fitted.noise_latents == max(fitted.latents, 33)
    assert fitted.windows == -(-fitted.ring_latents // 33) <= released.windows
    assert 0 <= fitted.decoded_frames - frames < 4
    assert fitted.kept_frames == frames


def test_a_fitted_ring_saves_windows():
    assert [AvatarTiming(frames, fit=True).windows for frames in (129, 130, 251, 379)] == [1, 2, 2, 3]
    assert [AvatarTiming(frames).windows for frames in (129, 130, 251, 379)] == [1, 2, 3, 4]


def test_speech_beyond_the_limit_makes_no_video():
    assert AvatarTiming(1000, PUBLISHED_FRAMES).kept_frames == 405


def test_samples_that_do_not_fill_a_frame_are_dropped():
    assert AvatarTiming.from_samples(25 * 640 + 639).audio_frames == 25


def test_too_short_speech_is_refused():
    with pytest.raises(ValueError, match=r"shorter than one video frame \(0.04 s\)"):
        AvatarTiming.from_samples(639)


def test_a_window_holds_33_latents():
    assert latent_frames(WINDOW_FRAMES) == 33
    with pytest.raises(ValueError, match="130 video frames are no whole number of latents"):
        latent_frames(130)
