"""Reading real videos: when frames are shown, how they are turned, and what is wrong with a file."""

import logging
import random
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from pack.hunyuan.media.container import probe, read_frames
from pack.hunyuan.media.video import FramePicker

ROOT = Path(__file__).parents[3]
TONE = 0.3 * np.sin(np.arange(24_000) / 20, dtype=np.float32)[None]
VARIABLE = [0.0, 0.011, 0.3, 0.31, 0.75, 1.4]


def times(path, *part) -> list[float]:
    return [time for time, _ in read_frames(path, *part)]


def numbers(clip, path, *part) -> list[int]:
    return [clip.number(frame) for _, frame in read_frames(path, *part)]


# --- times --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("fps", [25, 24, 60, Fraction(30000, 1001)])
def test_times_are_ticks_in_float64(clip, suffix, fps):
    path = clip("a" + suffix, fps=fps)
    assert times(path) == [
        float(i) * Fraction(fps).denominator / Fraction(fps).numerator for i in range(round(fps))
    ]
    assert numbers(clip, path) == list(range(round(fps)))


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_matroska_has_milliseconds(clip, suffix):
    path = clip("a" + suffix, fps=24)
    assert times(path) == [round(i * 1000 / 24) / 1000 for i in range(24)]
    assert numbers(clip, path) == list(range(24))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_variable_rate_and_a_late_beginning_are_kept(clip, suffix):
    late = [time + 0.4 for time in VARIABLE]
    assert times(clip("variable" + suffix, times=VARIABLE)) == pytest.approx(VARIABLE, abs=5e-4)
    assert times(clip("late" + suffix, times=late)) == pytest.approx(late, abs=5e-4)


def test_a_late_first_frame_stands_in_until_its_time(clip):
    picker = FramePicker(25, 15.0)
    picks = [picker.take(time) for time, _ in read_frames(clip(times=[0.4 + i / 30 for i in range(30)]))]
    assert (picks[0], sum(picks)) == (11, 35)  # 0, 0.04 .. 0.4, then on to 1.367 s


def test_a_bare_stream_is_timed_by_its_rate(clip):
    assert times(clip("a.h264", seconds=0.4)) == [i / 25 for i in range(10)]


def test_a_broadcast_clock_begins_at_the_container(clip):
    """.ts files begin at any time of day; here it is 20 hours."""
    path = clip("a.ts", times=[72_000 + i / 25 for i in range(25)])
    assert times(path) == pytest.approx([i / 25 for i in range(25)])
    assert times(path, 0.5) == pytest.approx([i / 25 - 0.5 for i in range(13, 25)])


# --- parts --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long_clips(tmp_path_factory):
    from media_clips import write_clip

    folder = tmp_path_factory.mktemp("long")
    return {
        s: write_clip(folder / f"long{s}", seconds=5, gop=40)
        for s in (".mp4", ".mkv", ".webm", ".ts", ".h264")
    }


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".ts", ".h264"])
@pytest.mark.parametrize("part", [(0.5,), (1.6, 0.4), (3.21, 1.0), (4.96, None), (0.0, 1.0)])
def test_a_part_is_what_lies_between_its_ends(clip, long_clips, suffix, part):
    start, seconds = (*part, None)[:2]
    end = 5.0 if seconds is None else start + seconds
    wanted = [i for i in range(125) if start <= i / 25 < end - 1e-9]
    frames = list(read_frames(long_clips[suffix], start, seconds))
    assert [clip.number(frame) for _, frame in frames] == wanted
    assert [time for time, _ in frames] == pytest.approx([i / 25 - start for i in wanted], abs=1e-9)
    assert frames[0][0] >= 0


def test_a_frame_at_the_start_has_time_zero_whatever_the_rounding(clip):
    path = clip(fps=Fraction(30000, 1001), seconds=3)
    for i in range(1, 60):
        assert times(path, i * 1001 / 30000, 0.01) == [0.0]


def test_a_part_has_the_times_of_a_file_of_its_own(clip):
    """Or other frames would be picked where one lies on the grid of a picker, to the last bit."""
    assert times(clip("a.mp4", fps=25), 0.6) == [i / 25 for i in range(10)]


