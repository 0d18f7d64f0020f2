"""Cuts: found where films cut, and not where something else happens at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.hunyuan.media.container import read_frames
from pack.hunyuan.media.shots import CutFinder, find_cuts

FPS = 25
SIZE = (48, 64)  # height, width


def scene(seed, contrast=50.0, level=110.0):
    """(h, w, 3): a picture of soft blobs of colour."""
    random = np.random.default_rng(seed)
    coarse = random.normal(size=(8, 10, 3)) * contrast + level + random.normal(size=3) * contrast / 2
    rows = np.linspace(0, 6.99, SIZE[0])
    columns = np.linspace(0, 8.99, 2 * SIZE[1])
    top, left = rows.astype(int), columns.astype(int)
    down, right = (rows - top)[:, None, None], (columns - left)[None, :, None]
    upper = coarse[top][:, left] * (1 - right) + coarse[top][:, left + 1] * right
    lower = coarse[top + 1][:, left] * (1 - right) + coarse[top + 1][:, left + 1] * right
    return np.clip(upper * (1 - down) + lower * down, 0, 255)


def levels(picture, noise=0):
    grain = np.random.default_rng(noise).normal(size=picture.shape) * 2
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


def still(seed, frames):
    picture = scene(seed)[:, : SIZE[1]]
    return [levels(picture, i) for i in range(frames)]


def pan(seed, frames, pixels=1.0):
    picture = scene(seed)
    return [levels(np.roll(picture, -round(i * pixels), axis=1)[:, : SIZE[1]], i) for i in range(frames)]


def ball(seed, frames):
    """Something large that moves fast."""
    shots = still(seed, frames)
    for i, frame in enumerate(shots):
        left = int(20 * (1 + np.sin(i)))
        frame[10:30, left : left + 20] = 255
    return shots


def timed(frames, fps=FPS):
    return [(i / fps, frame) for i, frame in enumerate(frames)]


SHOTS = [
    (still, 30), (pan, 41), (ball, 25), (still, 17), (pan, 60), (still, 33), (ball, 40),
    (pan, 22), (still, 50), (pan, 19), (ball, 29), (still, 18), (pan, 35),
]  # fmt: skip


def film():
    """Thirteen shots, and the indexes of the frames that begin all but the first."""
    frames, cuts = [], []
    for seed, (kind, length) in enumerate(SHOTS):
        cuts.append(len(frames))
        frames += kind(seed, length)
    return frames, cuts[1:]


def test_every_cut_of_a_film_is_found_at_its_frame():
    frames, cuts = film()
    assert list(find_cuts(timed(frames))) == [i / FPS for i in cuts]


def test_cuts_are_found_in_a_coded_file_within_two_frames(clip):
    frames, cuts = film()
    path = clip(
        "film.mp4",
        seconds=len(frames) / FPS,
        size=(64, 48),
        picture=lambda i, width, height: frames[i],
        options={"crf": "30"},
    )
    found = list(find_cuts(read_frames(path)))
    assert len(found) == len(cuts)
    assert np.abs(np.array(found) * FPS - cuts).max() <= 2


def test_frames_may_come_at_any_times():
    frames, cuts = film()
    times = np.cumsum(np.random.default_rng(0).uniform(0.02, 0.06, len(frames))) + 0.4
    found = list(find_cuts(zip(times.tolist(), frames, strict=True)))
    assert found == times[cuts].tolist()


@pytest.mark.parametrize("pixels", [1.0, 4.0, 9.0])
def test_a_pan_is_no_cut(pixels):
    assert not list(find_cuts(timed(pan(3, 60, pixels))))


def test_motion_in_a_film_of_repeated_frames_is_no_cut():
    frames = [frame for frame in pan(3, 30, 6.0) for _ in range(3)]
    assert not list(find_cuts(timed(frames)))


def test_something_that_appears_is_no_cut():
    frames = still(3, 60)
    for frame in frames[30:]:
        frame[10:34, 10:34] = 255
    assert not list(find_cuts(timed(frames)))


@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_flash_is_no_cut(length):
    frames = still(3, 60)
    for frame in frames[30 : 30 + length]:
        frame[:] = 255
    assert not list(find_cuts(timed(frames)))


def test_a_lamp_that_is_switched_on_is_no_cut():
    picture = scene(3, level=60.0, contrast=20.0)[:, : SIZE[1]]
    frames = [levels(picture * (1.0 if i < 30 else 1.7), i) for i in range(60)]
    assert not list(find_cuts(timed(frames)))


def test_plain_pictures_of_another_level_are_cuts():
    frames = [np.full((*SIZE, 3), level, np.uint8) for level in (30, 60, 200) for _ in range(25)]
    assert list(find_cuts(timed(frames))) == [1.0, 2.0]


def test_a_shot_shorter_than_asked_belongs_to_the_one_before():
    frames = [*still(1, 30), *still(2, 10), *still(3, 30), *still(4, 10)]
    assert list(find_cuts(timed(frames))) == [30 / FPS]
    assert list(find_cuts(timed(frames), shortest=0.2)) == [30 / FPS, 40 / FPS, 70 / FPS]


def test_the_threshold_decides_how_alike_two_shots_may_be():
    frames = [*still(1, 30), *(np.clip(frame + np.uint8(20), 0, 255) for frame in still(1, 30))]
    frames[30:] = [np.roll(frame, 8, axis=1) for frame in frames[30:]]
    assert list(find_cuts(timed(frames), threshold=20)) == [30 / FPS]
    assert not list(find_cuts(timed(frames), threshold=95))


def test_a_cut_is_told_within_a_second_and_little_is_remembered():
    frames, cuts = film()
    finder, told = CutFinder(), {}
    for time, frame in timed(frames):
        told |= dict.fromkeys(finder.see(time, frame), time)
        assert len(finder.looks) <= 20
    told |= dict.fromkeys(finder.finish(), time)
    assert list(told) == [i / FPS for i in cuts]
    assert max(when - cut for cut, when in told.items()) <= 1


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(16, 50), min_size=1, max_size=5), st.sampled_from([12, 24, 60]))
def test_shots_of_any_lengths_are_told_apart(lengths, fps):
    frames, starts = [], []
    for seed, length in enumerate(lengths):
        starts.append(len(frames))
        frames += still(seed, length * fps // 24)
    found = list(find_cuts(timed(frames, fps)))
    assert found == [start / fps for start in starts[1:]]


def test_a_picture_smaller_than_the_grid_will_do():
    frames = [np.full((4, 5, 3), level, np.uint8) for level in (30, 200) for _ in range(25)]
    assert list(find_cuts(timed(frames))) == [1.0]


@pytest.mark.parametrize("threshold", [0, -1, 101])
def test_a_threshold_that_finds_all_or_nothing_is_refused(threshold):
    with pytest.raises(ValueError, match=f"not {threshold}"):
        CutFinder(threshold)


def test_no_frame_has_no_cut():
    assert not list(find_cuts([]))
