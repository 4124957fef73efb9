"""Running verbs in forked children of a process with the imports loaded, or as whole processes, with a time limit."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Time in which a busy machine does not let a run go on is given back, up to five times the limit.
LIMIT_S = 10.0
LARGEST_OUTPUT = 1 << 28  # bytes that a run may write into one file


@dataclass(frozen=True)
class Outcome:
    """How a run of a verb ended.

    Args:
        code: exit code; -N where signal N ended it, None where it was stopped at the time limit.
        said: what it printed, both streams.
    """

    code: int | None
    said: str
    seconds: float


def run_forked(argv: Sequence[str], folder: Path, log: Path, limit_s: float = LIMIT_S) -> Outcome:
    """Run `d2road ARGV` in `folder` in a child of this process; what it prints goes to `log`."""
    start = time.monotonic()
    child = os.fork()
    if not child:
        _be_child(argv, folder, log)
    code = _wait(child, start, limit_s)
    said = log.read_text("utf-8", "replace") if log.is_file() else ""
    return Outcome(code, said, time.monotonic() - start)


def run_process(argv: Sequence[str], folder: Path, log: Path, root: Path, limit_s: float = 60.0) -> Outcome:
    """Run `d2road ARGV` in `folder` as a process of its own; the package is taken from `root`."""
    start = time.monotonic()
    env = {**os.environ, "PYTHONPATH": str(root)}
    with open(log, "wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "d2road.cli", *argv], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=file,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            code: int | None = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            code = None
    return Outcome(code, log.read_text("utf-8", "replace"), time.monotonic() - start)


def _be_child(argv: Sequence[str], folder: Path, log: Path) -> None:
    """The child: never returns."""
    code = 70
    try:
        os.setsid()
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_OUTPUT, LARGEST_OUTPUT))
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        # pytest has put others there.
        sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
        code = _run(argv)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _run(argv: Sequence[str]) -> int:
    from d2road.cli.__main__ import main

    try:
        return main(list(argv))
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1


def _wait(child: int, start: float, limit_s: float) -> int | None:
    """The exit code of a child, None where it had to be killed; what it started ends with it."""
    pause = 0.002
    while (passed := time.monotonic() - start) < limit_s or passed - min(_held_up(child), 5 * limit_s) < limit_s:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            return os.waitstatus_to_exitcode(status)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _held_up(process: int) -> float:
    """Seconds that a process was ready to run and others had the processor; 0 where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[1]) / 1e9
    return 0.0
