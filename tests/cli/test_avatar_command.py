"""The talking video, from files to a file, as a user runs it, on pocket weights."""

from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from pack.cli import avatar, avatar_models, main
from pack.cli.avatar_job import AvatarJob, SpokenBy
from pack.cli.avatar_models import AvatarModels
from pack.cli.avatar_resume import RingFolder, identity, job_folder
from pack.host.standalone.memory import Placement
from pack.hunyuan.avatar.compiled import compiled_tokenwise
from pack.hunyuan.avatar.settings import AvatarSettings
from pack.hunyuan.avatar.timing import AvatarTiming
from pack.hunyuan.layers import float8
from pack.hunyuan.layers.compiling import check_compiling
from pack.hunyuan.layers.float8 import Float8Linear
from pack.hunyuan.long_form.job import Job
from PIL import Image, ImageDraw
from torch_versions import needs_compiling, needs_float8_products

pytestmark = pytest.mark.skipif(find_spec("insightface") is None, reason="needs the extra `faces`")

FAST = ["--steps", "1", "--size", "64"]
SKIN = (220, 170, 140)
FACES = [(40, 60, 70, 90), (180, 80, 50, 60)]  # x, y, width, height: the larger one is on the left


def portrait(path: Path, boxes=FACES[:1], size=(280, 256)) -> Path:
    image = Image.new("RGB", size, (40, 60, 90))
    for x, y, width, height in boxes:
        ImageDraw.Draw(image).ellipse((x, y, x + width, y + height), fill=SKIN)
    image.save(path)
    return path


def voice(path: Path, seconds: float = 0.2, rate: int = 16_000, channels: int = 1, subtype="PCM_16") -> Path:
    generator = np.random.default_rng(len(path.name))
    sound = generator.standard_normal((round(seconds * rate), channels)) * 0.1
    soundfile.write(path, sound, rate, subtype=subtype)
    return path


@pytest.fixture
def face(tmp_path) -> Path:
    return portrait(tmp_path / "face.png")


@pytest.fixture
def spoken(tmp_path) -> Path:
    return voice(tmp_path / "voice.wav")


def run(*arguments: object) -> int:
    return main(["avatar", *map(str, arguments), *FAST])


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def failure(capsys, *arguments: object) -> str:
    assert run(*arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith("Error: ")
    return line


def job_of(image: Path, spoken: Path, **how) -> AvatarJob:
    settings = {"out": image.with_name("o.mp4"), "size": 64, "steps": 1}
    return AvatarJob(image=image, voices=(SpokenBy(path=spoken),), **(settings | how))


@torch.inference_mode()
def sampled(job: AvatarJob, models: AvatarModels) -> torch.Tensor:
    """The latents of a job, not decoded."""
    picture = avatar.resize(avatar.read_picture(job.image), job.size)
    heard = avatar.listen(job, models)
    masks = [torch.ones(1, 1, 1, 8, 8)]
    clip = avatar.guide(job, models, picture, heard, masks)
    return avatar.sample(job, models, clip, heard.timing, lambda items, *_: items, None)


@pytest.fixture(scope="module")
def models() -> AvatarModels:
    return AvatarModels.find(None, None, Placement.choose("cpu"))


# --- voices


def test_a_portrait_and_a_voice_become_a_video(tmp_path, face, capsys):
    out = tmp_path / "o.mp4"
    spoken = voice(tmp_path / "v.wav", 0.43)
    assert run("--image", face, "--voice", spoken, "--prompt", "A man talks.", "--out", out) == 0
    frames = frames_of(out)
    assert len(frames) == 10  # what does not fill a frame is dropped
    assert frames[0].shape == (64, 64, 3)
    assert np.std(frames) > 1
    with av.open(str(out)) as container:
        sound = container.streams.audio[0]
        assert float(sound.duration * sound.time_base) == 0.4
    told = capsys.readouterr().out
    assert "untrained" in told
    assert str(out) in told


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"rate": 44_100, "channels": 2}, id="stereo 44.1 kHz"),
        pytest.param({"rate": 8_000}, id="8 kHz"),
        pytest.param({"rate": 48_000, "subtype": "PCM_24"}, id="24 bits"),
        pytest.param({"channels": 6, "rate": 16_000}, id="six channels"),
    ],
)
def test_recordings_of_any_kind_are_heard(tmp_path, face, models, how):
    spoken = voice(tmp_path / "v.wav", 0.2, **how)
    heard = avatar.listen(job_of(face, spoken), models)
    assert heard.timing.kept_frames == 5
    assert heard.track.shape == (min(how.get("channels", 1), 2), 9600)


