"""Where SUMO is, and how it is started: as a program of its own, controlled over TraCI where something has to happen.

SUMO comes with `pip install eclipse-sumo`, which holds its programs and its Python modules.
"""

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CURE = 'install it with pip install "d2road[traffic]" (eclipse-sumo), or set SUMO_HOME to where it is'
STARTS = 5
START_S = 60.0  # a busy machine may need some


def sumo_home() -> Path | None:
    """SUMO's folder with `bin` and `tools`: the installed package's, or $SUMO_HOME; None without either."""
    found = importlib.util.find_spec("sumo")
    if found is not None and found.origin is not None:
        return Path(found.origin).parent
    home = os.environ.get("SUMO_HOME", "")
    return Path(home) if home and Path(home).is_dir() else None


def program_path(name: str) -> Path:
    """The file of one of SUMO's programs.

    Raises:
        FileNotFoundError: it is not installed; the message says how to get it.
    """
    home = sumo_home()
    inside = home / "bin" / name if home else None
    path = str(inside) if inside and inside.is_file() else shutil.which(name)
    if path is None:
        raise FileNotFoundError(f"{name}, a program of SUMO, was not found: {CURE}")
    return Path(path)


def run_program(name: str, words: Sequence[str], folder: Path) -> None:
    """Run one of SUMO's programs to its end, in a folder.

    Raises:
        FileNotFoundError: it is not installed.
        subprocess.CalledProcessError: it failed; `stderr` holds what it said.
    """
    command = [str(program_path(name)), *map(str, words)]
    subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=True)


@contextmanager
def controlled(words: Sequence[str], folder: Path) -> Iterator[Any]:
    """Start `sumo` under the control of TraCI.

    Yields:
        a connection of the module `traci`; closed, and SUMO ended, afterwards.
    Raises:
        FileNotFoundError: SUMO is not installed.
        RuntimeError: it does not start; holds the end of what it said.
    """
    traci = _traci()
    command = [str(program_path("sumo")), *map(str, words)]
    with open(folder / "sumo.log", "w+") as log:
        for attempt in range(STARTS):
            port = _free_port()
            process = subprocess.Popen(
                [*command, "--remote-port", str(port)], cwd=folder, env=environment(), stdout=log, stderr=log
            )
            connection = _connect(traci, port, process)
            log.seek(0)
            # Another process may have taken the port between its choice and SUMO's start, or the one connection that
            # SUMO waits for.
            if connection is not None or "port" not in log.read().lower() or attempt == STARTS - 1:
                break
            process.kill()
            process.wait()
        try:
            if connection is None:
                log.seek(0)
                raise RuntimeError(f"SUMO did not start: {log.read()[-500:].strip() or 'it says nothing'}")
            yield connection
            connection.close()
        finally:
            if process.poll() is None:  # an error ended the block; told to terminate, SUMO waits for its client
                process.kill()
            process.wait()


def _connect(traci: Any, port: int, process: subprocess.Popen) -> Any | None:
    """A connection as soon as SUMO listens; None if it ends before, or takes too long."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            # Without its own retries, which wait for long and talk.
            return traci.connect(port, numRetries=0, proc=process)
        except (traci.exceptions.TraCIException, traci.exceptions.FatalTraCIError):
            time.sleep(0.02)
    return None


def _traci() -> Any:
    home = sumo_home()
    if importlib.util.find_spec("traci") is None:
        tools = home / "tools" if home else None
        if tools is None or not (tools / "traci").is_dir():
            raise FileNotFoundError(f"traci, SUMO's interface for Python, was not found: {CURE}")
        sys.path.append(str(tools))
    import traci

    return traci


def environment() -> dict[str, str]:
    """What SUMO's programs find in their environment."""
    home = sumo_home()
    return {**os.environ, **({"SUMO_HOME": str(home)} if home else {})}


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
