"""The lock on an output folder: one process at a time, released however that ends."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from d2road.cli.make_data import main as make_data
from d2road.utils.run_lock import LOCK_NAME, FolderInUseError, lock_folder

# Takes the lock, starts a child that outlives it, says so and waits.
HOLDER = """
import os, sys, time
from d2road.utils.run_lock import lock_folder
with lock_folder(sys.argv[1], "training"):
    if not os.fork():
        print("held", flush=True)  # by the child, which has forgotten the lock by then
        time.sleep(60)
        os._exit(0)
    time.sleep(60)
"""


def test_another_process_is_refused_and_a_kill_releases(tmp_path, repo_dir, capsys):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=repo_dir,
        start_new_session=True,
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(FolderInUseError) as caught, lock_folder(tmp_path, cure="choose another OUTPUT_DIR"):
            pass
        place = f"another training (process {holder.pid} on {socket.gethostname()}, since 20"
        assert place in str(caught.value) and "choose another OUTPUT_DIR" in str(caught.value)
        assert make_data(["fastener-kit", "--output", str(tmp_path), "--train", "2"]) == 2
        assert place in capsys.readouterr().err and [path.name for path in tmp_path.iterdir()] == [LOCK_NAME]
        holder.send_signal(signal.SIGKILL)  # its child lives on, as a data-loader worker would for a while
        holder.wait()
        with lock_folder(tmp_path):
            pass
    finally:
        os.killpg(holder.pid, signal.SIGKILL)
        holder.stdout.close()
    assert not list(tmp_path.iterdir())


def test_nested_in_one_process(tmp_path):
    with lock_folder(tmp_path, "training"):
        with lock_folder(tmp_path / ".." / tmp_path.name, "evaluation"):
            pass
        held = json.loads((tmp_path / LOCK_NAME).read_text())
        assert held["pid"] == os.getpid() and held["what"] == "training"
    assert not (tmp_path / LOCK_NAME).exists()


def test_a_file_system_without_locks_is_said_and_used(tmp_path, monkeypatch, caplog):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with lock_folder(tmp_path):
        assert "without locks" in caplog.text


def test_a_claim_of_another_machine_is_said(tmp_path, caplog):
    """By hand: a lock that does not reach across machines needs two of them."""
    claim = {"pid": 1, "host": "elsewhere", "since": time.strftime("%Y"), "what": "training"}
    (tmp_path / LOCK_NAME).write_text(json.dumps(claim))
    with lock_folder(tmp_path):
        assert "process 1 on elsewhere" in caplog.text
