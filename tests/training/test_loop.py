"""The loop by itself: its schedule, its state, and what it refuses."""

import json

import pytest
import torch
from pack.training.loop import LOG, STATE, Plan, Training, trained_weights
from pack.training.recorded import RecordedSteps
from torch import nn


def squared(network, batch, generator):
    return {"loss": network(batch["x"]).square().mean()}


def numbers(generator):
    return {"x": torch.randn(4, 3, generator=generator)}


def run_in(folder, **changes):
    torch.manual_seed(0)
    plan = Plan(**{"steps": 12, "mixed": False, "log_every": 4, "save_every": 5} | changes)
    return Training(nn.Linear(3, 2), squared, numbers, plan, folder)


def test_the_learning_rate_warms_up_stays_and_ends_at_nothing():
    plan = Plan(steps=100, warmup=10, decay=0.2)
    rates = [plan.factor(step) for step in range(100)]
    assert rates[:3] == [0.1, 0.2, pytest.approx(0.3)]
    assert rates[10:80] == [1.0] * 70
    assert rates[90] == pytest.approx(0.5)
    assert 0 < rates[99] < 0.06


def test_every_step_has_chance_of_its_own_and_so_has_every_seed(tmp_path):
    draws = [
        float(torch.rand((), generator=Plan(steps=1, seed=s).generator(n))) for s in (0, 1) for n in range(9)
    ]
    assert len(set(draws)) == 18


def test_losses_are_logged_as_means_over_the_steps_since_the_last_line(tmp_path):
    run_in(tmp_path / "a").run()
    lines = [json.loads(line) for line in (tmp_path / "a" / LOG).read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 8, 12]
    again = run_in(tmp_path / "b")
    means = [float(again.advance()["loss"]) for _ in range(4)]
    assert lines[0]["loss"] == pytest.approx(sum(means) / 4, abs=1e-5)


def test_a_loss_that_some_steps_lack_is_a_mean_over_the_others(tmp_path):
    run = run_in(tmp_path)
    whole = run.objective

    def sometimes(network, batch, generator):
        losses = whole(network, batch, generator)
        return losses if run.step % 2 else losses | {"rare": torch.tensor(3.0)}

    run.objective = sometimes
    run.run()
    assert {json.loads(line)["rare"] for line in (tmp_path / LOG).read_text().splitlines()} == {3.0}


def test_averaged_weights_are_what_is_shipped(tmp_path):
    run = run_in(tmp_path, average=0.9, learning_rate=0.1)
    run.run()
    shipped = trained_weights(tmp_path)["weight"]
    assert not torch.equal(shipped, run.network.weight)
    assert torch.equal(shipped, run.averaged["weight"])


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path):
    run = run_in(tmp_path)
    run.network.weight.data.fill_(float("inf"))
    with pytest.raises(FloatingPointError, match="steps 0 to 3"):
        run.run()
    assert not (tmp_path / STATE).exists()


def test_nothing_broken_is_saved(tmp_path):
    run = run_in(tmp_path, save_every=2)
    run.run(until=2)
    run.network.weight.data.fill_(float("inf"))
    with pytest.raises(FloatingPointError, match="steps 2 to 3"):
        run.run()
    assert torch.load(tmp_path / STATE, weights_only=True)["step"] == 2


def test_recorded_steps_do_what_the_others_do(tmp_path):
    """With a stand-in for CUDA's recording, which computes anew from the tensors that were recorded."""

    def of_two_sizes(generator):
        return {"x": torch.randn(2 + int(torch.randint(2, (), generator=generator)), 3, generator=generator)}

    plain, recorded = run_in(tmp_path / "a", matrix_rate=0.02), run_in(tmp_path / "b", matrix_rate=0.02)
    plain.draw = recorded.draw = of_two_sizes
    recorded.recorded = RecordedSteps(recorded.change, torch.device("cpu"), capture=lambda compute: compute)
    for run in (plain, recorded):
        run.run()
    assert recorded.recorded.recorded == 2
    assert torch.equal(plain.network.weight, recorded.network.weight)


def test_a_recording_that_fails_is_done_without(tmp_path, caplog):
    def fails(compute):
        raise RuntimeError("no graphs here")

    plain, recorded = run_in(tmp_path / "a"), run_in(tmp_path / "b")
    recorded.recorded = RecordedSteps(recorded.change, torch.device("cpu"), capture=fails)
    for run in (plain, recorded):
        run.run()
    assert "no graphs here" in caplog.text
    assert torch.equal(plain.network.weight, recorded.network.weight)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_recorded_steps_do_what_the_others_do(tmp_path):
    runs = [
        run_in(tmp_path / str(record), device="cuda", record=record, average=0.9) for record in (False, True)
    ]
    for run in runs:
        run.run()
    plain, recorded = (run.averaged["weight"] for run in runs)
    assert runs[1].recorded.recorded == 1
    assert torch.allclose(plain, recorded, atol=1e-6)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="No training state in"):
        trained_weights(tmp_path)
