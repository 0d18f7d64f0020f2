"""`hunyuan_av avatar --memory`: what is chosen is said, and the video is the same."""

import gc
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from pack.cli import avatar, avatar_models, main
from pack.cli.avatar_job import AvatarJob, SpokenBy
from pack.cli.avatar_memory import form_of, llava_dtype
from pack.cli.avatar_models import AvatarModels
from pack.cli.avatar_resume import identity
from pack.host.standalone.avatar_plan import AvatarPlan, Stage, blocks_of, layers_of
from pack.host.standalone.memory import Placement
from pack.host.standalone.streaming import BlockStream, byte_size
from pack.hunyuan.avatar.blocks import DoubleBlock, SingleBlock
from pack.hunyuan.avatar.compiled import compiled_tokenwise
from pack.hunyuan.avatar.llama import LlamaLayer
from pack.hunyuan.layers.float8 import FLOAT8
from pack.model_loaders.avatar import load_transformer, load_video_vae, sized_transformer, sized_video_vae
from pack.model_loaders.avatar_encoders import load_clip_text, load_llava, sized_clip_text, sized_llava
from PIL import Image
from torch_versions import needs_compiling

CPU = Placement.choose("cpu", "float32")
ROOMY = "8"


@pytest.fixture
def inputs(tmp_path) -> Path:
    """A folder with an image, a mask in the place of a face, and a voice."""
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "i.png")
    Image.new("L", (64, 64), 255).save(tmp_path / "m.png")
    soundfile.write(tmp_path / "v.wav", np.random.default_rng(0).standard_normal(3200) * 0.1, 16_000)
    return tmp_path


@pytest.fixture(scope="module")
def models() -> AvatarModels:
    return AvatarModels.find(None, None, CPU)


def job_of(folder: Path, **how) -> AvatarJob:
    settings = {
        "image": folder / "i.png", "masks": (folder / "m.png",), "voices": (SpokenBy(path=folder / "v.wav"),),
        "out": folder / "o.mp4", "size": 64, "steps": 3, "schedule": "scaled",
    }  # fmt: skip
    return AvatarJob(**(settings | how))


def made(job: AvatarJob, models: AvatarModels) -> bytes:
    return Path(avatar.make(job, models, lambda items, *_: items)).read_bytes()


@torch.inference_mode()
def sampled(job: AvatarJob, models: AvatarModels) -> torch.Tensor:
    """The latents of a job, not decoded."""
    picture = avatar.resize(avatar.read_picture(job.image), job.size)
    heard = avatar.listen(job, models)
    clip = avatar.guide(job, models, picture, heard, [torch.ones(1, 1, 1, 8, 8)])
    return avatar.sample(job, models, clip, heard.timing, lambda items, *_: items, None)


def all_streamed(models: AvatarModels, apart: bool = False) -> AvatarPlan:
    with models.text_encoder() as encoder, models.transformer() as transformer:
        layers, blocks = len(layers_of(encoder.llava)), len(blocks_of(transformer))
    return AvatarPlan(
        llava=Stage(how="", peak=0, streamed=tuple(range(layers))),
        transformer=Stage(how="", peak=0, streamed=tuple(range(blocks)), apart=apart),
        decoder=Stage(how="", peak=0),
    )


def run(folder: Path, *options: str) -> int:
    names = {"--image": "i.png", "--mask": "m.png", "--voice": "v.wav", "--out": "o.mp4"}
    paths = [word for option, name in names.items() for word in (option, str(folder / name))]
    return main(["avatar", *paths, "--steps", "1", "--size", "64", "--device", "cpu", *options])


def test_enough_memory_changes_nothing_and_it_is_said_how_it_fits(inputs, capsys):
    assert run(inputs) == 0
    plain = (inputs / "o.mp4").read_bytes()
    assert "Memory" not in capsys.readouterr().out
    assert run(inputs, "--memory", ROOMY) == 0
    assert (inputs / "o.mp4").read_bytes() == plain
    told = capsys.readouterr().out
    assert "Memory: weights as float32, all blocks stay, halves of guidance at once: 0." in told
    assert "all of LLaVA: 1." in told


def test_streamed_blocks_and_layers_give_the_bits_of_resident_ones(inputs, models):
    streamed = replace(models, plan=all_streamed(models))
    job = job_of(inputs)
    assert made(job, streamed) == made(job, models)
    assert torch.equal(sampled(job, streamed), sampled(job, models))


