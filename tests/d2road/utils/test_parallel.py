"""Jobs in several processes."""

import os
import signal

import pytest

from d2road.utils.errors import ConfigError
from d2road.utils.parallel import run_jobs


def square(x: int) -> tuple[int, int]:
    if x < 0:
        raise ValueError(f"{x} is negative")
    return x * x, os.getpid()


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_every_job_is_done_once(workers):
    done = list(run_jobs(square, range(9), workers))
    assert sorted(value for value, _ in done) == [x * x for x in range(9)]
    assert (os.getpid() in {pid for _, pid in done}) == (workers < 2)


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_arrive(workers):
    with pytest.raises(ValueError, match="-1 is negative"):
        list(run_jobs(square, [1, -1], workers))


def end_as_without_memory(x: int) -> int:
    if x == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def test_a_worker_that_the_system_kills_is_told_and_not_waited_for():
    with pytest.raises(ConfigError, match=r"killed, as the system does when memory runs out.*fewer --workers"):
        list(run_jobs(end_as_without_memory, range(4), 2))
