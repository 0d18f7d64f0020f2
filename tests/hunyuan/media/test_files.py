"""Sound in and out of files, and files that appear only when they are complete."""

import os
import signal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pack.hunyuan.media.files import read_audio, replacing, write_audio

RATE = 48_000


def noise(channels: int, samples: int) -> np.ndarray:
    return np.random.default_rng(samples).uniform(-0.9, 0.9, (channels, samples)).astype(np.float32)


# --- replacing ----------------------------------------------------------------------------------------------


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "sound.wav"
    path.write_text("before")
    with replacing(path) as temporary:
        temporary.write_text("after")
        assert temporary.suffix == ".wav"
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert [file.name for file in tmp_path.iterdir()] == ["sound.wav"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_file_stays_as_it_was_when_the_block_fails(tmp_path, error):
    path = tmp_path / "sound.wav"
    path.write_text("before")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["sound.wav"]


def test_a_link_keeps_pointing_at_what_is_replaced(tmp_path):
    (tmp_path / "takes").mkdir()
    (tmp_path / "takes" / "1.wav").write_text("before")
    link = tmp_path / "best.wav"
    link.symlink_to("takes/1.wav")
    with replacing(link) as temporary:
        temporary.write_text("after")
    assert link.is_symlink()
    assert (tmp_path / "takes" / "1.wav").read_text() == "after"


def test_long_names_are_possible(tmp_path):
    path = tmp_path / ("ü" * 120 + ".wav")
    with replacing(path) as temporary:
        temporary.write_text("x")
    assert path.exists()


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        (".", ValueError, "is a folder or a device"),
        ("/dev/null", ValueError, "is a folder or a device"),
        ("nowhere/a.wav", FileNotFoundError, "No such folder: .*nowhere"),
    ],
)
def test_what_cannot_be_replaced_is_named(tmp_path, monkeypatch, path, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message), replacing(path):
        raise AssertionError("the block must not begin")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nobody is forbidden anything here")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="may not be written to"), replacing(tmp_path / "a.wav"):
        raise AssertionError("the block must not begin")


# --- writing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".WAV"])
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_is_written_in_24_bits(tmp_path, suffix, channels):
    waveform = noise(channels, 5000)
    write_audio(tmp_path / f"a{suffix}", waveform, 44_100)
    samples, rate = soundfile.read(tmp_path / f"a{suffix}", always_2d=True)
    assert (rate, soundfile.info(tmp_path / f"a{suffix}").subtype) == (44_100, "PCM_24")
    assert np.abs(samples.T - waveform).max() <= 2**-23


def test_what_is_too_loud_is_clipped_not_wrapped(tmp_path):
    write_audio(tmp_path / "a.wav", np.array([[-3.0, 3.0]]), RATE)
    assert soundfile.read(tmp_path / "a.wav")[0].tolist() == pytest.approx([-1, 1], abs=1e-6)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_full_disk_leaves_no_sound(tmp_path, suffix):
    resource = pytest.importorskip("resource")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
    try:
        with pytest.raises(OSError, match=rf"a{suffix} cannot be written"):
            write_audio(tmp_path / f"a{suffix}", noise(1, 48_000), RATE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "waveform", "message"),
    [
        ("a.mp3", noise(1, 9), r"a\.mp3: sound is written into \.wav or \.flac"),
        ("a.wav", np.zeros(9), "A waveform is"),
        ("a.wav", np.full((1, 9), np.inf), "no numbers"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, name, waveform, message):
    with pytest.raises(ValueError, match=message):
        write_audio(tmp_path / name, waveform, RATE)
    assert not list(tmp_path.iterdir())


# --- reading ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_every_sample_format_is_read_as_soundfile_reads_it(tmp_path, subtype):
    soundfile.write(tmp_path / "a.wav", noise(2, 7001).T, 22_050, subtype=subtype)
    waveform, rate = read_audio(tmp_path / "a.wav")
    wanted = soundfile.read(tmp_path / "a.wav", dtype="float64")[0].T
    assert (rate, waveform.dtype, waveform.shape) == (22_050, np.float32, (2, 7001))
    assert np.abs(waveform - wanted).max() <= 2**-24


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.mp3"])
def test_compressed_sound_is_read_where_it_was_written(tmp_path, name):
    click = np.zeros(RATE)
    click[20_000:20_020] = 0.9
    soundfile.write(tmp_path / name, click, RATE)
    waveform, rate = read_audio(tmp_path / name)
    assert (rate, waveform.shape) == (RATE, (1, RATE))
    assert abs(np.abs(waveform[0]).argmax() - 20_010) < 0.003 * RATE


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_the_sound_of_a_video_lies_on_its_clock(clip, suffix):
    click = np.zeros((1, RATE), np.float32)
    click[0, 30_000:30_050] = 0.9
    waveform, rate = read_audio(clip("a" + suffix, sound=click))
    assert rate == RATE
    assert abs(np.abs(waveform).max(axis=0).argmax() - 30_025) <= 60


@pytest.mark.parametrize("part", [(0.0, 0.25), (0.1, 0.2), (0.9, None), (0.5, 2.0)])
def test_a_part_is_cut_to_the_sample(tmp_path, part):
    start, seconds = part
    samples = noise(2, RATE)
    soundfile.write(tmp_path / "a.wav", samples.T, RATE, subtype="FLOAT")
    waveform, _ = read_audio(tmp_path / "a.wav", start, seconds)
    first = round(start * RATE)
    length = RATE - first if seconds is None else round(seconds * RATE)
    wanted = np.pad(samples, ((0, 0), (0, 2 * RATE)))[:, first : first + length]
    assert np.array_equal(waveform, wanted)


def test_late_sound_and_holes_are_silent(tmp_path):
    import av

    path, tick = tmp_path / "a.mkv", Fraction(1, RATE)
    with av.open(str(path), "w") as output:
        picture = output.add_stream("mpeg4", rate=25)
        picture.width, picture.height = 16, 16
        track = output.add_stream("pcm_f32le", rate=RATE, layout="mono")
        output.mux(picture.encode(av.VideoFrame(16, 16, "yuv420p")) + picture.encode(None))
        for first in (9600, 24_000):
            packet = av.Packet(np.full(4800, 0.5, np.float32).tobytes())
            packet.pts = packet.dts = first
            packet.stream, packet.time_base, packet.duration = track, tick, 4800
            output.mux(packet)
    waveform, _ = read_audio(path)
    heard = np.zeros(28_800, bool)
    heard[9600:14_400] = heard[24_000:] = True
    assert np.array_equal(waveform[0] == 0.5, heard)
    assert set(waveform[0]) == {0.0, 0.5}


def test_what_holds_no_sound_is_named(clip, tmp_path):
    with pytest.raises(ValueError, match=r"clip\.mp4 holds no sound"):
        read_audio(clip())
    with pytest.raises(FileNotFoundError, match=r"No such file: .*none\.wav"):
        read_audio(tmp_path / "none.wav")
    Path(tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"a\.wav is no video or sound"):
        read_audio(tmp_path / "a.wav")
    write_audio(tmp_path / "b.wav", noise(1, RATE), RATE)
    with pytest.raises(ValueError, match=r"b\.wav: no sound can be decoded from 3 s on"):
        read_audio(tmp_path / "b.wav", 3.0)
