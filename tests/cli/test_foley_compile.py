"""`--compile`: the same sound, for clips, films and tables, and a word on what takes so long."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from pack.cli import foley_models, main
from pack.cli.foley_memory import MemoryLimit, forms_of, needs_of
from pack.cli.foley_models import FoleyModels
from pack.host.standalone.memory import Placement
from pack.host.standalone.memory_plan import GB, candidates
from pack.hunyuan.foley.compiled import compiled_blocks
from pack.hunyuan.layers.compiling import check_compiling
from pack.model_loaders.foley_folder import POCKET, find_foley
from torch_versions import needs_compiling

pytestmark = needs_compiling

CPU = Placement.choose("cpu", "float32")
SHORT = ("--steps", "2", "--device", "cpu", "--dtype", "float32")


@pytest.fixture
def backend(monkeypatch):
    """Has `--compile` use another backend than the one that writes kernels for minutes."""

    def use(chosen) -> None:
        torch._dynamo.reset()
        for function in (check_compiling, compiled_blocks):
            monkeypatch.setattr(foley_models, function.__name__, partial(function, backend=chosen))

    return use


def run(*arguments: object) -> int:
    return main(["foley", *SHORT, *map(str, arguments)])


def alike(folder: Path, name: str) -> None:
    plain, other = (soundfile.read(folder / f"{prefix}{name}.wav")[0] for prefix in ("plain_", "compiled_"))
    np.testing.assert_allclose(other, plain, atol=1e-5)
    assert np.abs(plain).max() > 0.001


def test_films_and_tables_of_clips_sound_the_same_and_compiling_is_said(tmp_path, capsys, backend):
    backend("eager")
    assert run("--seconds", 1, "--out", tmp_path / "plain_clip.wav") == 0
    assert run("--seconds", 16, "--out", tmp_path / "plain_film.wav") == 0
    assert "Compiled" not in capsys.readouterr().out

    assert run("--seconds", 16, "--compile", "--out", tmp_path / "compiled_film.wav") == 0
    said_of_film = capsys.readouterr().out
    table = tmp_path / "table.csv"
    table.write_text("seconds,steps,out\n1,2,compiled_clip.wav\n")
    assert main(["batch", str(table), "--compile", "--device", "cpu", "--dtype", "float32"]) == 0
    for said, name in ((said_of_film, "film"), (capsys.readouterr().out, "clip")):
        assert "Compiled joint blocks in " in said
        assert "Compiled audio blocks in " in said
        alike(tmp_path, name)


def test_a_film_goes_on_only_as_it_was_begun(tmp_path, capsys, backend):
    backend("eager")
    command = ("--seconds", 16, "--out", tmp_path / "o.wav", "--keep-job")
    assert run(*command) == 0
    assert run(*command, "--compile") == 1
    assert "compiled was null and is true" in capsys.readouterr().err


def test_where_nothing_compiles_that_is_said_before_the_work(tmp_path, capsys, backend):
    def broken(graph, inputs):
        raise RuntimeError("No working C++ compiler found")

    backend(broken)
    assert run("--seconds", 1, "--compile", "--out", tmp_path / "o.wav") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Error: --compile: torch.compile does not work here: No working C++ compiler")
    assert list(tmp_path.iterdir()) == []


def test_networks_that_come_and_go_are_not_compiled(tmp_path, capsys, backend):
    backend("eager")
    limit = MemoryLimit(gigabytes=1, rows=1, branches=2, seconds=1.0)
    models = FoleyModels.load(None, None, CPU)
    small = models.visual_encoder, models.sync_encoder, models.text_encoder, models.audio_vae
    forms = forms_of(find_foley(POCKET).transformer, None, torch.float32, limit)
    _, turns = list(candidates(forms, needs_of(*small, limit)))[:2]
    arguments = ("--seconds", 1, "--memory", f"{(turns.peak + 1) / GB:.9f}", "--out", tmp_path / "o.wav")
    assert run(*arguments, "--compile") == 1
    assert "--compile needs all networks to stay on the device" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