@needs_compiling
def test_compiled_operations_work_on_streamed_blocks(inputs, models, monkeypatch):
    torch._dynamo.reset()
    monkeypatch.setattr(avatar_models, "compiled_tokenwise", partial(compiled_tokenwise, "eager"))
    streamed = replace(models, plan=all_streamed(models), compiled=True)
    job = job_of(inputs)
    torch.testing.assert_close(sampled(job, streamed), sampled(job, models), atol=1e-5, rtol=1e-4)


def test_halves_in_turn_are_the_same_up_to_rounding(inputs, models):
    plan = all_streamed(models, apart=True)
    job = job_of(inputs)
    torch.testing.assert_close(
        sampled(job, replace(models, plan=plan)), sampled(job, models), atol=1e-4, rtol=1e-4
    )


def test_streamed_networks_are_let_go_of_when_their_part_is_done(inputs, models):
    """Without a search for cycles, which nobody makes before the next network needs the memory."""
    streamed = replace(models, plan=all_streamed(models))
    kinds = {BlockStream, LlamaLayer, DoubleBlock, SingleBlock}

    def alive():
        return {id(thing): thing for thing in gc.get_objects() if type(thing) in kinds}

    gc.collect()
    before = alive()  # of other tests' fixtures
    gc.disable()
    try:
        sampled(job_of(inputs), streamed)
        assert alive().keys() == before.keys()
    finally:
        gc.enable()


def test_too_little_memory_names_the_least_before_anything_is_read(inputs, capsys, monkeypatch):
    monkeypatch.setattr(AvatarModels, "speech_encoder", None)
    assert run(inputs, "--memory", "1") == 1
    assert "Error: 1 GB are too little: the least that works is 1." in capsys.readouterr().err
    assert not (inputs / "o.mp4").exists()


@pytest.mark.parametrize("gigabytes", ["0", "-3", "nan", "inf"])
def test_an_amount_that_is_none_is_refused(inputs, capsys, gigabytes):
    assert run(inputs, "--memory", gigabytes) == 1
    assert "is no size: give the graphics card's memory in GB" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, FLOAT8])
def test_sizes_are_those_of_the_networks_when_they_are_loaded(models, dtype):
    files, rest = models.files, torch.bfloat16 if dtype == FLOAT8 else dtype
    loaded, sized = (
        load_transformer(files.transformer, dtype, rest=rest),
        sized_transformer(files.transformer, dtype, rest),
    )
    assert byte_size(sized) == byte_size(loaded)
    assert list(map(byte_size, blocks_of(sized))) == list(map(byte_size, blocks_of(loaded)))
    assert byte_size(sized_llava(files.llava, rest)) == byte_size(load_llava(files.llava, rest))
    assert byte_size(sized_clip_text(files.clip)) == byte_size(load_clip_text(files.clip))
    assert byte_size(sized_video_vae(files.video_vae, rest)) == byte_size(
        load_video_vae(files.video_vae, rest)
    )


def test_llava_has_its_files_own_size_where_no_dtype_is_asked_for(models):
    assert byte_size(sized_llava(models.files.llava)) == byte_size(load_llava(models.files.llava))
    assert llava_dtype(CPU) == torch.float32
    assert llava_dtype(Placement(torch.device("cuda"), torch.bfloat16)) is None


def test_the_form_is_the_one_asked_for(models):
    narrow = form_of(models.files, CPU, (64, 96), vae_dtype="float16", keep_float8=True)
    plain = form_of(models.files, CPU, (64, 96), vae_dtype="float32", keep_float8=False)
    assert (narrow.name, plain.name) == ("fp8", "float32")
    assert sum(narrow.weights.blocks) < sum(plain.weights.blocks)
    assert (narrow.height, narrow.width, narrow.latent_pixels) == (64, 96, 96)
    assert narrow.vae < plain.vae
    rounding = form_of(
        models.files, CPU, (64, 96), vae_dtype="float16", keep_float8=True, float8_products=True
    )
    assert rounding.step_bytes(1) > 1.1 * narrow.step_bytes(1)


def test_a_job_goes_on_with_another_amount_of_memory_unless_digits_would_change(inputs, models):
    plain, given = job_of(inputs), job_of(inputs, memory=8.0)
    assert identity(plain, models) == identity(given, models)
    streamed = replace(models, plan=all_streamed(models))
    assert identity(given, streamed) == identity(plain, models)
    apart = replace(models, plan=all_streamed(models, apart=True))
    assert identity(given, apart) != identity(plain, models)
