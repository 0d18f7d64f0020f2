"""Writing sound beside a copied picture: what stays the same, where the sound lies, what is refused."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from pack.hunyuan.media.container import probe, read_frames
from pack.hunyuan.media.encode import write_video
from pack.hunyuan.media.files import read_audio
from pack.hunyuan.media.mux import check_mux, mux

FRAME = 1024 / 48_000  # seconds of one AAC frame
LOUD = 0.2


def tone(seconds: float, channels: int = 1, silent: float = 0.0) -> np.ndarray:
    """A tone that begins after `silent` seconds; different heights on both sides."""
    time = np.arange(round(seconds * 48_000)) / 48_000
    sides = [0.5 * np.sin(2 * np.pi * height * time) for height in (440, 660)[:channels]]
    return np.where(time < silent, 0, sides).astype(np.float32)


def packets(path: Path, kind: str = "video", track: int = 0) -> list[tuple[float, bytes]]:
    """Time and content of every packet, as the file has them."""
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[track]
        return [(float(p.pts * p.time_base), bytes(p)) for p in container.demux(stream) if p.size]


def onset(path: Path, track: int = 0) -> float:
    """Seconds on the container's clock at which a tone begins."""
    with av.open(str(path)) as container:
        frames = list(container.decode(container.streams.audio[track]))
    samples = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)[0]
    return frames[0].time + float(np.argmax(np.abs(samples) > LOUD)) / 48_000


def sound_length(path: Path) -> float:
    waveform, rate = read_audio(path)
    assert rate == 48_000
    return waveform.shape[1] / rate


# --- the picture --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("source", [".mp4", ".mov", ".mkv"])
def test_the_picture_is_copied_bit_for_bit(clip, tmp_path, source, target):
    video, out = clip("a" + source, fps=Fraction(30000, 1001)), tmp_path / ("out" + target)
    mux(video, tone(1.0), out)
    before, after = packets(video), packets(out)
    assert [content for _, content in after] == [content for _, content in before]
    exact = 6e-4 if ".mkv" in (source, target) else 0
    assert [time for time, _ in after] == pytest.approx([time for time, _ in before], abs=exact)
    with av.open(str(video)) as a, av.open(str(out)) as b:
        if target != ".mkv":
            assert b.streams.video[0].time_base == a.streams.video[0].time_base


@pytest.mark.parametrize(
    ("source", "codec", "pixels", "targets"),
    [
        (".webm", "libvpx-vp9", "yuv420p", (".webm", ".mkv", ".mp4")),
        (".webm", "libvpx", "yuv420p", (".webm", ".mkv")),
        (".mov", "prores_ks", "yuv422p10le", (".mov", ".mkv")),
        (".mp4", "libx265", "yuv420p", (".mp4", ".mov", ".mkv")),
        (".avi", "mpeg4", "yuv420p", (".mp4", ".mkv")),
    ],
)
def test_a_container_takes_what_it_can_hold_and_names_others(clip, tmp_path, source, codec, pixels, targets):
    video = clip("a" + source, codec=codec, pixels=pixels)
    for target in (".mp4", ".mov", ".mkv", ".webm"):
        out = tmp_path / ("out" + target)
        if target in targets:
            mux(video, tone(1.0), out)
            assert [content for _, content in packets(out)] == [content for _, content in packets(video)]
        elif target != ".mov" or source != ".avi":
            with pytest.raises(ValueError, match=rf"which {target} cannot hold .* {targets[0]}"):
                check_mux(video, out)


