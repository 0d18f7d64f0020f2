"""A new video: frames and sound where they belong, and never more than a few frames in memory."""

import weakref
from fractions import Fraction

import av
import numpy as np
import pytest
from media_clips import frame_number, numbered
from pack.hunyuan.media.encode import check_encodable, write_video
from scipy.signal import correlate

RATE = 48_000


def noise(seconds: float, channels: int = 1) -> np.ndarray:
    generator = np.random.default_rng(0)
    return (generator.standard_normal((channels, round(seconds * RATE))) * 0.1).astype(np.float32)


def frames(count: int):
    for i in range(count):
        yield numbered(i, 64, 48)


def sound_of(path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=-1)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("fps", [25, Fraction(30_000, 1001), 12.5])
def test_every_frame_is_there_at_its_time(tmp_path, suffix, fps):
    path = tmp_path / f"o.{suffix}"
    assert write_video(path, frames(10), fps, noise(10 / float(fps))) == 10
    with av.open(str(path)) as container:
        shown = [
            (float(frame.time), frame_number(frame.to_ndarray(format="rgb24")))
            for frame in container.decode(video=0)
        ]
    for i, (time, number) in enumerate(shown):
        assert number == i
        assert time == pytest.approx(i / fps, abs=1e-3)


def test_a_voice_begins_with_the_first_frame_to_the_sample(tmp_path):
    voice = noise(2, channels=2)
    write_video(tmp_path / "o.mp4", frames(50), 25, voice)
    with av.open(str(tmp_path / "o.mp4")) as container:
        stream = container.streams.audio[0]
        assert stream.duration * stream.time_base == 2
        assert next(container.decode(audio=0)).pts == 0
    for side, original in zip(sound_of(tmp_path / "o.mp4"), voice, strict=True):
        match = correlate(side[:RATE], original[:RATE], method="fft")
        assert match.argmax() == RATE - 1  # no delay


@pytest.mark.parametrize(("seconds", "expected"), [(0.5, 1.0), (3.0, 1.0)])
def test_the_sound_ends_where_the_picture_does(tmp_path, seconds, expected):
    write_video(tmp_path / "o.mp4", frames(25), 25, noise(seconds))
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert float(container.streams.audio[0].duration * container.streams.audio[0].time_base) == expected


def test_colours_survive(tmp_path):
    colour = np.array([200, 60, 90], np.uint8)
    write_video(tmp_path / "o.mp4", (np.broadcast_to(colour, (64, 64, 3)) for _ in range(3)), 25, noise(0.12))
    with av.open(str(tmp_path / "o.mp4")) as container:
        frame = next(container.decode(video=0))
        assert frame.colorspace == 1  # BT.709
        shown = frame.to_ndarray(format="rgb24")[32, 32].astype(int)
    assert np.abs(shown - colour).max() <= 4


def test_frames_are_let_go_as_they_are_written(tmp_path):
    alive: list[weakref.ref] = []
    most = 0

    class Frame(np.ndarray):
        """An array that can be watched."""

    def made():
        nonlocal most
        for i in range(20):
            frame = numbered(i, 64, 48).view(Frame)
            alive.append(weakref.ref(frame))
            most = max(most, sum(reference() is not None for reference in alive))
            yield frame

    write_video(tmp_path / "o.mp4", made(), 25, noise(0.8))
    assert most <= 3


def test_after_an_error_nothing_is_left(tmp_path):
    def broken():
        yield numbered(0, 64, 48)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_video(tmp_path / "o.mp4", broken(), 25, noise(1))
    with pytest.raises(ValueError, match="no frame at all"):
        write_video(tmp_path / "o.mp4", iter(()), 25, noise(1))
    assert list(tmp_path.iterdir()) == []


def test_other_containers_and_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"written into \.mp4, \.mov, \.mkv"):
        check_encodable(tmp_path / "o.webm")
    with pytest.raises(FileNotFoundError, match="No such folder"):
        check_encodable(tmp_path / "nowhere" / "o.mp4")