def test_silence_is_a_voice_as_well(tmp_path, face, models):
    soundfile.write(tmp_path / "v.wav", np.zeros(3200), 16_000)
    heard = avatar.listen(job_of(face, tmp_path / "v.wav"), models)
    assert heard.timing.kept_frames == 5
    assert heard.speech[0].states.isfinite().all()


@pytest.mark.parametrize(
    ("samples", "sentence"), [(0, "v.wav"), (400, "shorter than one video frame (0.04 s)")]
)
def test_no_speech_at_all_is_one_sentence(tmp_path, face, capsys, samples, sentence):
    soundfile.write(tmp_path / "v.wav", np.zeros(samples), 16_000)
    arguments = ("--image", face, "--voice", tmp_path / "v.wav", "--out", tmp_path / "o.mp4")
    assert sentence in failure(capsys, *arguments)
    assert not (tmp_path / "o.mp4").exists()


def test_a_voice_without_a_frame_is_named_among_others(tmp_path, face, spoken, capsys):
    short = voice(tmp_path / "click.wav", 0.02)
    masks = [Image.new("L", (280, 256), 255).save(path) or path for path in (tmp_path / "m.png",)] * 2
    message = failure(
        capsys, "--image", face, "--voice", spoken, "--voice", short, "--out", tmp_path / "o.mp4",
        *(word for mask in masks for word in ("--mask", mask)),
    )  # fmt: skip
    assert "click.wav is shorter than one video frame (0.04 s)" in message


def test_at_another_frame_rate_the_video_lasts_as_long(tmp_path, face):
    spoken = voice(tmp_path / "v.wav", 0.4)
    assert run("--image", face, "--voice", spoken, "--fps", 12.5, "--out", tmp_path / "o.mkv") == 0
    assert len(frames_of(tmp_path / "o.mkv")) == 5


def test_the_seed_decides(face, spoken, models):
    made = [sampled(job_of(face, spoken, seed=seed), models) for seed in (3, 3, 4)]
    assert torch.equal(made[0], made[1])
    assert (made[0] - made[2]).abs().mean() > 0.1


# --- pictures


@pytest.mark.parametrize("size", [(16, 16), (512, 128)])
def test_pictures_of_any_shape_are_used_with_a_mask(tmp_path, spoken, size):
    image = portrait(tmp_path / "i.png", [], size)
    Image.new("L", size, 255).save(tmp_path / "m.png")
    arguments = ("--image", image, "--voice", spoken, "--mask", tmp_path / "m.png")
    assert run(*arguments, "--out", tmp_path / "o.mp4") == 0
    height, width, _ = frames_of(tmp_path / "o.mp4")[0].shape
    assert width / height == size[0] / size[1] if size[0] == size[1] else 2 <= width / height <= 4


def test_a_picture_without_a_face_is_one_sentence(tmp_path, spoken, capsys):
    image = portrait(tmp_path / "i.png", [])
    message = failure(capsys, "--image", image, "--voice", spoken, "--out", tmp_path / "o.mp4")
    assert "No face found in the reference image" in message
    assert "mask" in message
    assert not (tmp_path / "o.mp4").exists()


# --- who speaks


@pytest.fixture
def two(tmp_path) -> Path:
    return portrait(tmp_path / "two.png", FACES)


def chosen(models, image: Path, *voices: str, **how) -> list[float]:
    """The left ends of the faces that were chosen, in pixels of the file."""
    job = AvatarJob(
        image=image, out=image.with_name("o.mp4"), voices=tuple(map(SpokenBy.parse, voices)), **how
    )
    picture = avatar.read_picture(image)
    return [box[0] for box in avatar.choose_faces(job, models, picture, picture)]


def near(*places: int):
    return pytest.approx(places, abs=6)


