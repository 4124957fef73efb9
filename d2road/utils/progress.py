"""Progress as plain lines: readable in a terminal, in a log file and through a pipe."""

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from datetime import timedelta
from typing import TypeVar

T = TypeVar("T")


def format_progress(label: str, done: int, total: int, elapsed_s: float, already_done: int = 0) -> str:
    """One progress line, as "label 120/500 24% 14.8/s eta 0:00:26".

    Args:
        label: what is being counted.
        done: items finished, those of an earlier run included.
        total: items in all; 0 is allowed and gives 100 %.
        elapsed_s: seconds of this run.
        already_done: items of `done` that an earlier run finished; they do not count in the rate.
    """
    percent = 100 * done // total if total else 100
    rate = (done - already_done) / elapsed_s if elapsed_s > 0 else 0.0
    eta = str(timedelta(seconds=round((total - done) / rate))) if rate > 0 else ("0:00:00" if done >= total else "?")
    return f"{label} {done}/{total} {percent}% {rate:.1f}/s eta {eta}"


def track(
    iterable: Iterable[T],
    total: int | None = None,
    label: str = "",
    every_s: float = 5.0,
    already_done: int = 0,
    log: Callable[[str], None] | None = None,
) -> Iterator[T]:
    """Pass items through and report how far it is: at most one line every `every_s` seconds, and one at the end.

    Args:
        iterable: what to go through.
        total: number of items in all; `len(iterable) + already_done` if not given.
        label: what is being counted.
        every_s: seconds between lines.
        already_done: items that an earlier run finished and `iterable` leaves out.
        log: where lines go; `print` if not given, a logger's `info` for instance.
    Raises:
        ValueError: no total, and the iterable has no length.
    """
    if total is None:
        if not isinstance(iterable, Sized):
            raise ValueError("track: the iterable has no length; pass total=")
        total = len(iterable) + already_done
    return _report(iterable, total, label, every_s, already_done, log or _print_line)


def _report(
    iterable: Iterable[T], total: int, label: str, every_s: float, already_done: int, log: Callable[[str], None]
) -> Iterator[T]:
    start = last = time.monotonic()
    done = already_done
    for item in iterable:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= every_s and done < total:
            log(format_progress(label, done, total, now - start, already_done))
            last = now
    log(format_progress(label, done, total, time.monotonic() - start, already_done))


def _print_line(line: str) -> None:
    print(line, flush=True)
