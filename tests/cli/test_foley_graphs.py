"""`--graphs`: the same sound from recorded steps, when they are recorded, and what is said otherwise."""

import argparse
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pack.cli import foley, foley_command, main
from pack.cli.foley_film import kept_bytes
from pack.cli.foley_graphs import graphs_pay, records
from pack.cli.foley_job import FoleyJob
from pack.cli.foley_memory import MemoryLimit, forms_of, needs_of
from pack.cli.foley_models import FoleyModels
from pack.host.standalone.memory import Placement
from pack.host.standalone.memory_plan import GB, candidates
from pack.hunyuan.foley import graphed
from pack.hunyuan.long_form.pipeline import LongFilm
from pack.model_loaders.foley_folder import POCKET, find_foley
from torch import nn

CPU, CARD = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(scope="module")
def models() -> FoleyModels:
    return FoleyModels.load(None, None, Placement.choose("cpu", "float32"))


@pytest.fixture
def recording(monkeypatch):
    """Stands for CUDA's graphs, on any device: computes anew into the same answer."""
    captured = []

    def capture(compute):
        answer = compute()
        captured.append(answer)
        return lambda: answer.copy_(compute())

    monkeypatch.setattr(graphed, "cuda_capture", lambda device: capture)
    return captured


def sound(models: FoleyModels, out: Path, progress=lambda items, *_: items, **settings) -> bytes:
    job = FoleyJob(**{"out": out, "seconds": 1.0, "steps": 4, "device": "cpu", **settings})
    list(foley.make(job, models, progress))
    return b"".join(path.read_bytes() for path in job.outputs)


@pytest.mark.parametrize(
    "settings",
    [{"solver": "heun", "guide_to": 0.5}, {"takes": 3, "batch": 2}],
    ids=["part without guidance", "takes in two batches"],
)
def test_recorded_steps_make_the_same_sound_and_it_is_said(models, tmp_path, capsys, recording, settings):
    plain = sound(models, tmp_path / "plain.wav", **settings)
    assert recording == []
    assert sound(replace(models, graphs=True), tmp_path / "graphs.wav", **settings) == plain
    assert len(recording) == 2
    assert "CUDA graphs: " in capsys.readouterr().out


def test_a_capture_that_fails_leaves_the_sound_as_it_is(models, tmp_path, monkeypatch, caplog):
    def refused(_compute):
        raise RuntimeError("operation not permitted when stream is capturing")

    plain = sound(models, tmp_path / "plain.wav")
    monkeypatch.setattr(graphed, "cuda_capture", lambda device: refused)
    assert sound(replace(models, graphs=True), tmp_path / "graphs.wav") == plain
    (said,) = caplog.messages
    assert "without CUDA graphs" in said
    assert "operation not permitted" in said


def test_progress_and_cancelling_stay_between_steps(models, tmp_path, recording):
    def cancelling(items, total, label):
        for count, item in enumerate(items):
            if count == 2:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        sound(replace(models, graphs=True), tmp_path / "o.wav", cancelling)
    assert len(recording) == 1
    assert list(tmp_path.iterdir()) == []


def test_by_itself_it_is_for_a_card_and_steps_enough_and_weights_that_stay():
    plain, streamed = nn.Linear(1, 1), nn.Sequential(nn.Linear(1, 1))
    streamed[0].register_forward_pre_hook(lambda *_: None)
    assert graphs_pay(None, CARD, 10, plain)
    assert not graphs_pay(None, CARD, 9, plain)
    assert not graphs_pay(None, CPU, 50, plain)
    assert not graphs_pay(None, CARD, 50, streamed)
    assert graphs_pay(True, CARD, 1, plain)
    assert not graphs_pay(False, CARD, 50, plain)


def test_the_switch_has_three_positions():
    parser = argparse.ArgumentParser()
    foley_command.add_parser(parser.add_subparsers())
    switches = {(): None, ("--graphs",): True, ("--no-graphs",): False}
    for options, position in switches.items():
        assert parser.parse_args(["foley", *options]).graphs is position