def test_what_comes_after_a_part_is_not_even_read(clip, caplog):
    path = clip("a.mkv", codec="mjpeg", pixels="yuvj420p", seconds=4, sound=None)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : -2000] = bytes(len(content[len(content) // 2 : -2000]))
    path.write_bytes(content)
    assert len(times(path, 0.0, 1.0)) == 25
    assert not caplog.records
    assert len(times(path)) < 100


def test_a_part_without_a_frame_is_an_error(clip):
    with pytest.raises(ValueError, match=r"clip.mp4: no frame can be decoded from 7 to 8 s"):
        times(clip(), 7.0, 1.0)
    with pytest.raises(ValueError, match=r"from 7 s on"):
        times(clip(), 7.0)
    with pytest.raises(ValueError, match="start of -1 s"):
        times(clip(), -1.0)


# --- pictures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_pictures_are_turned_as_the_file_says(clip, suffix, rotation, mirrored):
    stored = next(read_frames(clip("stored" + suffix, seconds=0.2)))[1]
    path = clip("turned" + suffix, seconds=0.2, rotation=rotation, mirrored=mirrored)
    shown = np.rot90(stored[:, ::-1] if mirrored else stored, -rotation // 90)
    frame = next(read_frames(path))[1]
    assert np.array_equal(frame, shown)
    assert frame.flags.c_contiguous
    info = probe(path)
    assert (info.height, info.width) == shown.shape[:2]
    if not mirrored:
        assert info.rotation == rotation


@pytest.mark.parametrize(
    "settings",
    [
        {"codec": "libx265", "pixels": "yuv420p10le"},
        {"codec": "prores_ks", "pixels": "yuv422p10le"},
        {"codec": "prores_ks", "pixels": "yuva444p10le"},
        {"codec": "qtrle", "pixels": "argb"},
        {"codec": "png", "pixels": "rgba"},
        {"pixels": "yuv444p", "size": (53, 37)},
        {"codec": "mjpeg", "pixels": "yuvj420p", "size": (55, 41)},
        {"full_range": True},
    ],
    ids=str,
)
def test_any_pixel_format_becomes_rgb(clip, settings):
    path = clip("a.mov", seconds=0.2, **settings)
    frames = [frame for _, frame in read_frames(path)]
    width, height = settings.get("size", (64, 48))
    assert {(frame.shape, frame.dtype) for frame in frames} == {((height, width, 3), np.dtype(np.uint8))}
    assert [clip.number(frame) for frame in frames] == list(range(5))
    # The middle of a grey, a black and the red part: what was drawn, but for compression.
    drawn = clip.numbered(0, width, height)
    for y, x in [(height // 6, width // 2), (height * 2 // 3, width // 2), (height // 6, width // 8)]:
        assert np.abs(frames[0][y, x].astype(int) - drawn[y, x]).max() <= 12


# --- facts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "codec", "container"),
    [
        (".mp4", "h264", "mov,mp4,m4a,3gp,3g2,mj2"),
        (".mkv", "h264", "matroska,webm"),
        (".webm", "vp9", "matroska,webm"),
        (".ts", "h264", "mpegts"),
    ],
)
@pytest.mark.parametrize("late", [0.0, 0.4])
def test_facts(clip, suffix, codec, container, late):
    sound = TONE if late else None
    path = clip("a" + suffix, times=[late + i / 25 for i in range(20)], sound=sound)
    info = probe(path)
    assert (info.width, info.height, info.rotation) == (64, 48, 0)
    assert (info.codec, info.container, info.has_audio) == (codec, container, sound is not None)
    assert info.duration == pytest.approx(0.8, abs=2e-3)
    assert info.frame_rate == pytest.approx(25, rel=0.06)
    assert info.end_time == pytest.approx(info.start_time + 0.8, abs=2e-3)
    if suffix != ".ts":  # whose clock begins with whatever comes first
        assert info.start_time == pytest.approx(late, abs=1e-3)


def test_a_bare_stream_is_as_long_as_its_frames(clip):
    info = probe(clip("a.h264", seconds=0.6))
    assert (info.duration, info.frame_rate) == (pytest.approx(0.6), 25)


def test_the_length_is_the_pictures_not_the_sounds(clip):
    for suffix in (".mp4", ".mkv"):
        assert probe(clip("a" + suffix, seconds=0.2, sound=TONE)).duration == pytest.approx(0.2, abs=1e-3)


# --- damage -------------------------------------------------------------------------------------------------


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def broken_files(clip, folder: Path):
    whole = clip("whole.mp4", sound=TONE).read_bytes()
    yield write(folder / "empty.mp4", b""), "is empty"
    yield write(folder / "notes.mp4", b"Dear diary,\n" * 99), "is no video or sound"
    yield write(folder / "notes.txt", b"Dear diary,\n" * 99), "is no video or sound"
    yield write(folder / "list.mp4", b"ffconcat version 1.0\nfile whole.mp4\n"), "is no video or sound"
    yield (
        write(folder / "page.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://x/y.ts\n"),
        "is no video or sound",
    )
    yield write(folder / "noise.mkv", random.Random(0).randbytes(5000)), "is no video or sound"
    yield write(folder / "cut.mp4", whole[: len(whole) // 2]), "is no video or sound"
    yield write(folder / "head.mkv", clip("whole.mkv").read_bytes()[:600]), "head.mkv"
    yield folder, "is a folder"


def test_what_is_no_video_is_named_in_a_sentence(clip, tmp_path):
    for path, message in broken_files(clip, tmp_path):
        for read in (probe, times):
            with pytest.raises(ValueError, match=message) as caught:
                read(path)
            assert type(caught.value) is ValueError
            assert path.name in str(caught.value)
            assert "\n" not in str(caught.value)


def test_sound_alone_is_no_video(tmp_path):
    import soundfile

    soundfile.write(tmp_path / "tone.wav", TONE[0], 48_000)
    with pytest.raises(ValueError, match=r"tone\.wav holds no video"):
        probe(tmp_path / "tone.wav")


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"No such file: nowhere/clip\.mp4"):
        times("nowhere/clip.mp4")


def test_damaged_packets_are_left_out_and_counted_once(clip, caplog):
    path = clip("a.mov", codec="png", pixels="rgb24")
    pictures = path.read_bytes().split(b"\x89PNG")
    signatures = [b"\x89PNG"] * 25
    signatures[7:9] = [b"\0\0\0\0"] * 2
    path.write_bytes(pictures[0] + b"".join(sum(zip(signatures, pictures[1:], strict=True), ())))
    assert numbers(clip, path) == [*range(7), *range(9, 25)]
    assert [record.getMessage() for record in caplog.records] == ["a.mov: 2 damaged packets were left out."]


def test_a_truncated_file_gives_what_there_is(clip, caplog):
    path = clip("a.mkv", seconds=2)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    shown = numbers(clip, path)
    assert 10 < len(shown) < 50
    assert shown == list(range(len(shown)))


def outcome(path: Path) -> str:
    try:
        return "frames" if all(frame.ndim == 3 for _, frame in read_frames(path)) else "no picture"
    except ValueError as error:
        return "sentence" if type(error) is ValueError and path.name in str(error) else repr(error)


def test_two_hundred_damaged_files_give_frames_or_a_sentence(clip, caplog):
    """Bytes anywhere are changed, lost or added: nothing but frames and ValueErrors may come of it."""
    caplog.set_level(logging.CRITICAL)
    originals = [clip("a" + s, seconds=0.4, sound=TONE) for s in (".mp4", ".mkv", ".webm", ".avi", ".ts")]
    outcomes = Counter()
    for seed in range(200):
        chance, original = random.Random(seed), originals[seed % len(originals)]
        content = bytearray(original.read_bytes())
        for _ in range(chance.choice((1, 3, 9, 27))):
            place = chance.randrange(len(content))
            content[place : place + chance.choice((0, 1, 1, 1, 40))] = chance.randbytes(
                chance.choice((1, 1, 1, 20))
            )
        outcomes[outcome(write(original.with_stem("damaged"), content))] += 1
    assert set(outcomes) == {"frames", "sentence"}
    assert min(outcomes.values()) > 20


# --- resources ----------------------------------------------------------------------------------------------

LOAD = """
import importlib.util, sys
places = ["{root}"]
spec = importlib.util.spec_from_file_location("pack", "{root}/__init__.py", submodule_search_locations=places)
sys.modules["pack"] = importlib.util.module_from_spec(spec)
from pack.hunyuan.media.container import read_frames
"""

GROWTH = """
def anonymous():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))

for i, _ in enumerate(read_frames("{path}")):
    if i == 40:
        before = anonymous()
print((anonymous() - before) // 1024)
"""

LISTENING = """
import av
av.logging.set_level(av.logging.DEBUG)
for _ in range(30):
    next(read_frames("{path}"))
"""


def run_script(script: str, path: Path) -> str:
    command = [sys.executable, "-c", (LOAD + script).format(root=ROOT, path=path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's own count")
def test_memory_does_not_grow_with_the_length(clip):
    """160 more frames of 0.5 and 0.9 MB: holding either kind shows."""
    assert int(run_script(GROWTH, clip(size=(640, 480), seconds=8))) < 30


def test_a_host_that_listens_to_ffmpeg_is_not_locked_up(clip):
    """Decoding threads that log need Python, which must not be locked while they are waited for."""
    run_script(LISTENING, clip(size=(640, 480)))
