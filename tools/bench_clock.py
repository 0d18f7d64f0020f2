"""Seconds and bytes of a run, as `tools/bench.py` reports them."""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch


@dataclass(frozen=True)
class Run:
    """seconds: that passed. cpu_seconds: that this process computed, whatever else the machine did."""

    seconds: float
    cpu_seconds: float


def measure(run: Callable[[], object], device: torch.device, repeats: int) -> tuple[Run, list[Run]]:
    """A first run, and every repeat after it."""
    first, *rest = (_timed(run, device) for _ in range(1 + repeats))
    return first, rest


def _timed(run: Callable[[], object], device: torch.device) -> Run:
    start, start_cpu = time.perf_counter(), time.process_time()
    run()
    wait_for(device)
    return Run(time.perf_counter() - start, time.process_time() - start_cpu)


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def times(kind: str, first: Run, rest: list[Run], device: torch.device) -> dict[str, object]:
    """What is reported of the runs of a kind, whose name stands before each figure's."""
    seconds = [run.seconds for run in rest]
    figures: dict[str, object] = {
        f"{kind}first s": first.seconds, f"{kind}median s": median(seconds),
        f"{kind}min s": min(seconds), f"{kind}max s": max(seconds),
    }  # fmt: skip
    if device.type == "cpu":
        figures[f"{kind}CPU s"] = median(run.cpu_seconds for run in rest)
    return figures


def forget_peak(device: torch.device) -> None:
    """What was needed so far does not count. (A CPU's peak is the process's, for good.)"""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """On an accelerator, the most its tensors took; on a CPU, the process's peak."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class Clock:
    """A progress, as the commands take one, that notes when each part began and when each item was there."""

    def __init__(self) -> None:
        self.noted: dict[str, list[float]] = {}

    def __call__(self, items: Iterable[Any], total: int | None = None, label: str = "") -> Iterator[Any]:
        noted = self.noted[label] = [time.perf_counter()]
        for item in items:
            noted.append(time.perf_counter())
            yield item

    def item_seconds(self, label: str) -> list[float]:
        """What each item took."""
        return [after - before for before, after in pairwise(self.noted[label])]