def test_hevc_is_named_as_apple_wants_it(clip, tmp_path):
    mux(clip("a.mkv", codec="libx265"), tone(1.0), tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"


@pytest.mark.parametrize("target", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_turned_picture_stays_turned(clip, tmp_path, rotation, target):
    video, out = clip(rotation=rotation), tmp_path / ("out" + target)
    mux(video, tone(1.0), out)
    assert probe(out).rotation == rotation
    for (_, before), (_, after) in zip(read_frames(video), read_frames(out), strict=True):
        assert np.array_equal(before, after)


# --- the sound ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("seconds", [0.3, 1.0, 4.0])
def test_the_sound_is_as_long_as_the_picture(clip, tmp_path, target, seconds):
    video, out = clip("a.webm" if target == ".webm" else "a.mp4", seconds=1.2), tmp_path / ("out" + target)
    mux(video, tone(seconds), out)
    assert 1.2 - 1e-3 <= sound_length(out) <= 1.2 + FRAME
    with av.open(str(out)) as container:
        (stream,) = container.streams.audio
        assert (stream.codec_context.sample_rate, stream.codec_context.channels) == (48_000, 2)
        if target in (".mp4", ".mov"):
            assert float(stream.duration * stream.time_base) == pytest.approx(1.2, abs=1e-4)
    tail = read_audio(out)[0][:, round(min(seconds, 1.2) * 48_000) + 4_000 :]
    assert np.abs(tail).max(initial=0) < 0.02


@pytest.mark.parametrize("target", [".mp4", ".mov", ".mkv", ".webm"])
def test_the_encoder_does_not_shift_the_sound(clip, tmp_path, target):
    out = tmp_path / ("out" + target)
    mux(clip("a.webm" if target == ".webm" else "a.mp4"), tone(1.0, silent=0.5), out)
    assert onset(out) == pytest.approx(0.5, abs=2e-3)


@pytest.mark.parametrize("target", [".mp4", ".mov", ".mkv"])
def test_sound_begins_with_the_container_when_the_first_frame_is_late(clip, tmp_path, target):
    out = tmp_path / ("out" + target)
    mux(clip(times=[0.4 + i / 25 for i in range(25)]), tone(3.0), out)
    assert onset(out) == pytest.approx(0.0, abs=2e-3)
    assert packets(out)[0][0] == pytest.approx(0.4)
    assert 1.4 <= sound_length(out) <= 1.4 + FRAME


def test_mono_goes_to_both_sides_and_stereo_to_its_own(clip, tmp_path):
    for channels, alike in ((1, True), (2, False)):
        mux(clip(), tone(1.0, channels), tmp_path / "out.mp4")
        left, right = read_audio(tmp_path / "out.mp4")[0]
        wanted = tone(1.0, channels)
        assert np.allclose(left, right, atol=0.02) is alike
        for heard, side in ((left, wanted[0]), (right, wanted[-1])):
            assert np.corrcoef(heard[4_000:44_000], side[4_000:44_000])[0, 1] > 0.99


# --- parts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [".mp4", ".mov"])
@pytest.mark.parametrize("source", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("part", [(0.5, 1.0), (1.72, 0.6), (2.96, None)])
def test_a_part_shows_what_it_would_show_if_it_were_cut_exactly(clip, tmp_path, source, target, part):
    start, seconds = part
    video, out = clip("a" + source, seconds=4, gop=30, b_frames=0), tmp_path / ("out" + target)
    mux(video, tone(4.0), out, start=start, seconds=seconds)
    wanted, shown = list(read_frames(video, start, seconds)), list(read_frames(out))
    if wanted[0][0] > 1e-3:  # what is on screen at the start is shown, too
        wanted.insert(0, (0.0, clip.numbered(clip.number(wanted[0][1]) - 1, 64, 48)))
    assert [clip.number(frame) for _, frame in shown] == [clip.number(frame) for _, frame in wanted]
    assert [time for time, _ in shown] == pytest.approx([time for time, _ in wanted], abs=1e-4)
    assert onset(out) == pytest.approx(0.0, abs=2e-3)
    assert probe(out).end_time <= sound_length(out) + 0.04


def test_pictures_after_the_end_stay_only_if_others_need_them(clip, tmp_path):
    """Frame 12 of a part of 12 is decoded before frame 11, which is made from it."""
    video = clip(seconds=2, options={"bf": "2", "b_strategy": "0"})
    for seconds in (0.4, 0.44, 0.48):
        mux(video, tone(1.0), tmp_path / "out.mp4", seconds=seconds)
        shown = [clip.number(frame) for _, frame in read_frames(tmp_path / "out.mp4")]
        count = round(seconds * 25)
        assert shown[:count] == list(range(count))
        assert len(shown) <= count + 2


@pytest.mark.parametrize("target", [".mkv", ".webm"])
def test_matroska_shows_the_way_from_the_keyframe_and_stays_in_time(clip, tmp_path, target):
    video, out = (
        clip("a.webm" if target == ".webm" else "a.mp4", seconds=2, gop=25),
        tmp_path / ("out" + target),
    )
    mux(video, tone(2.0), out, start=1.2, seconds=0.4)
    frames = list(read_frames(out))
    assert clip.number(frames[0][1]) == 25
    began = next(time for time, frame in frames if clip.number(frame) == 30)
    assert onset(out) == pytest.approx(began, abs=3e-3)


def test_a_part_without_a_picture_leaves_nothing(clip, tmp_path):
    with pytest.raises(ValueError, match=r"clip\.mp4 shows no frame from 5 to 6 s"):
        mux(clip(), tone(1.0), tmp_path / "out.mp4", start=5.0, seconds=1.0)
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]


# --- the original sound -------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [".mp4", ".mov", ".mkv", ".webm"])
def test_the_original_sound_is_kept_as_a_second_track(clip, tmp_path, target):
    source = "a.webm" if target == ".webm" else "a.mp4"
    video, out = clip(source, sound=tone(1.0, silent=0.4)), tmp_path / ("out" + target)
    mux(video, tone(1.0, silent=0.2), out, keep_original=True)
    kept, original = packets(out, "audio", 1), packets(video, "audio", 0)
    silent = 1 if target == ".mkv" else 0  # the encoder's run-up, which only the others can hide
    assert [content for _, content in kept] == [content for _, content in original[silent:]]
    assert [onset(out, track) for track in (0, 1)] == pytest.approx([0.2, 0.4], abs=3e-3)
    assert packets(out)[0][0] == 0


def test_the_original_sound_follows_a_part(clip, tmp_path):
    video, out = clip(sound=tone(4.0, silent=2.0), seconds=4.0, gop=100), tmp_path / "out.mp4"
    mux(video, tone(1.0, silent=0.3), out, start=1.5, seconds=1.0, keep_original=True)
    assert [onset(out, track) for track in (0, 1)] == pytest.approx([0.3, 0.5], abs=3e-3)


def test_a_sound_that_does_not_fit_is_named(clip, tmp_path):
    video = clip("a.webm", sound=tone(1.0))
    mux(video, tone(1.0), tmp_path / "out.webm", keep_original=True)
    with pytest.raises(ValueError, match=r"a\.mkv holds vp8 and aac, which \.webm cannot hold .* \.mkv"):
        mux(
            clip("a.mkv", codec="libvpx", sound=tone(1.0)), tone(1.0), tmp_path / "x.webm", keep_original=True
        )


# --- the file -----------------------------------------------------------------------------------------------


def test_a_video_may_be_replaced_by_itself(clip, tmp_path):
    video = clip()
    before = packets(video)
    mux(video, tone(1.0), video)
    assert packets(video) == before
    assert probe(video).has_audio
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file grows beyond `limit` bytes."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("target", [".mp4", ".mkv"])
def test_a_full_disk_is_told_and_leaves_nothing(clip, tmp_path, target):
    video = clip()
    (tmp_path / ("out" + target)).write_bytes(b"the earlier take")
    with full_disk(9_000), pytest.raises(OSError, match="cannot be written: File too large") as caught:
        mux(video, tone(1.0), tmp_path / ("out" + target))
    assert "\n" not in str(caught.value)
    assert (tmp_path / ("out" + target)).read_bytes() == b"the earlier take"
    assert len(list(tmp_path.iterdir())) == 2


def test_an_interruption_leaves_nothing(clip, tmp_path):
    """A real signal in the middle of the writing, as from Ctrl-C."""
    video, out = clip(seconds=2), tmp_path / "out.mp4"
    seen = []

    def interrupt(*_) -> None:
        seen.extend(tmp_path.glob(".out.*"))
        raise KeyboardInterrupt

    def write_again_and_again() -> None:
        while True:
            signal.setitimer(signal.ITIMER_REAL, 0.03)
            mux(video, tone(30.0), out)

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            write_again_and_again()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not list(tmp_path.glob(".out.*"))
    assert not out.exists() or probe(out).has_audio


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros(48_000), r"A waveform is \(channels, samples\)"),
        (np.zeros((1, 0)), "not empty"),
        (np.zeros((3, 9)), "3 channels; there is room for 2"),
        (np.full((1, 9), np.nan), "values that are no numbers"),
    ],
)
def test_what_is_no_sound_is_refused(clip, tmp_path, waveform, message):
    with pytest.raises(ValueError, match=message):
        mux(clip(), waveform, tmp_path / "out.mp4")


def test_what_cannot_be_written_is_told_before_anything_is_made(clip, tmp_path):
    with pytest.raises(ValueError, match=r"out\.avi: a video is written into \.mp4, \.mov, \.mkv, \.webm"):
        check_mux(clip(), tmp_path / "out.avi")
    with pytest.raises(ValueError, match=r"a\.h264 does not say when its pictures are shown"):
        check_mux(clip("a.h264"), tmp_path / "out.mp4")
    with pytest.raises(FileNotFoundError, match="No such folder"):
        mux(clip(), tone(1.0), tmp_path / "nowhere" / "out.mp4")


def test_a_video_whose_sound_comes_first_is_copied(tmp_path):
    """FFmpeg's last, empty packets do not say which stream they end."""
    source, target = tmp_path / "sound_first.mp4", tmp_path / "out.mp4"
    write_video(source, (np.full((32, 48, 3), 8 * i, np.uint8) for i in range(20)), 25, tone(0.8))
    assert probe(source).has_audio
    with av.open(str(source)) as container:
        assert [stream.type for stream in container.streams] == ["audio", "video"]
    mux(source, tone(0.8, silent=0.4), target)
    assert packets(target) == packets(source)
    assert onset(target) == pytest.approx(0.4, abs=0.03)
