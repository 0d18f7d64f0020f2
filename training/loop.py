"""The training loop that every network shares: seeded, resumable to the bit, and no framework.

All chance of a step comes from one generator that is made from (seed, step). So the order of the data needs
no state of its own, and a run that was stopped goes on as if it had not been.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .muon import Muon
from .recorded import RecordedSteps

Batch = dict[str, Tensor]
DrawBatch = Callable[[torch.Generator], Batch]
Objective = Callable[[nn.Module, Batch, Any], dict[str, Tensor]]  # Any: a generator, if none is recorded

STATE = "state.pt"
LOG = "losses.jsonl"
STEP_STRIDE = 1_000_003  # seeds of neighbouring runs do not share steps
GRADIENT = "gradient"  # its norm, among a step's losses


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to train. The learning rate warms up, stays, and falls to nothing over the last steps."""

    steps: int
    seed: int = 0
    device: str = "cpu"
    learning_rate: float = 1e-3  # of Adam
    matrix_rate: float = 0.0  # of Muon, for weights that are matrices; 0 leaves them to Adam
    warmup: int = 50
    decay: float = 0.3
    weight_decay: float = 0.01
    clip: float = 1.0  # largest norm of the gradient
    average: float = 0.0  # of the weights, how much of it stays in each step; 0 keeps none
    mixed: bool = True  # matrix products in bfloat16; slower on a CPU where they are small
    save_every: int = 100
    log_every: int = 20
    record: bool = False  # steps as CUDA graphs; the batch must hold all that the objective draws

    def factor(self, step: int) -> float:
        """Of the learning rates at a step, at most 1."""
        left = (self.steps - step) / max(1.0, self.decay * self.steps)
        return min(1.0, (step + 1) / max(1, self.warmup), left)

    def generator(self, step: int) -> torch.Generator:
        return torch.Generator().manual_seed((self.seed + 1) * STEP_STRIDE + step)


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """The tails of decaying sounds would slow a CPU down tenfold."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


class Sums:
    """Losses of some steps, added up where they are. A step may leave some of them out."""

    def __init__(self) -> None:
        self.steps = 0
        self.totals: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, losses: dict[str, Tensor]) -> None:
        self.steps += 1
        for name, loss in losses.items():
            self.totals[name] = self.totals.get(name, 0.0) + loss
            self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """Each over the steps that have it."""
        return {name: float(total) / self.counts[name] for name, total in self.totals.items()}


class Training:
    """A network on its way, with all that is needed to go on bit for bit.

    network:   what is trained, helpers of the objective included; float32.
    objective: (network, batch, generator) -> losses by name, of which "loss" is followed.
    draw:      a generator -> the batch of a step.
    """

    def __init__(
        self, network: nn.Module, objective: Objective, draw: DrawBatch, plan: Plan, folder: Path
    ) -> None:
        self.network, self.objective, self.draw = network.to(plan.device).train(), objective, draw
        self.plan, self.folder, self.step = plan, folder, 0
        self.optimizer = Muon(network, plan.matrix_rate, plan.learning_rate, plan.weight_decay)
        self.averaged = {n: p.detach().clone() for n, p in network.named_parameters()} if plan.average else {}
        device = torch.device(plan.device)
        recording = plan.record and device.type == "cuda"
        self.recorded = RecordedSteps(self.change, device) if recording else None

    @denormals_flushed()
    def run(self, until: int | None = None) -> dict[str, float]:
        """Train to the plan's end, or to step `until`. Returns the mean losses since the last line logged."""
        self.resume()
        sums, losses, began = Sums(), {}, time.monotonic()
        last = self.plan.steps if until is None else min(until, self.plan.steps)
        while self.step < last:
            sums.add(self.advance())
            if self.step % self.plan.log_every == 0 or self.step == last:
                losses = self.means(sums)
                self.log(losses, (time.monotonic() - began) / sums.steps)
                sums, began = Sums(), time.monotonic()
            if self.step % self.plan.save_every == 0 or self.step == last:
                self.means(sums)  # nothing broken is saved
                self.save()
        return losses

    def advance(self) -> dict[str, Tensor]:
        """One step: its losses, and the gradient's norm. Nothing is waited for."""
        plan, generator = self.plan, self.plan.generator(self.step)
        batch = on_device(self.draw(generator), plan.device)
        self.optimizer.factor.fill_(plan.factor(self.step))
        losses = self.recorded(batch) if self.recorded is not None else self.change(batch, generator)
        self.step += 1
        self.update_average()
        return losses

    def change(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """What a step does to the network. Returns what `advance` does."""
        device_type = torch.device(self.plan.device).type
        # A recording would keep the weights that are cast for it, and cast them no more.
        with torch.autocast(
            device_type, torch.bfloat16, enabled=self.plan.mixed, cache_enabled=self.recorded is None
        ):
            losses = self.objective(self.network, batch, generator)
        self.optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.plan.clip)
        self.optimizer.step()
        return {name: loss.detach() for name, loss in losses.items()} | {GRADIENT: norm.detach()}

    def means(self, sums: Sums) -> dict[str, float]:
        """Of the losses of the last steps. Raises: FloatingPointError where a gradient was not finite."""
        losses = sums.means()
        if not math.isfinite(losses.pop(GRADIENT, 0.0)):
            first, last = self.step - sums.steps, self.step - 1
            steps = f"step {last}" if first == last else f"steps {first} to {last}"
            raise FloatingPointError(
                f"The gradient is not finite in {steps}: {losses}. Lower the learning rate; the last saved"
                " state is from before."
            )
        return losses

    @torch.no_grad()
    def update_average(self) -> None:
        # A young average follows faster, or it would remember the random start.
        keep = min(self.plan.average, (1 + self.step) / (10 + self.step))
        if self.averaged:
            parameters = dict(self.network.named_parameters())
            torch._foreach_lerp_(
                list(self.averaged.values()), [parameters[name] for name in self.averaged], 1 - keep
            )

    def log(self, losses: dict[str, float], seconds: float) -> None:
        line = {"step": self.step, **{name: round(loss, 5) for name, loss in losses.items()}}
        with (self.folder / LOG).open("a") as file:
            file.write(json.dumps({**line, "seconds_per_step": round(seconds, 4)}) + "\n")

    def save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "step": self.step,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.averaged,
        }
        unfinished = self.folder / f"{STATE}.part"
        torch.save(state, unfinished)
        unfinished.replace(self.folder / STATE)

    def resume(self) -> None:
        """Go on from the folder's state, if it has one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / STATE
        if self.step or not path.is_file():
            return
        state = torch.load(path, map_location=self.plan.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.step, self.averaged = state["step"], state["averaged"]
        if self.step < self.plan.steps:  # what has reached its end takes no further step
            self.optimizer.load_state_dict(state["optimizer"])


def has_run(folder: Path) -> bool:
    """Whether a run in `folder` has got far enough to leave a state."""
    return (folder / STATE).is_file()


def trained_weights(folder: Path) -> dict[str, Tensor]:
    """What a run has reached: the averaged weights where it keeps them.

    Raises: FileNotFoundError if nothing was trained in `folder`.
    """
    path = folder / STATE
    if not has_run(folder):
        raise FileNotFoundError(f"No training state in {folder}. Train the network first.")
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {**state["network"], **state["averaged"]}


def on_device(batch: Batch, device: str) -> Batch:
    if torch.device(device).type != "cuda":
        return {name: tensor.to(device) for name, tensor in batch.items()}
    return {
        name: tensor if tensor.is_cuda else tensor.pin_memory().to(device, non_blocking=True)
        for name, tensor in batch.items()
    }


def command(description: str | None, plan: Plan) -> tuple[argparse.ArgumentParser, Callable]:
    """The options that every entry point has, and what makes a plan of them."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, required=True, help="folder for everything the run writes")
    parser.add_argument("--steps", type=int, default=plan.steps)
    parser.add_argument("--seed", type=int, default=plan.seed)
    parser.add_argument("--device", default=plan.device)
    parser.add_argument("--rate", type=float, default=1.0, help="of the plan's learning rates (default: 1)")
    parser.add_argument("--mixed", action=argparse.BooleanOptionalAction, default=plan.mixed)

    def planned(args: argparse.Namespace) -> Plan:
        return replace(
            plan, steps=args.steps, seed=args.seed, device=args.device, mixed=args.mixed,
            learning_rate=args.rate * plan.learning_rate, matrix_rate=args.rate * plan.matrix_rate,
        )  # fmt: skip

    return parser, planned
