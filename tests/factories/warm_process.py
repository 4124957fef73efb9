"""Programs that need no start: forked from a process that has imported PyTorch and the systems, and does nothing else.

    with WarmProcess() as warm:
        program = warm.start(["script.py", "--option"], env={...})
        program.stdout.readline()
        program.send_signal(signal.SIGTERM)
        program.communicate()
        program.returncode

A program is a real process with its own files, signals, random numbers and exit code, and ends as Python does. Of a
process started by hand it differs in what was imported before, and in that all programs of one WarmProcess hash
strings alike. So a test that compares two programs, or resumes one by another, starts one of them by hand.
"""

import json
import os
import random
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
TASKS = Path("/proc/self/task")  # of Linux
IMPORTS = "import d2road.engine, diffusion_det, efficientad, mono3dvg, d2road.config as c; c.make_cfg()"
SERVER = IMPORTS + "; import sys; from tests.factories.warm_process import serve; serve(int(sys.argv[1]))"


class WarmProgram:
    """A started program; like `subprocess.Popen`, with text of both streams."""

    def __init__(self, pid: int, stdout: IO[str], stderr: IO[str], server: "WarmProcess"):
        self.pid, self.stdout, self.stderr, self._server = pid, stdout, stderr, server
        self.returncode: int | None = None

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout_s: float = 600.0) -> tuple[str, str]:
        """What it still says, once it has ended; its group is killed after some time."""
        late = threading.Timer(timeout_s, os.killpg, (self.pid, signal.SIGKILL))
        late.start()
        said: list[str] = []
        reader = threading.Thread(target=lambda: said.append(self.stderr.read()))
        reader.start()
        rest = self.stdout.read()
        reader.join()
        self.returncode = self._server.ask({"wait": self.pid})
        late.cancel()
        self.stdout.close()
        self.stderr.close()
        return rest, said[0]


class WarmProcess:
    """The process that programs are forked from."""

    def __enter__(self) -> "WarmProcess":
        self._socket, other = socket.socketpair()
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-W", "ignore", "-c", SERVER, str(other.fileno())]
        self._process = subprocess.Popen(command, env=env, cwd=ROOT, pass_fds=[other.fileno()])
        other.close()
        self._answers = self._socket.makefile("r")
        return self

    def __exit__(self, *exception: object) -> None:
        self._answers.close()
        self._socket.close()
        self._process.wait()

    def ask(self, question: dict, files: Sequence[int] = ()) -> int:
        socket.send_fds(self._socket, [json.dumps(question).encode()], files)
        return int(self._answers.readline())

    def start(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str | os.PathLike = ROOT,
        join_streams: bool = False,
        largest_file: int | None = None,
    ) -> WarmProgram:
        """Start a script, by its path, in a session and process group of its own.

        Args:
            env: all its environment.
            join_streams: what it says to stderr comes by stdout, too.
            largest_file: bytes that it can write to a file.
        """
        readers, writers = zip(*(os.pipe() for _ in range(2)))
        question = {"argv": list(argv), "env": dict(env), "cwd": os.fspath(cwd), "largest_file": largest_file}
        pid = self.ask(question, [writers[0], writers[0] if join_streams else writers[1]])
        for writer in writers:
            os.close(writer)
        stdout, stderr = (os.fdopen(reader) for reader in readers)
        return WarmProgram(pid, stdout, stderr, self)

    def run(self, argv: Sequence[str], env: Mapping[str, str], **options) -> subprocess.CompletedProcess:
        """Start a script and wait for it."""
        program = self.start(argv, env, **options)
        stdout, stderr = program.communicate()
        assert program.returncode is not None
        return subprocess.CompletedProcess(list(argv), program.returncode, stdout, stderr)


def serve(descriptor: int) -> None:
    """The process itself: forks until the other end is closed; returns to the interpreter's end."""
    with socket.socket(fileno=descriptor) as channel:
        while True:
            message, files, _, _ = socket.recv_fds(channel, 1 << 20, 2)
            if not message:
                return
            question = json.loads(message)
            if "wait" in question:
                _, status = os.waitpid(question["wait"], 0)
                answer = os.waitstatus_to_exitcode(status)
            else:
                if TASKS.is_dir() and len(os.listdir(TASKS)) != 1:
                    raise RuntimeError("a thread runs, which no forked program would have")
                answer = os.fork()
                if not answer:
                    break
                for file in files:
                    os.close(file)
            channel.sendall(f"{answer}\n".encode())
    _become(question, files)


def _become(question: dict, files: Sequence[int]) -> None:
    """The child: a program like any other."""
    import numpy as np
    import torch

    os.setsid()
    for file, place in zip(files, (1, 2)):
        os.dup2(file, place)
    for file in set(files):
        os.close(file)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.chdir(question["cwd"])
    os.environ.clear()
    os.environ.update(question["env"])
    if question["largest_file"] is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (question["largest_file"],) * 2)
    random.seed()
    np.random.seed()
    torch.seed()
    sys.argv = question["argv"]
    runpy.run_path(sys.argv[0], run_name="__main__")
