"""Whole films through the nodes, in small."""

from fractions import Fraction

import numpy as np
import pytest
import soundfile
import torch
from media_clips import write_clip
from pack import host, nodes
from pack.cli.foley_film import make_film, plan_of
from pack.cli.foley_job import FoleyJob
from pack.cli.foley_models import FoleyModels, Placement
from pack.hunyuan.long_form.pipeline import LongFilm
from pack.hunyuan.long_form.plan import Shot
from pack.hunyuan.media.container import probe
from pack.nodes import long_film
from pack.nodes.sockets import VideoEncoder
from torch import nn

FPS, SECONDS = 8, 11


def two_scenes(i, width, height):
    """A dark picture with a bar that moves; from 6 s on a bright one."""
    picture = np.full((height, width, 3), 40 if i < 6 * FPS else 180, np.uint8)
    picture[:, 2 * i % width :][:, :6] = 250
    return picture


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """The host's folders, in the test's own."""
    from pack.host.standalone import folder_paths

    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path / "output"))
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path / "temp"))
    return tmp_path


@pytest.fixture
def film(folders):
    """A VIDEO of 11 s."""
    return host.video_from_file(
        write_clip(folders / "film.mp4", seconds=SECONDS, fps=FPS, size=(32, 32), picture=two_scenes)
    )


