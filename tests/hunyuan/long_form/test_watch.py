"""Each window sees what a clip cut at its start shows, whatever the film's frames do."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from marker_film import MarkerStream, still_frames
from pack.hunyuan.foley.timing import FoleyTiming
from pack.hunyuan.long_form.plan import FilmPlan, Shot, WindowSettings, exact
from pack.hunyuan.long_form.watch import watch_windows
from pack.hunyuan.media.container import after, probe, read_clock, read_frames

FRAMES, VISUAL = 248, 80  # that a whole window, 9.92 s, sees at 25 and at 8 fps


def irregular(seconds: float, seed: int) -> list[float]:
    steps = np.random.default_rng(seed).uniform(0.008, 0.07, 2000)
    times = np.concatenate([[0], np.cumsum(steps)])
    return times[times < seconds].round(4).tolist()


def cut_clip(path, start: float, seconds: float | None = None, stays: float | None = None):
    """What is seen of a clip; with `stays`, its last picture is on screen until then."""
    stream = MarkerStream()
    for time, frame in read_frames(path, start, seconds):
        stream.see(time, frame)
    if stays is not None:
        stream.see(last_place(stays), frame)
    return stream.finish()


def last_place(seconds: float) -> float:
    """The last time before the end for which a frame is picked at 25 fps."""
    return (math.ceil(25 * seconds) - 1) / 25 + 1e-6


@pytest.mark.parametrize(
    ("name", "settings", "start"),
    [
        ("a.mp4", {"fps": 24, "seconds": 30}, 0.0),
        ("a.mkv", {"fps": Fraction(30000, 1001), "seconds": 30}, 0.0),
        ("a.mp4", {"fps": 15, "seconds": 30}, 3.3),
        ("a.mp4", {"times": irregular(30, 1)}, 0.0),
        ("a.mkv", {"times": irregular(30, 2)}, 1.7),
        ("a.mp4", {"times": [0.4 + time for time in irregular(30, 3)]}, 0.0),
    ],
)
def test_a_windows_features_are_those_of_the_clip_cut_at_its_start(clip, name, settings, start):
    path = clip(name, size=(32, 32), **settings)
    plan = FilmPlan.of_clip(exact(start), exact(probe(path).end_time))
    seen = list(watch_windows(read_clock(path, start), plan.windows, MarkerStream))
    assert [window for window, _ in seen] == plan.windows
    for window, features in seen:
        begin = float(window.seen_from)
        if window.end == window.shot_end:
            expected = cut_clip(path, begin, float(window.end - window.seen_from), window.window.length / 50)
            assert features.sync_frames == expected.sync_frames == math.ceil(window.window.length / 2) >= 200
            assert torch.equal(features.visual, expected.visual)
        else:
            expected = cut_clip(path, begin)
            assert features.sync_frames == FRAMES
            assert torch.equal(features.visual[:, : VISUAL - 1], expected.visual[:, : VISUAL - 1])
        assert torch.equal(features.sync[:, :-1], expected.sync[:, : features.sync_frames - 1])
        # The last place is filled by the same picture; the stream is told no time beyond the window.
        assert torch.equal(features.sync[:, -1, 1], expected.sync[:, features.sync_frames - 1, 1])


def test_watching_again_from_a_later_window_sees_the_same(clip):
    path = clip("a.mp4", times=irregular(40, 4), size=(32, 32))
    windows = FilmPlan.of_clip(exact(0), exact(40)).windows
    watched = watch_windows(read_clock(path), windows, MarkerStream)
    whole = {window.index: features for window, features in watched}
    for first in range(1, len(windows)):
        rest = watch_windows(read_clock(path, float(windows[first].seen_from)), windows[first:], MarkerStream)
        for window, features in rest:
            assert torch.equal(features.sync, whole[window.index].sync)
            assert torch.equal(features.visual, whole[window.index].visual)


def test_an_hour_in_the_clock_is_as_exact_as_at_the_beginning():
    plan = FilmPlan.of_clip(exact(0), exact(3600))
    late = plan.windows[-3:]
    frames = list(still_frames(3600, 24)(late[0].start))
    for window, features in watch_windows(frames, late, MarkerStream):
        stream = MarkerStream()
        for clock, frame in frames:
            time = after(float(window.seen_from), clock)
            if 0 <= time < window.end - window.seen_from:
                stream.see(time, frame)
        if window.end == window.shot_end:
            stream.see(last_place(window.window.length / 50), frame)
        assert torch.equal(features.sync, stream.finish().sync)


@pytest.mark.parametrize("fps", [24, 25, Fraction(30000, 1001), 60])
@pytest.mark.parametrize("end", ["10", "12.36", "26.52"])
def test_a_last_window_that_begins_earlier_sees_all_segments_of_eight_seconds_and_sees_them_on_time(fps, end):
    plan = FilmPlan.of_clip(exact(0), exact(end))
    frames = still_frames(float(end), float(fps))(0)
    *_, (window, features) = watch_windows(frames, plan.windows, MarkerStream)
    assert window == plan.windows[-1]
    assert window.seconds == 8
    # From the time of a frame on, a clock at 25 fps would pick 199, each of them one frame early.
    assert features.sync_frames == 200
    waited = features.sync[0, :, 0] - torch.arange(200) / 25
    assert waited.min() >= 0
    assert waited.max() < (0.002 if fps == 25 else 1 / float(fps))


@pytest.mark.parametrize("fps", [24, 25, 60])
def test_a_shots_last_picture_stays_for_as_long_as_it_sounds_behind_its_cut(fps):
    plan = FilmPlan([Shot(start=exact(0), end=exact("13.2")), Shot(start=exact("13.2"), end=exact(20))])
    times = [i / fps for i in range(20 * fps)]
    frames = [(time, np.full((4, 4, 3), 250 if time < 13.2 else 10, np.uint8)) for time in times]
    seen = list(watch_windows(frames, plan.windows, MarkerStream))
    assert [(window.shot, window.window.length) for window, _ in seen] == [(0, 496), (0, 400), (1, 340)]
    for window, features in seen:
        assert features.sync_frames == window.window.length // 2
        # Without a video there are as many places.
        assert features.sync_frames == FoleyTiming(float(window.seconds)).sync_frames
        assert (features.sync[0, :, 1] == (window.shot == 0)).all()


def slides(*times: float):
    """Pictures that stay until the next one comes; the first is dark, from the third on they are white."""
    return [(time, np.full((4, 4, 3), 250 if i >= 2 else 10, np.uint8)) for i, time in enumerate(times)]


def test_a_picture_that_stays_is_seen_in_every_window_until_the_next_one_comes():
    plan = FilmPlan.of_clip(exact(0), exact(60))
    seen = [features for _, features in watch_windows(slides(0, 3, 45.0), plan.windows, MarkerStream)]
    for window, features in zip(plan.windows, seen, strict=True):
        assert features.sync_frames == pytest.approx(float(window.seconds) * 25, abs=1)
        white = features.sync[0, :, 1]
        # Within a window the next picture stands in for the places before it, as in any clip.
        assert (white == float(window.end > 45)).sum() >= features.sync_frames - 1


def test_a_film_that_begins_late_shows_its_first_picture_before():
    windows = FilmPlan.of_clip(exact(0), exact(24)).windows
    seen = [features for _, features in watch_windows(slides(12.0, 13.0), windows, MarkerStream)]
    assert [features.sync_frames for features in seen[:-1]] == [FRAMES] * (len(windows) - 1)


def test_a_film_without_frames_is_an_error():
    windows = FilmPlan.of_clip(exact(0), exact(24)).windows
    with pytest.raises(ValueError, match="shows no frame"):
        list(watch_windows([], windows, MarkerStream))


@pytest.mark.parametrize(
    ("fps", "frames_before", "overlap"),
    [(24, 312, 1.92), (24, 238, 1.92), (24, 622, 1.92), (15, 149, 1.92), (25, 249, 2.0), (60, 599, 2.0)],
)
def test_a_shots_windows_see_nothing_of_the_next_shot(fps, frames_before, overlap):
    cut, end = exact(frames_before / fps), exact(frames_before / fps + 13)
    shots = [Shot(start=exact(0), end=cut), Shot(start=cut, end=end)]
    plan = FilmPlan(shots, WindowSettings(overlap=exact(overlap)))
    pictures = [np.full((4, 4, 3), 250 if i >= frames_before else 10, np.uint8) for i in range(30 * fps)]
    frames = [(i / fps, picture) for i, picture in enumerate(pictures)]
    for window, features in watch_windows(frames, plan.windows, MarkerStream):
        for seen in (features.sync, features.visual):
            assert (seen[0, :, 1] == window.shot).all()