def test_without_a_word_the_largest_face_speaks(models, two, spoken):
    assert chosen(models, two, str(spoken)) == near(FACES[0][0])


def test_a_face_is_chosen_by_number_or_by_point(models, two, spoken):
    assert chosen(models, two, str(spoken), face=1) == near(FACES[1][0])
    assert chosen(models, two, f"{spoken}@0.75,0.4") == near(FACES[1][0])
    assert chosen(models, two, f"{spoken}@205,110") == near(FACES[1][0])


def test_voices_are_spoken_by_the_faces_at_their_points_or_by_size(models, two, spoken, tmp_path):
    other = voice(tmp_path / "other.wav")
    assert chosen(models, two, str(spoken), str(other)) == near(FACES[0][0], FACES[1][0])
    assert chosen(models, two, f"{spoken}@.75,.4", f"{other}@.2,.4") == near(FACES[1][0], FACES[0][0])


@pytest.mark.parametrize(
    ("voices", "how", "sentence"),
    [
        (["{}@0.2,0.4", "{}@0.25,0.45"], {}, "would be spoken by the same face"),
        (["{}@900,40"], {}, "lies beside the image of 280 x 256 pixels"),
        (["{}"], {"face": 2}, "There is no face number 2"),
        (["{}", "{}", "{}"], {}, "There is no face number 2"),
    ],
)
def test_a_choice_that_cannot_be_meant_is_refused(models, two, spoken, voices, how, sentence):
    with pytest.raises(ValueError, match=sentence):
        chosen(models, two, *(text.format(spoken) for text in voices), **how)


def test_a_point_belongs_to_the_name_only_if_no_file_is_called_so(tmp_path):
    plain = tmp_path / "a.wav@1,2"
    plain.touch()
    assert SpokenBy.parse(str(plain)) == SpokenBy(path=plain)
    assert SpokenBy.parse("b@home.wav@.5,10") == SpokenBy(path=Path("b@home.wav"), point=(0.5, 10.0))
    assert SpokenBy.parse("b@home.wav").point is None


def test_two_characters_speak_their_own_voices_in_their_own_places(tmp_path, two, models):
    short, long = voice(tmp_path / "short.wav", 0.2), voice(tmp_path / "long.wav", 0.4)
    out = tmp_path / "o.mp4"
    assert run("--image", two, "--voice", short, "--voice", long, "--out", out) == 0
    assert len(frames_of(out)) == 10

    voices = (SpokenBy(path=short), SpokenBy(path=long))
    job = AvatarJob(image=two, out=out, voices=voices, size=128)
    heard = avatar.listen(job, models)
    picture = avatar.resize(avatar.read_picture(two), job.size)
    masks = avatar.find_speakers(job, models, avatar.read_picture(two), picture, heard.timing)
    columns = [mask[0, 0, 0].sum(0).argmax() for mask in masks]
    assert columns[0] < columns[1]
    assert [speech.num_frames() for speech in heard.speech] == [5, 10]
    alone = [soundfile.read(path)[0] for path in (short, long)]
    both = alone[1].copy()
    both[: len(alone[0])] += alone[0]
    expected = avatar.resample(both[None].astype(np.float32), 16_000, 48_000)
    inside = np.abs(np.arange(expected.shape[1]) - 9600) > 500  # a voice alone ends without an echo
    assert np.abs(heard.track - expected)[:, inside].max() < 0.01


def test_voices_at_once_are_never_cut_off():
    loud = np.full((1, 10), 0.8, np.float32)
    assert np.allclose(avatar.mixed([loud, loud[:, :5]]), [[1.0] * 5 + [0.5] * 5])
    assert np.array_equal(avatar.mixed([2 * loud]), 2 * loud)


# --- masks


def mask_of(path: Path, size=(280, 256), colour=255) -> Path:
    image = Image.new("L", size, 0)
    ImageDraw.Draw(image).rectangle((40, 60, 110, 150), fill=colour)
    image.save(path)
    return path