@pytest.mark.parametrize("command", ["foley", "batch"])
def test_asked_for_without_a_card_it_says_what_to_do_before_the_work(tmp_path, capsys, monkeypatch, command):
    def loaded(*_arguments, **_options):
        raise AssertionError("weights were read")

    monkeypatch.setattr(FoleyModels, "load", loaded)
    table, out = tmp_path / "t.csv", tmp_path / "o.wav"
    table.write_text("out,seconds\no.wav,1\n")
    arguments = ["--seconds", "1", "--out", str(out)] if command == "foley" else [str(table)]
    assert main([command, *arguments, "--device", "cpu", "--graphs"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "--graphs needs an NVIDIA card, and this runs on cpu. Leave it out" in line
    assert not out.exists()


@pytest.mark.parametrize("prompt", ["rain", "0:00 rain | 0:12 rain, thunder"], ids=["one", "timed"])
def test_the_windows_of_a_film_share_recorded_steps(models, tmp_path, capsys, recording, prompt):
    settings = {"seconds": 32.0, "steps": 3, "prompt": prompt}
    plain = sound(models, tmp_path / "plain.wav", **settings)
    assert sound(replace(models, graphs=True), tmp_path / "graphs.wav", **settings) == plain
    # The last window is shorter; each prompt is as long as it is.
    assert len(recording) == (2 if prompt == "rain" else 3)
    assert "CUDA graphs: " in capsys.readouterr().out


def test_a_film_goes_on_with_recorded_steps_to_the_same_bits(models, tmp_path, monkeypatch):
    """Also where a recording's last digits are not those of plain steps."""

    def nearly(compute):
        answer = compute()
        return lambda: answer.copy_(compute() * (1 + 1e-5))

    monkeypatch.setattr(graphed, "cuda_capture", lambda device: nearly)
    monkeypatch.setitem(LongFilm.__init__.__kwdefaults__, "checkpoint_seconds", 0.0)
    recorded, settings = replace(models, graphs=True), {"seconds": 24.0, "steps": 3}
    whole = sound(recorded, tmp_path / "whole.wav", **settings)
    assert whole != sound(models, tmp_path / "plain.wav", **settings)
    left = []

    def killed(items, total, label):
        left.append(total)
        for count, item in enumerate(items):
            yield item
            if count == 5:
                raise KeyboardInterrupt

    out = tmp_path / "film.wav"
    with pytest.raises(KeyboardInterrupt):
        sound(recorded, out, killed, **settings)
    going_on = sound(recorded, out, lambda items, total, label: left.append(total) or items, **settings)
    assert going_on == whole
    assert left[1] == left[0] - 6


def test_windows_keep_what_they_need_on_a_card_and_nowhere_else(models):
    card = replace(models, placement=Placement(CARD, torch.float32))
    assert kept_bytes(card) > 0
    assert kept_bytes(replace(card, limited=True)) == kept_bytes(models) == 0


def test_within_a_limit_of_memory_a_film_is_recorded_only_if_that_is_asked_for(models, tmp_path):
    job = FoleyJob(out=tmp_path / "o.wav", seconds=40.0, device="cpu")
    limited = replace(models, placement=Placement(CARD, torch.float32), limited=True, graphs=None)
    assert not records(job, limited, film=True)
    assert records(job, replace(limited, limited=False), film=True)
    assert records(job, replace(limited, graphs=True), film=True)
    assert records(job, limited)


def test_a_film_that_was_begun_without_does_not_go_on_with_recorded_steps(models, tmp_path, recording):
    """The same kernels give the same numbers, but a library may pick others for a recording."""

    def killed(items, total, label):
        yield from ()
        raise KeyboardInterrupt

    out = tmp_path / "film.wav"
    with pytest.raises(KeyboardInterrupt):
        sound(models, out, killed, seconds=20.0)
    with pytest.raises(ValueError, match="graphs"):
        sound(replace(models, graphs=True), out, seconds=20.0)


def test_networks_that_come_and_go_are_not_recorded(models):
    limit = MemoryLimit(gigabytes=1, rows=1, branches=2, seconds=1.0)
    networks = models.visual_encoder, models.sync_encoder, models.text_encoder, models.audio_vae
    forms = forms_of(find_foley(POCKET).transformer, None, torch.float32, limit)
    turns = next(plan for plan in candidates(forms, needs_of(*networks, limit)) if not plan.together)
    little = replace(limit, gigabytes=(turns.peak + 1) / GB)
    with pytest.raises(ValueError, match="--graphs needs all networks to stay on the device"):
        FoleyModels.load(None, None, models.placement, memory=little, graphs=True)
    by_turns = FoleyModels.load(None, None, models.placement, memory=little)
    assert not graphs_pay(by_turns.graphs, CARD, 50, by_turns.transformer)
