"""`--memory` and `--weight-dtype`: what is chosen is said, and the sound is nearly the same."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from pack.cli import foley, main
from pack.cli.foley_job import FoleyJob
from pack.cli.foley_memory import FULL, MemoryLimit, forms_of, needs_of, transformer_of
from pack.cli.foley_models import FoleyModels
from pack.host.standalone.memory import Placement
from pack.host.standalone.memory_plan import GB, MemoryPlan, candidates, carry_out
from pack.hunyuan.layers.packed import packed_layers
from pack.model_loaders.foley_folder import POCKET, find_foley

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

TRANSFORMER = find_foley(POCKET).transformer
CPU = Placement.choose("cpu", "float32")
LIMIT = MemoryLimit(gigabytes=1, rows=1, branches=2, seconds=1.0)
LENGTH = ("--seconds", "1", "--steps", "3", "--device", "cpu")


def small_networks(models: FoleyModels):
    return models.visual_encoder, models.sync_encoder, models.text_encoder, models.audio_vae


def pocket_plans(weight_dtype: str | None = None) -> list[MemoryPlan]:
    """All ways to use the pocket weights for `LENGTH`."""
    needs = needs_of(*small_networks(FoleyModels.load(None, None, CPU)), LIMIT)
    return list(candidates(forms_of(TRANSFORMER, weight_dtype, torch.float32, LIMIT), needs))


def sound(tmp_path: Path, name: str, *options: str) -> np.ndarray:
    out = tmp_path / f"{name}.wav"
    assert main(["foley", *LENGTH, "--out", str(out), *options]) == 0
    return soundfile.read(out)[0]


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def test_enough_memory_changes_nothing(tmp_path, capsys):
    plain = sound(tmp_path, "plain")
    roomy = sound(tmp_path, "roomy", "--memory", "8")
    assert np.array_equal(plain, roomy)
    assert "Memory: weights as float32, all networks stay: 0." in capsys.readouterr().out


def test_turns_change_nothing_either(tmp_path, capsys):
    together, turns = pocket_plans()[:2]
    assert turns.peak < together.peak
    exact = sound(tmp_path, "turns", "--memory", f"{(turns.peak + 1) / GB:.9f}")
    said = capsys.readouterr().out
    assert "weights as float32, networks take turns" in said
    assert "(weights as float32, all networks stay would need 0." in said
    assert np.array_equal(exact, sound(tmp_path, "plain"))


@pytest.mark.parametrize("weight_dtype", ["full", "int8"])
def test_streamed_blocks_give_the_bits_of_resident_ones(tmp_path, weight_dtype):
    streaming = [plan for plan in pocket_plans(weight_dtype) if plan.streamed]
    assert streaming, "the pocket network has too few blocks"
    for plan in (streaming[0], streaming[-1]):
        models = FoleyModels.load(None, None, CPU, weight_dtype=weight_dtype)
        visual, sync, text, vae = small_networks(models)
        carry_out(plan, models.transformer, [[visual, sync], [text], [vae]], CPU.device)
        job = FoleyJob(out=tmp_path / "streamed.wav", seconds=1.0, steps=3, device="cpu")
        list(foley.make(job, models, lambda items, *_: items))
        streamed = soundfile.read(job.out)[0]
        assert np.array_equal(streamed, sound(tmp_path, "whole", "--weight-dtype", weight_dtype))


def test_a_byte_a_weight_is_nearly_the_same_sound(tmp_path):
    plain = sound(tmp_path, "plain")
    for name, most in (("int8", 0.1), ("fp8", 0.3)):
        assert 0 < relative(sound(tmp_path, name, "--weight-dtype", name), plain) < most
    assert np.array_equal(sound(tmp_path, "full", "--weight-dtype", "full"), plain)


def test_too_little_memory_names_the_least(tmp_path, capsys):
    out = tmp_path / "never.wav"
    assert main(["foley", *LENGTH, "--out", str(out), "--memory", "0.1"]) == 1
    assert "0.1 GB are too little: the least that works is 0." in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("gigabytes", ["0", "-3", "nan", "inf"])
def test_an_amount_that_is_none_is_refused(tmp_path, capsys, gigabytes):
    out = tmp_path / "never.wav"
    assert main(["foley", *LENGTH, "--out", str(out), "--memory", gigabytes]) == 1
    assert "is no size: give the graphics card's memory in GB" in capsys.readouterr().err


def test_forms_are_the_one_asked_for_or_the_plain_and_the_small_one():
    def names(weight_dtype):
        return [form.name for form in forms_of(TRANSFORMER, weight_dtype, torch.float32, LIMIT)]

    assert names(None) == ["float32", "int8"]
    assert names("full") == ["float32"]
    assert names("fp8") == ["fp8"]


def test_the_form_is_part_of_what_a_continued_job_checks():
    plain, packed = (FoleyModels.load(None, None, CPU, weight_dtype=name) for name in (None, "int8"))
    assert plain.fingerprint != packed.fingerprint


@pytest.fixture(scope="module")
def packed_folder(tmp_path_factory) -> Path:
    """The pocket weights, the transformer as GGUF."""
    pytest.importorskip("gguf")
    import convert

    folder = tmp_path_factory.mktemp("weights") / "foley"
    shutil.copytree(POCKET, folder)
    convert.convert_gguf(folder / "transformer.safetensors", folder / "transformer_q8_0.gguf", "Q8_0")
    (folder / "transformer.safetensors").unlink()
    return folder


def test_a_gguf_file_in_the_weights_folder_is_used(tmp_path, packed_folder):
    plain = sound(tmp_path, "plain")
    assert 0 < relative(sound(tmp_path, "packed", "--weights", str(packed_folder)), plain) < 0.1


def test_a_gguf_file_stays_packed_unless_it_is_to_be_full(packed_folder):
    path = packed_folder / "transformer_q8_0.gguf"
    stored = packed_layers(transformer_of(path, None, torch.float32))
    assert {layer.packing.name for layer in stored.values()} == {"Q8_0"}
    assert not packed_layers(transformer_of(path, FULL, torch.float32))
    assert [form.name for form in forms_of(path, None, torch.float32, LIMIT)] == ["Q8_0"]
    with pytest.raises(ValueError, match=r"is packed already \(Q8_0\)"):
        transformer_of(path, "int8", torch.float32)
