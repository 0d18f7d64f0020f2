"""The loop by itself: its schedule, its state, and what it refuses."""

import json

import pytest
import torch
from pack.training.loop import LOG, Plan, Training, trained_weights
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
    means = [again.advance()["loss"] for _ in range(4)]
    assert lines[0]["loss"] == pytest.approx(sum(means) / 4, abs=1e-5)


def test_averaged_weights_are_what_is_shipped(tmp_path):
    run = run_in(tmp_path, average=0.9, learning_rate=0.1)
    run.run()
    shipped = trained_weights(tmp_path)["weight"]
    assert not torch.equal(shipped, run.network.weight)
    assert torch.equal(shipped, run.averaged["weight"])


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path):
    run = run_in(tmp_path)
    run.network.weight.data.fill_(float("inf"))
    with pytest.raises(FloatingPointError, match="step 0"):
        run.advance()


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="No training state in"):
        trained_weights(tmp_path)