def test_a_mask_takes_the_place_of_a_face(tmp_path, spoken, monkeypatch):
    monkeypatch.setattr(AvatarModels, "face_detector", None)  # is not asked for
    image, mask = portrait(tmp_path / "i.png", []), mask_of(tmp_path / "m.png")
    assert run("--image", image, "--voice", spoken, "--mask", mask, "--out", tmp_path / "o.mp4") == 0


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"colour": 0}, "The mask is empty"),
        ({"size": (600, 100)}, "has not the proportions of the reference image"),
    ],
)
def test_an_empty_or_foreign_mask_is_one_sentence(tmp_path, face, spoken, capsys, how, sentence):
    mask = mask_of(tmp_path / "m.png", **how)
    arguments = ("--image", face, "--voice", spoken, "--mask", mask, "--out", tmp_path / "o.mp4")
    assert sentence in failure(capsys, *arguments)


# --- mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--voice", "nowhere.wav", "--out", "o.mp4"], "nowhere.wav"),
        (["--voice", "v.wav", "--out", "o.gif"], "o.gif: a new video is written into"),
        (["--voice", "v.wav", "--out", "nowhere/o.mp4"], "No such folder"),
        (["--voice", "v.wav", "--out", "o.mp4", "--fps", "0"], "--fps 0 is not possible"),
        (["--voice", "v.wav", "--out", "o.mp4", "--cfg", "nan"], "--cfg nan is no number"),
        (["--voice", "v.wav", "--out", "o.mp4", "--seed", "-1"], "--seed -1 is too small"),
        (["--voice", "v.wav", "--out", "o.mp4", "--overlap", "40"], "overlap by 40"),
        (["--voice", "v.wav", "--out", "o.mp4", "--enlarge", "0"], "--enlarge 0 is too small"),
        (["--voice", "v.wav@0.1,0.1", "--out", "o.mp4", "--face", "1"], "--face chooses for a single voice"),
        (
            ["--voice", "v.wav", "--out", "o.mp4", "--mask", "f.png", "--mask", "f.png"],
            "2 masks for 1 voices",
        ),
        (["--voice", "v.wav", "--out", "o.mp4", "--weights", "nowhere"], "There is no folder nowhere"),
        (["--voice", "f.png", "--out", "o.mp4"], "f.png"),
        (["--image", "v.wav", "--voice", "v.wav", "--out", "o.mp4"], "v.wav is no picture that can be read"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    portrait(tmp_path / "f.png")
    voice(tmp_path / "v.wav")
    image = [] if "--image" in arguments else ["--image", "f.png"]
    assert message in failure(capsys, *image, *arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.png", "v.wav"]


def test_cancelling_leaves_nothing_behind(tmp_path, face, spoken, monkeypatch, capsys):
    def cancelled(*_arguments: object):
        yield np.zeros((64, 64, 3), np.uint8)
        raise KeyboardInterrupt

    monkeypatch.setattr(avatar, "pictures", cancelled)
    assert run("--image", face, "--voice", spoken, "--out", tmp_path / "o.mp4") == 130
    assert "Cancelled" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["face.png", "voice.wav"]


def test_the_transformer_may_be_kept_in_8_bits(face, spoken, models):
    with replace(models, keep_float8=True).transformer() as narrow:
        assert any(isinstance(module, Float8Linear) for module in narrow.modules())
    job = job_of(face, spoken)
    full, small = sampled(job, models), sampled(job, replace(models, keep_float8=True))
    assert 0 < (full - small).norm() / full.norm() < 0.2


@needs_float8_products
def test_products_are_made_in_8_bits_when_that_is_asked_for(face, spoken, models, monkeypatch):
    """On a CPU, whose own float8 product stands for a card's."""
    monkeypatch.setattr(float8, "check_multiplies_float8", lambda _device: None)
    half = replace(models, placement=Placement.choose("cpu", "bfloat16"), keep_float8=True)
    job = job_of(face, spoken)
    weights, both = sampled(job, half), sampled(job, replace(half, float8_products=True))
    assert 0 < (weights - both).norm() / weights.norm() < 0.2
    assert identity(job, half) != identity(job, replace(half, float8_products=True))
    assert identity(job, half) != identity(job, replace(half, keep_float8=False))


@needs_compiling
def test_a_compiled_video_is_the_same_and_compiling_is_said(face, spoken, models, capsys, monkeypatch):
    torch._dynamo.reset()
    monkeypatch.setattr(avatar_models, "compiled_tokenwise", partial(compiled_tokenwise, "eager"))
    job, compiled = job_of(face, spoken), replace(models, compiled=True)
    torch.testing.assert_close(sampled(job, compiled), sampled(job, models), atol=1e-5, rtol=1e-4)
    assert "Compiled rotations in " in capsys.readouterr().out
    assert identity(job, compiled) != identity(job, models)


@needs_compiling
def test_compiling_is_tried_before_the_work(face, spoken, tmp_path, capsys, monkeypatch):
    def broken(graph, inputs):
        raise RuntimeError("No working C++ compiler found")

    torch._dynamo.reset()
    monkeypatch.setattr(avatar_models, "check_compiling", partial(check_compiling, backend=broken))
    out = tmp_path / "o.mp4"
    assert run("--image", face, "--voice", spoken, "--out", out, "--device", "cpu", "--compile") == 1
    assert "Error: --compile: torch.compile does not work here: No working" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((), "Give --form fp8 as well"),
        (("--form", "fp8", "--dtype", "float32"), "Give --dtype bfloat16 as well"),
        (("--form", "fp8", "--dtype", "bfloat16"), "cpu does not multiply in float8"),
    ],
)
def test_products_in_8_bits_need_8_bit_weights_and_a_card(face, spoken, tmp_path, capsys, options, reason):
    out = tmp_path / "o.mp4"
    arguments = ("--image", face, "--voice", spoken, "--out", out, "--device", "cpu", "--fp8-products")
    assert run(*arguments, *options) == 1
    assert reason in capsys.readouterr().err
    assert not out.exists()


