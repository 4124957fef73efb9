"""Timing on any device: stages, alternating runs, peak memory."""

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from benchmarks.common.process_memory import MEGABYTE, peak_mb

Name = TypeVar("Name", bound=Hashable)  # of a candidate


def synchronize(device: torch.device) -> None:
    """Wait for the work that was given to a GPU; nothing to do on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Stopwatch:
    """Adds up the seconds that named parts take.

    Example:
        watch = Stopwatch(device)
        model.features = watch.timed("backbone", model.features)
        model(images)
        watch.seconds["backbone"]
    """

    def __init__(self, device: torch.device, clock: Callable[[], float] = time.perf_counter):
        self.device, self.clock = device, clock
        self.seconds: dict[str, float] = {}

    def run(self, name: str, function: Callable, *args: Any, **kwargs: Any) -> Any:
        """Call a function and add its time to a part."""
        synchronize(self.device)
        start = self.clock()
        result = function(*args, **kwargs)
        synchronize(self.device)
        self.seconds[name] = self.seconds.get(name, 0.0) + self.clock() - start
        return result

    def timed(self, name: str, function: Callable) -> Callable:
        """The same function, whose time is added to a part in each call."""
        return lambda *args, **kwargs: self.run(name, function, *args, **kwargs)


def median_parts(run: Callable[[], Mapping[str, float]], runs: int, warmup: int) -> dict[str, float]:
    """Median of each number that `run` returns."""
    for _ in range(warmup):
        run()
    results = [run() for _ in range(runs)]
    return {name: statistics.median(result.get(name, 0.0) for result in results) for name in results[0]}


def alternate(
    candidates: Mapping[Name, Callable[[], Any]],
    runs: int,
    warmup: int,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Name, list[float]]:
    """Seconds of each run of each candidate, in turns A B A B, so that a change of the machine's load hits all."""
    watch = Stopwatch(device, clock)
    seconds: dict[Name, list[float]] = {name: [] for name in candidates}
    for number in range(warmup + runs):
        for name, function in candidates.items():
            watch.seconds.clear()
            watch.run(name, function)
            if number >= warmup:
                seconds[name].append(watch.seconds[name])
    return seconds


def compare(seconds: Mapping[Name, list[float]], reference: Name) -> dict[Name, dict[str, float]]:
    """For each candidate the median in milliseconds, and how many times as long the reference took.

    `ratio` is the median of the ratios within each turn, `ratio_best` that of the fastest runs.
    """
    rows = {}
    for name, own in seconds.items():
        ratios = [a / b for a, b in zip(seconds[reference], own)]
        rows[name] = {
            "ms": 1000 * statistics.median(own),
            "ms_best": 1000 * min(own),
            "ratio": statistics.median(ratios),
            "ratio_low": min(ratios),
            "ratio_high": max(ratios),
            "ratio_best": min(seconds[reference]) / min(own),
        }
    return rows


def reset_peak_memory(device: torch.device) -> None:
    """Start a new measurement of peak memory (on a CPU under Linux; elsewhere it is that of the whole process)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory_mb(device: torch.device) -> float:
    """Largest memory since the last reset: tensors on a GPU, the whole process (resident) on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MEGABYTE
    return peak_mb()