class Eyes(nn.Module):
    """Encoders that cost nothing: what they say of pictures is the pictures, over and over."""

    image_size = 8

    def __init__(self, size, tokens):
        """tokens: how many are said of a segment (1, segments, frames, ...); 0 of a picture (n, ...)."""
        super().__init__()
        self.size, self.tokens = size, tokens
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, seen):
        if self.tokens:
            seen = seen.flatten(3)[:, :, :: seen.shape[2] // self.tokens].flatten(1, 2)
        levels = seen.flatten(2) if self.tokens else seen.flatten(1)
        repeats = [1] * (levels.ndim - 1)
        return levels.repeat(*repeats, -(-self.size // levels.shape[-1]))[..., : self.size]


@pytest.fixture(scope="module")
def eyes(model):
    config = model.diffusion_model.config
    return VideoEncoder.of(Eyes(config.visual_size, 0), Eyes(config.sync_size, 8))


@pytest.fixture
def long_video(run, model, vae, clip, eyes):
    """The node with pocket models, but for their eyes: made(film, ...) -> VIDEO, report."""

    def made(film, **inputs):
        models = {"model": model, "vae": vae, "clip": clip, "video_encoder": eyes}
        return run(nodes.FoleyLongVideo, video=film, **models, **({"steps": 2, "prompt": "rain"} | inputs))

    return made


@pytest.fixture
def heard(monkeypatch):
    """The sounds (samples,) that films got, before they were encoded."""
    sounds = []

    def deliver(job, plan, sound, out, video, **options):
        sounds.append(np.array(sound[0]))
        return real(job, plan, sound, out, video, **options)

    real = long_film.deliver
    monkeypatch.setattr(long_film, "deliver", deliver)
    return sounds


def jobs(folders):
    return sorted((folders / "output" / "hunyuan_av_jobs").iterdir())


def test_cuts_are_found_and_each_shot_gets_its_prompt(run, film):
    shots, told = run(nodes.FoleyShots, video=film, prompts="rain\nwind")
    assert [(float(shot.start), float(shot.end), shot.prompt) for shot in shots] == [
        (0, 6, "rain"),
        (6, 11, "wind"),
    ]
    assert told == "1. 0:00 - 0:06 rain\n2. 0:06 - 0:11 wind"


def test_shots_can_be_written_instead(run, film):
    shots, _ = run(nodes.FoleyShots, video=film, prompts='[{"start": 0}, {"start": 4.5, "prompt": "wind"}]')
    assert [(float(shot.start), shot.prompt) for shot in shots] == [(0, None), (4.5, "wind")]


def test_shots_of_a_part_of_a_video_are_on_its_files_clock(run, film):
    class Part(type(film)):
        seconds = 6.0

        def get_active_trim_window(self):
            return 4.0, self.seconds

    shots, _ = run(nodes.FoleyShots, video=Part(film.path))
    assert [(float(shot.start), float(shot.end)) for shot in shots] == [(4, 6), (6, 10)]
    Part.seconds = 60.0
    shots, _ = run(nodes.FoleyShots, video=Part(film.path))
    assert float(shots[-1].end) == SECONDS


def test_a_film_gets_the_sound_that_the_command_line_makes(
    film, long_video, heard, folders, model, vae, clip, eyes
):
    video, report = long_video(film, seed=3)
    assert report.splitlines()[0].split()[:2] == ["0:08", "window"]
    info = probe(video.get_stream_source())
    assert (info.has_audio, info.duration) == (True, SECONDS)
    assert jobs(folders) == []

    wav = folders / "film.wav"
    models = FoleyModels(
        transformer=model.diffusion_model, audio_vae=vae.first_stage_model,
        text_encoder=clip.cond_stage_model, visual_encoder=eyes.visual, sync_encoder=eyes.sync,
        origin="", fingerprint="",
        placement=Placement(torch.device("cpu"), torch.float32),
    )  # fmt: skip
    job = FoleyJob(out=wav, video=film.path, prompt="rain", seed=3, steps=2)
    films = make_film(job, plan_of(job, SECONDS), models, lambda items, total, label: items)
    assert list(films) == [str(wav)]
    told, _ = soundfile.read(wav, dtype="float32")
    assert np.abs(heard[0] - told).max() < 1e-4


def test_a_film_that_was_stopped_goes_on(film, long_video, heard, folders, monkeypatch):
    def stopping(items, total=None, label=""):
        for count, item in enumerate(items):
            yield item
            if (label, count) == ("Making the sound", 1):
                raise KeyboardInterrupt

    monkeypatch.setitem(LongFilm.__init__.__kwdefaults__, "checkpoint_seconds", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(host, "progress", stopping)
        with pytest.raises(KeyboardInterrupt):
            long_video(film)
    assert len(jobs(folders)) == 1

    left = []
    with monkeypatch.context() as patched:
        patched.setattr(host, "progress", lambda items, total, label: left.append(total) or items)
        long_video(film)
    assert left == [0, 2]  # windows to watch, and steps to run: two windows with two steps each
    assert jobs(folders) == []
    long_video(film)
    assert np.array_equal(*heard)


def test_what_was_stopped_and_changed_is_told(folders, caplog):
    left = folders / "output" / "hunyuan_av_jobs" / "other"
    left.mkdir(parents=True)
    (left / "sound.f32").write_bytes(bytes(3_000_000))
    long_film.tell_of_unfinished(left.parent)
    assert "1 unfinished films in" in caplog.text
    assert "take 3 MB" in caplog.text


def test_shots_and_prompts_are_heard(run, film, long_video, heard):
    shots, _ = run(nodes.FoleyShots, video=film, prompts="rain\n0:00 rain | 0:03 bells")
    _, report = long_video(film, shots=shots)
    assert report.splitlines()[0].split()[:2] == ["0:06", "shot"]
    shots, _ = run(nodes.FoleyShots, video=film, prompts="rain")
    long_video(film, shots=shots)
    one, other = heard
    same = slice(0, int(5.9 * 48_000))  # the first shot; within the second, sounds hear each other
    assert np.abs(one[same] - other[same]).max() < np.abs(one - other).max() / 10
    assert np.abs(one - other).max() > 1e-3


def test_shots_of_another_video_are_refused(film, long_video):
    shots = [Shot(start=Fraction(0), end=Fraction(9))]
    with pytest.raises(ValueError, match=r"shots last from 0:00 to 0:09, the video from 0:00 to 0:11"):
        long_video(film, shots=shots)
