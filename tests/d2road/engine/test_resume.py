"""A run that is killed, at whatever moment, and resumed ends like one that was not. Real processes, real kills.

Runs that are stopped are of `warm_process`; those that resume them and go to the end, and the one that they are
compared with, are processes of their own.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.factories.tiny_system import make_data
from tests.factories.warm_process import ROOT, WarmProcess

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).resolve().parents[2] / "factories" / "run_tiny.py"


def command(data: Path, output: Path, *arguments: str) -> list[str]:
    return [str(SCRIPT), "--data", str(data), "--output", str(output), *arguments]


def environment(repo_dir: Path, **extra: str) -> dict[str, str]:
    paths = str(repo_dir)
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **extra}


def run(repo_dir: Path, *args, **extra: str) -> subprocess.CompletedProcess:
    """A run in a process of its own."""
    words = [sys.executable, "-W", "ignore", *command(*args)]
    return subprocess.run(words, env=environment(repo_dir, **extra), capture_output=True, text=True, timeout=120)


def signal_at(
    warm_process: WarmProcess, marker: str, number: int, delay_s: float, *args, group: bool = False, **extra: str
) -> tuple[int, str]:
    """Start a run, send it, or its whole process group, a signal some time after it printed `marker`.

    Returns:
        its exit code and output.
    """
    env = environment(ROOT, **{"SLOW": "0.1", **extra})
    process = warm_process.start(command(*args), env, join_streams=True)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.strip() == marker:
            time.sleep(delay_s)
            os.killpg(process.pid, number) if group else process.send_signal(number)
            break
    rest, _ = process.communicate()
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
    """A checkpoint without the identity of its run, in which two runs always differ."""
    return {key: value for key, value in torch.load(path, weights_only=True).items() if key != "run"}


def test_killed_three_ways_and_resumed_to_the_bit(warm_process, repo_dir, data, uninterrupted, tmp_path):
    workers = "DATALOADER.NUM_WORKERS"
    # Killed somewhere after iteration 8, with two data workers.
    code, log = signal_at(warm_process, "ITER 8", signal.SIGKILL, 0.117, data, tmp_path, workers, "2")
    assert code == -signal.SIGKILL, log
    assert "ITER 17" not in log

    # Resumed without workers; killed in the middle of writing the checkpoint after iteration 17.
    words = command(data, tmp_path, "--resume", "--verbose", workers, "0")
    cut = warm_process.run(words, environment(repo_dir, CUT_SAVE="17"))
    assert cut.returncode == -signal.SIGKILL, cut.stdout + cut.stderr
    assert re.search(r"Starting training from iteration (6|12)\n", cut.stdout)
    assert "ITER 16\n" in cut.stdout and "ITER 17\n" not in cut.stdout
    assert len(list(tmp_path.glob(".model_0000017.pth.*.tmp"))) == 1  # the half file never got its name
    assert not (tmp_path / "model_0000017.pth").exists()
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000011.pth"

    # The newest checkpoint loses its tail: the one before it is taken, and the run goes to its end.
    newest = tmp_path / "model_0000011.pth"
    newest.write_bytes(newest.read_bytes()[:-100])
    last = run(repo_dir, data, tmp_path, "--resume", "--verbose", workers, "1")
    assert last.returncode == 0, last.stderr
    assert "model_0000011.pth is damaged" in last.stdout and "Starting training from iteration 6" in last.stdout

    assert_same(load(uninterrupted / "model_final.pth"), load(tmp_path / "model_final.pth"))
    assert_same(load(uninterrupted / "model_best.pth"), load(tmp_path / "model_best.pth"))
    assert (uninterrupted / "results.json").read_bytes() == (tmp_path / "results.json").read_bytes()
    assert not list(tmp_path.glob(".*.tmp"))
    iterations = [json.loads(line)["iteration"] for line in (tmp_path / "metrics.json").read_text().splitlines()]
    assert len(iterations) == len(set(iterations)) and max(iterations) == 23


def test_terminated_with_its_group_saves_and_stops(warm_process, repo_dir, data, uninterrupted, tmp_path):
    """As schedulers, containers and `timeout` do: data-loader workers get the signal too."""
    workers = ("DATALOADER.NUM_WORKERS", "2")
    code, log = signal_at(warm_process, "ITER 13", signal.SIGTERM, 0.0, data, tmp_path, *workers, group=True)
    assert code == 128 + signal.SIGTERM and "Traceback" not in log, log
    assert "Stopped by SIGTERM after iteration" in log and "--resume" in log
    stopped = load(tmp_path / (tmp_path / "last_checkpoint").read_text())
    assert 13 <= stopped["iteration"] < 23
    done = run(repo_dir, data, tmp_path, "--resume")
    assert done.returncode == 0, done.stderr
    assert_same(load(uninterrupted / "model_final.pth"), load(tmp_path / "model_final.pth"))


def test_terminated_in_an_evaluation_leaves_it_and_makes_up_for_it(
    warm_process, repo_dir, data, uninterrupted, tmp_path
):
    """After iteration 7, where no checkpoint is due: nobody waits until the evaluation has ended."""
    code, log = signal_at(
        warm_process, "EVAL", signal.SIGTERM, 0.3, data, tmp_path, group=True, SLOW="0", SLOW_EVAL="1"
    )  # fmt: skip
    assert code == 128 + signal.SIGTERM and "Traceback" not in log and log.count("EVAL\n") < 4, log
    assert load(tmp_path / "model_0000007.pth")["trainer"]["hooks"]["Evaluate"]["last_iter"] == -1
    assert not (tmp_path / "results.json").exists()
    done = run(repo_dir, data, tmp_path, "--resume")
    assert done.returncode == 0 and "The evaluation after iteration 7 was not finished" in done.stdout, done.stderr
    assert_same(load(uninterrupted / "model_final.pth"), load(tmp_path / "model_final.pth"))
    assert_same(load(uninterrupted / "model_best.pth"), load(tmp_path / "model_best.pth"))


def test_several_processes_leave_an_evaluation_and_save_together(warm_process, data, tmp_path):
    """The signal reaches the launching process alone, which passes it on."""
    several = (data, tmp_path, "--num-gpus", "2", "--dist-url", "auto", "DATALOADER.NUM_WORKERS", "1")
    slow = {"SLOW": "0", "SLOW_EVAL": "0.5"}
    code, log = signal_at(warm_process, "EVAL", signal.SIGTERM, 0.2, *several, **slow)
    assert code == 128 + signal.SIGTERM and "Traceback" not in log, log
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000007.pth"
    assert len(load(tmp_path / "model_0000007.pth")["trainer"]["rng"]) == 2


def test_a_second_run_in_the_folder_is_refused_and_names_the_first(warm_process, repo_dir, data, tmp_path):
    process = warm_process.start(command(data, tmp_path), environment(repo_dir, SLOW="0.5"))
    try:
        assert any(line.strip() == "ITER 1" for line in process.stdout)
        before = {name: (tmp_path / name).read_bytes() for name in ("config.yaml", "run.json")}
        second = warm_process.run(command(data, tmp_path, "SOLVER.BASE_LR", "0.5"), environment(repo_dir))
        assert second.returncode != 0
        assert f"in use by another training (process {process.pid} on {socket.gethostname()}" in second.stderr
        assert before == {name: (tmp_path / name).read_bytes() for name in before}
    finally:
        process.kill()
        process.communicate()


def test_a_disk_that_is_full_for_logs_costs_no_training(warm_process, repo_dir, data, uninterrupted, tmp_path):
    """/dev/full answers as a full disk does; the metrics that are lost make the run end with an error."""
    for name in ("log.txt", "metrics.json"):
        (tmp_path / name).symlink_to("/dev/full")
    done = warm_process.run(command(data, tmp_path), environment(repo_dir))
    assert f"warning: {tmp_path}/log.txt is not written any more: No space left on device" in done.stderr
    assert "the metrics of the training (JSONWriter) cannot be written" in done.stdout
    assert done.returncode != 0 and "OutputError: the metrics of the training" in done.stderr
    assert "The checkpoints are whole" in done.stderr
    assert_same(load(uninterrupted / "model_final.pth"), load(tmp_path / "model_final.pth"))


def test_a_checkpoint_that_finds_no_space_names_it_and_keeps_the_old_ones(
    warm_process, repo_dir, data, uninterrupted, tmp_path
):
    for name in ("model_0000005.pth", "run.json"):
        shutil.copy(uninterrupted / name, tmp_path)
    before = (tmp_path / "model_0000005.pth").read_bytes()
    words = command(data, tmp_path, "--resume")
    second = warm_process.run(words, environment(repo_dir), largest_file=len(before) - 100)
    assert second.returncode != 0 and f"cannot write {tmp_path}/model_0000011.pth: File too large" in second.stderr
    assert (tmp_path / "model_0000005.pth").read_bytes() == before and not list(tmp_path.glob(".model*"))
