"""Killed, cancelled or out of disk at any moment, a job goes on; its file is the same to the last bit."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from marker_film import make_film_file, make_film_slowly, make_film_within
from media_clips import write_clip

WATCHING, MAKING = "Watching the video", "Making the sound"
SECONDS, WINDOWS, STEPS = 28, 4, 3


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("film") / "film.mp4", seconds=SECONDS, fps=12, size=(32, 32))


@pytest.fixture(scope="module")
def whole(video, tmp_path_factory) -> Path:
    """The file of a job that nobody disturbs."""
    out = tmp_path_factory.mktemp("whole") / "whole.wav"
    make_film_file(video, out)
    return out


@pytest.fixture
def out(whole, tmp_path) -> Path:
    """Where the disturbed job writes; alone in its folder."""
    (tmp_path / "work").mkdir()
    return tmp_path / "work" / f"o{whole.suffix}"


def check_completes(video: Path, out: Path, whole: Path) -> None:
    """The same work again completes the file, and leaves nothing else behind."""
    make_film_file(video, out)
    assert out.read_bytes() == whole.read_bytes()
    assert [path.name for path in out.parent.iterdir()] == [out.name]


@pytest.mark.parametrize("seed", range(3))
def test_killed_again_and_again_it_ends_with_the_same_file(video, whole, out, start, seed):
    moments = random.Random(seed)
    for _ in range(2):
        process = start(make_film_slowly, video, out)
        time.sleep(moments.uniform(0.02, 0.7))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
    check_completes(video, out, whole)


def cancel_at(label: str, count: int):
    def progress(stage):
        for number, item in enumerate(stage.work):
            if stage.label == label and number == count:
                raise KeyboardInterrupt
            yield item

    return progress


@pytest.mark.parametrize(("label", "count"), [(WATCHING, 1), (MAKING, 2), (MAKING, 9)])
def test_cancelled_it_goes_on_where_it_was(video, whole, out, label, count):
    with pytest.raises(KeyboardInterrupt):
        make_film_file(video, out, progress=cancel_at(label, count))
    assert not out.exists()
    left: dict[str, int] = {}

    def counted(stage):
        left[stage.label] = stage.total
        return stage.work

    make_film_file(video, out, progress=counted)
    done = count + 1
    expected = (WINDOWS - done, WINDOWS * STEPS) if label == WATCHING else (0, WINDOWS * STEPS - done)
    assert (left[WATCHING], left[MAKING]) == expected
    assert out.read_bytes() == whole.read_bytes()


SOUND = 4 * SECONDS * 48_000  # bytes of the largest array


@pytest.mark.parametrize("limit", [3_000, 60_000, SOUND // 2])
def test_out_of_disk_it_says_so_and_goes_on_when_there_is_room(video, whole, out, start, tmp_path, limit):
    """The limits are met by the features, the noise and the sound."""
    process = start(make_film_within, limit, video, out, tmp_path / "told")
    process.join()
    assert process.exitcode == 0
    assert (tmp_path / "told").read_text()
    assert not out.exists()
    check_completes(video, out, whole)


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("checkpoint", False),
        ("checkpoint", True),
        ("noise.f32", False),
        ("features/00001.safetensors", False),
    ],
)
def test_a_damaged_or_lost_part_is_made_anew(video, whole, out, name, lost):
    with pytest.raises(KeyboardInterrupt):
        make_film_file(video, out, progress=cancel_at(MAKING, 6))
    (part,) = (out.parent / f"{out.name}.job").glob(f"{name}*")
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    if lost:
        part.unlink()
    check_completes(video, out, whole)


@pytest.mark.parametrize("name", ["sound.f32", "latents.f32"])
def test_a_lost_array_is_made_anew(video, whole, out, name):
    with pytest.raises(KeyboardInterrupt):
        make_film_file(video, out, progress=cancel_at(MAKING, 6))
    (out.parent / f"{out.name}.job" / name).unlink()
    check_completes(video, out, whole)