# --- jobs


class KilledError(RuntimeError):
    pass


def stopped_after(steps: int):
    """A progress that ends the program in the middle of sampling."""

    def progress(items, _total, label):
        for i, item in enumerate(items):
            if label == "Making the video" and i == steps:
                raise KilledError
            yield item

    return progress


def kept_job(tmp_path, face, spoken, **how) -> AvatarJob:
    return job_of(face, spoken, **({"job": tmp_path / "job", "steps": 3} | how))


def test_a_killed_job_goes_on_and_gives_the_same_video(tmp_path, face, spoken, models, capsys):
    whole = kept_job(tmp_path, face, spoken, out=tmp_path / "whole.mp4")
    avatar.make(whole, models, lambda items, *_: items)
    job = kept_job(tmp_path, face, spoken)
    with pytest.raises(KilledError):
        avatar.make(job, models, stopped_after(1))
    assert not job.out.exists()
    seen = []
    avatar.make(job, models, lambda items, total, label: seen.append((label, total)) or items)
    assert ("Making the video", 1) in seen
    assert job.out.read_bytes() == whole.out.read_bytes()
    assert ", continued" in capsys.readouterr().out
    assert not job.job.exists()


def test_another_job_in_the_folder_is_refused_with_what_differs(tmp_path, face, spoken, models):
    with pytest.raises(KilledError):
        avatar.make(kept_job(tmp_path, face, spoken), models, stopped_after(1))
    other = kept_job(tmp_path, face, spoken, seed=5)
    with pytest.raises(ValueError, match="settings: seed was 0 and is 5"):
        avatar.make(other, models, stopped_after(1))


def test_long_speech_has_a_folder_beside_the_output_and_short_speech_none(tmp_path, face, spoken, models):
    job = kept_job(tmp_path, face, spoken, job=None)
    with job_folder(job, models, AvatarTiming(126, fit=True)) as work:
        assert work is None
    with job_folder(job, models, AvatarTiming(130, fit=True)) as work:
        assert work.folder == tmp_path / "o.mp4.job"
        assert work.folder.is_dir()
    assert not work.folder.exists()


def test_where_a_cached_step_follows_nothing_is_kept(tmp_path):
    work = Job(tmp_path, {})
    folder = RingFolder(work, AvatarSettings(step_cache="published").plan(25), measured=False)
    assert [steps for steps in range(25) if folder.may_follow[steps]] == [*range(1, 16), 20]
    measured = RingFolder(work, AvatarSettings(step_cache="error-driven").plan(25), measured=True)
    assert not any(measured.may_follow)
