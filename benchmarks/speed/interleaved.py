"""Ratios of two programs in one run: candidates take turns, each with the libraries that its user would have.

A row of the table says how many times as fast ours is as what stands beside it, and what was aimed at.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from benchmarks.speed.timing import alternate
from d2road.utils.allocator import keep_freed_pages
from d2road.utils.processor import use_fast_products

Call = Callable[[], Any]


def prepare_process(threads: int) -> None:
    """Threads and allocator of this process, for all candidates."""
    torch.set_num_threads(threads)
    keep_freed_pages()
    use_fast_products()


@contextmanager
def default_products() -> Iterator[None]:
    """Matrix products by the library that PyTorch takes by itself, as for a program that chooses none."""
    setting = torch.backends.mkldnn.matmul
    before = setting.fp32_precision
    setting.fp32_precision = "none"
    try:
        yield
    finally:
        setting.fp32_precision = before


def by_default(call: Call) -> Call:
    """The same call with `default_products`."""

    def run() -> Any:
        with default_products():
            return call()

    return run


def under_autocast(call: Call) -> Call:
    """The same call under plain autocast to bfloat16."""

    def run() -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return call()

    return run


def time_in_turns(calls: Mapping[str, Call], runs: int) -> dict[str, list[float]]:
    """Seconds of each: processor time of one thread, of several threads wall time, which a busy machine blurs."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    with torch.no_grad():
        return alternate(calls, runs, 1, torch.device("cpu"), clock)


def row(what: str, seconds: Mapping[str, list[float]], ours: str, beside: str, aim: float, note: str = "") -> dict:
    """How many times as fast `ours` is as `beside`.

    On one thread the median of the ratios within each turn; on several the ratio of the fastest runs.
    """
    ratios = [b / a for a, b in zip(seconds[ours], seconds[beside], strict=True)]
    one = torch.get_num_threads() == 1
    return {
        "what": what,
        "threads": torch.get_num_threads(),
        "ratio": statistics.median(ratios) if one else min(seconds[beside]) / min(seconds[ours]),
        "low": min(ratios),
        "high": max(ratios),
        "aim": aim,
        "ms": 1000 * (statistics.median if one else min)(seconds[ours]),
        "beside": beside,
        "beside_ms": 1000 * (statistics.median if one else min)(seconds[beside]),
        "note": note,
    }


def product_rows(runs: int, seed: int) -> list[dict]:
    """Rows of float32 matrix products by the library that this project chooses, beside PyTorch's own choice."""
    generator = torch.Generator().manual_seed(seed)
    x, weight = torch.randn(2048, 1024, generator=generator), torch.randn(1024, 1024, generator=generator)
    left, right = torch.randn(300, 49, 256, generator=generator), torch.randn(300, 256, 64, generator=generator)
    products: dict[str, Call] = {
        "product of 2048 x 1024 and 1024 x 1024": lambda: torch.nn.functional.linear(x, weight),
        "300 products of 49 x 256 and 256 x 64": lambda: torch.bmm(left, right),
    }
    found = []
    for what, call in products.items():
        seconds = time_in_turns({"ours": call, "by default": by_default(call)}, 4 * runs)
        found.append(row(what, seconds, "ours", "by default", 1.0))
    return found
