import shutil
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.hunyuan.foley.timing import FoleyTiming
from pack.hunyuan.long_form.disk import MARGIN, bytes_needed, check_room
from pack.hunyuan.long_form.plan import FilmPlan, Shot, WindowSettings, exact
from pack.hunyuan.long_form.sliding import SlidingWindows, feature_slices

MICROSECONDS = 1_000_000
times = st.integers(1, 2 * 3600 * MICROSECONDS).map(lambda count: Fraction(count, MICROSECONDS))


@settings(max_examples=40, deadline=None)
@given(start=times, seconds=times)
def test_a_films_windows_start_every_eight_seconds_exactly(start, seconds):
    plan = FilmPlan.of_clip(start, start + seconds)
    firsts = [planned.start for planned in plan.windows[:-1]]
    assert firsts == [start + 8 * k for k in range(len(firsts))]
    assert plan.windows[-1].end == start + seconds
    assert plan.latent_lengths[0] - 1 < seconds * 50 <= plan.latent_lengths[0]
    assert abs(plan.samples - seconds * 48_000) <= Fraction(1, 2)
    last = plan.windows[-1]
    assert last.seconds <= 10
    if last.window.first > last.window.start:  # begins earlier
        assert last.window.length == 400
        assert last.seen_from == last.start - Fraction("0.001") >= plan.windows[-2].start
    for planned in plan.windows[:-1]:
        assert planned.seen_from == planned.start
        assert planned.seconds == Fraction("9.92")
        assert FoleyTiming(float(planned.seconds)).latent_frames == planned.window.length == 496


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(1, 400_000), min_size=1, max_size=8, unique=True))
def test_shots_are_planned_apart_and_lie_side_by_side(cuts):
    places = [Fraction(0), *(Fraction(cut, 1000) for cut in sorted(cuts))]
    plan = FilmPlan([Shot(start=a, end=b) for a, b in pairwise(places)])
    for shot, windows in zip(plan.shots, plan.by_shot, strict=True):
        assert windows[0].start == shot.start
        assert all(shot.start <= planned.start < planned.end <= shot.end for planned in windows)
        assert {planned.shot_end for planned in windows} == {shot.end} == {windows[-1].end}
        assert all(planned.window.stop <= shot.seconds * 50 for planned in windows[:-1])
        assert len(windows) == 1 or shot.seconds * 50 > 499
    assert [planned.index for planned in plan.windows] == list(range(len(plan.windows)))
    assert plan.sample_offsets[-1] == plan.samples == round(48_000 * plan.end)
    inner = pairwise(plan.sample_offsets[:-1])
    for length, (begin, end) in zip(plan.latent_lengths[:-1], inner, strict=True):
        assert 960 * length >= end - begin + 4 * 960  # what the fade is taken from lies behind the cut


def test_features_of_a_whole_clip_are_sliced_where_the_clocks_meet():
    windows = SlidingWindows().plan(26 * 50)
    slices = [feature_slices(window) for window in windows]
    assert slices[0] == (slice(0, 80), slice(0, 240))
    assert slices[1] == (slice(64, 144), slice(200, 440))
    assert windows[-1].start == 1040
    assert slices[-1][1] == slice(1040 // 16 * 8, 1040 // 16 * 8 + 15 * 8)


def test_what_cannot_be_planned_is_said():
    with pytest.raises(ValueError, match="at least one shot"):
        FilmPlan([])
    with pytest.raises(ValueError, match="does not last"):
        FilmPlan.of_clip(exact(2), exact(2))
    with pytest.raises(ValueError, match="without gap"):
        FilmPlan([Shot(start=exact(0), end=exact(5)), Shot(start=exact(6), end=exact(9))])
    with pytest.raises(ValueError, match=r"overlap of 2\.5 s"):
        WindowSettings(overlap=exact(2.5))
    with pytest.raises(ValueError, match="no join 'glue'"):
        WindowSettings(join="glue")


def test_disk_grows_by_the_minute_and_too_little_is_said_before(tmp_path):
    def needed(minutes: int) -> int:
        plan = FilmPlan.of_clip(exact(0), exact(60 * minutes))
        return bytes_needed(plan, steps=50, takes=1, channels=128, visual_size=768, sync_size=768)

    assert needed(60) / needed(30) == pytest.approx(2, abs=0.1)
    assert needed(60) < 3e9
    check_room(tmp_path / "job", 1000)
    with pytest.raises(OSError, match=r"needs .* of disk"):
        check_room(tmp_path / "job", 1 << 60)


def test_the_finished_film_counts_with_its_picture(tmp_path):
    video = tmp_path / "film.mp4"
    video.write_bytes(bytes(1 << 20))
    plan = FilmPlan.of_clip(exact(0), exact(60))
    sizes = {"steps": 2, "takes": 1, "channels": 8, "visual_size": 8, "sync_size": 8}
    alone, with_picture = bytes_needed(plan, **sizes), bytes_needed(plan, **sizes, video=video)
    unwritten = alone - 4 * plan.samples
    assert with_picture - unwritten == (1 << 20) + 60 * 24_000  # 192 kbit/s


def test_what_a_job_has_written_is_room_that_it_needs_no_more(tmp_path, monkeypatch):
    """A job that goes on is asked for the rest; one that begins anew frees what it takes."""
    needed, job = 1 << 20, tmp_path / "job"
    (job / "features").mkdir(parents=True)
    (job / "features" / "0").write_bytes(bytes(needed // 4))
    free = shutil.disk_usage(tmp_path)._replace(free=MARGIN + 3 * needed // 4)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    check_room(job, needed)
    (job / "features" / "0").write_bytes(bytes(needed // 8))
    with pytest.raises(OSError, match=r"needs 1 MB of disk, of which 0 MB are there, and 68 MB are free"):
        check_room(job, needed)
