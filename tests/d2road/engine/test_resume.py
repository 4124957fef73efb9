"""A run that is killed, at whatever moment, and resumed ends like one that was not. Real processes, real kills."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.factories.tiny_system import make_data

SCRIPT = Path(__file__).resolve().parents[2] / "factories" / "run_tiny.py"


def command(data: Path, output: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-W", "ignore", str(SCRIPT), "--data", str(data), "--output", str(output), *arguments]


def environment(repo_dir: Path, **extra: str) -> dict[str, str]:
    paths = str(repo_dir)
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **extra}


def run(repo_dir: Path, *args, **extra: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*args), env=environment(repo_dir, **extra), capture_output=True, text=True, timeout=120
    )


def signal_at(repo_dir: Path, marker: str, number: int, delay_s: float, *args) -> tuple[int, str]:
    """Start a run, send it a signal some time after it printed `marker`; its exit code and output."""
    process = subprocess.Popen(
        command(*args),
        env=environment(repo_dir, SLOW="0.1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.strip() == marker:
            time.sleep(delay_s)
            process.send_signal(number)
            break
    rest, _ = process.communicate(timeout=120)
    return process.returncode, "".join(lines) + rest


def assert_same(a, b, where: str = "") -> None:
    """Two checkpoints hold the same, to the bit."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert list(a) == list(b), where
        for key in a:
            assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b)):
            assert_same(x, y, f"{where}[{i}]")
    elif isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and torch.equal(a, b), where
    else:
        assert a == b or (a != a and b != b), f"{where}: {a} != {b}"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("tiny") / "data")


@pytest.fixture(scope="module")
def uninterrupted(repo_dir, data, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("uninterrupted")
    done = run(repo_dir, data, output)
    assert done.returncode == 0, done.stderr
    return output


def load(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def test_killed_three_ways_and_resumed_to_the_bit(repo_dir, data, uninterrupted, tmp_path):
    workers = "DATALOADER.NUM_WORKERS"
    # Killed somewhere after iteration 8, with two data workers.
    code, log = signal_at(repo_dir, "ITER 8", signal.SIGKILL, 0.117, data, tmp_path, workers, "2")
    assert code == -signal.SIGKILL, log
    assert "ITER 17" not in log

    # Resumed without workers; killed in the middle of writing the checkpoint after iteration 17.
    cut = run(repo_dir, data, tmp_path, "--resume", workers, "0", CUT_SAVE="17")
    assert cut.returncode == -signal.SIGKILL, cut.stdout + cut.stderr
    assert re.search(r"Starting training from iteration (6|12)\n", cut.stdout)
    assert "ITER 16\n" in cut.stdout and "ITER 17\n" not in cut.stdout
    assert len(list(tmp_path.glob(".model_0000017.pth.*.tmp"))) == 1  # the half file never got its name
    assert not (tmp_path / "model_0000017.pth").exists()
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000011.pth"

    # The newest checkpoint loses its tail: the one before it is taken, and the run goes to its end.
    newest = tmp_path / "model_0000011.pth"
    newest.write_bytes(newest.read_bytes()[:-100])
    last = run(repo_dir, data, tmp_path, "--resume", workers, "1")
    assert last.returncode == 0, last.stderr
    assert "model_0000011.pth is damaged" in last.stdout and "Starting training from iteration 6" in last.stdout

    assert_same(load(uninterrupted / "model_final.pth"), load(tmp_path / "model_final.pth"))
    assert_same(load(uninterrupted / "model_best.pth"), load(tmp_path / "model_best.pth"))
    assert (uninterrupted / "results.json").read_bytes() == (tmp_path / "results.json").read_bytes()
    assert not list(tmp_path.glob(".*.tmp"))
    iterations = [json.loads(line)["iteration"] for line in (tmp_path / "metrics.json").read_text().splitlines()]
    assert len(iterations) == len(set(iterations)) and max(iterations) == 23


def test_terminated_saves_and_stops(repo_dir, data, uninterrupted, tmp_path):
    code, log = signal_at(repo_dir, "ITER 13", signal.SIGTERM, 0.0, data, tmp_path, "DATALOADER.NUM_WORKERS", "1")
    assert code == 128 + signal.SIGTERM, log
    assert "Stopped by SIGTERM after iteration" in log and "--resume" in log
    stopped = load(tmp_path / (tmp_path / "last_checkpoint").read_text())
    assert 13 <= stopped["iteration"] < 23
    done = run(repo_dir, data, tmp_path, "--resume")
    assert done.returncode == 0, done.stderr
    assert_same(load(uninterrupted / "model_final.pth"), load(tmp_path / "model_final.pth"))
