"""A function over many jobs in several processes."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Protocol, TypeVar

import cv2

from d2road.utils.errors import ConfigError
from d2road.utils.output_dir import read_run_record
from d2road.utils.progress import track


class RecordedJob(Protocol):
    """A job that writes down what it made, last of all."""

    @property
    def record(self) -> Path:
        """The file that says so."""


Job = TypeVar("Job", bound=RecordedJob)


def run_jobs(function: Callable[[Any], Any], jobs: Sequence[Any], workers: int) -> Iterator[Any]:
    """Yield `function(job)` for every job as they come, in any order; 0 or 1 workers run in this process, in order.

    Args:
        function: of a module, so that another process finds it; what it uses up of random numbers must not matter.
    Raises:
        ConfigError: the system killed a worker; without it the others would wait for its job for ever.
    """
    if workers < 2 or len(jobs) < 2:
        yield from map(function, jobs)
        return
    context, others = _process_context(function.__module__), set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(min(workers, len(jobs)), context, _start_worker)
    is_done = False
    try:
        for future in as_completed([pool.submit(function, job) for job in jobs]):
            yield future.result()
        is_done = True
    except BrokenProcessPool as error:
        raise ConfigError(
            f"one of {workers} worker processes was killed, as the system does when memory runs out. What is finished "
            "is kept: run the same command again with fewer --workers"
        ) from error
    finally:
        if not is_done:  # an error or Ctrl-C: nobody waits for jobs that are half done
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
        pool.shutdown(cancel_futures=True)


def run_recorded(
    function: Callable[[Job], Any], jobs: Sequence[Job], workers: int, label: str
) -> tuple[list[Job], list[Any]]:
    """Run the jobs that have no record yet, with progress.

    Args:
        function, workers: as of `run_jobs`.
        label: of the progress.
    Returns:
        the jobs that this call ran; the records of all jobs.
    """
    todo = [job for job in jobs if not job.record.is_file()]
    for _ in track(run_jobs(function, todo, workers), len(jobs), label, already_done=len(jobs) - len(todo)):
        pass
    return todo, [read_run_record(job.record) for job in jobs]


def _process_context(module: str) -> multiprocessing.context.BaseContext:
    """How workers start: never as a copy of this process, which hangs where OpenCV's threads are already running."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


def _start_worker() -> None:
    # One process a core: OpenCV's own threads would only compete with the other workers.
    cv2.setNumThreads(1)
    # Ctrl-C is for the parent, which then ends the pool.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
