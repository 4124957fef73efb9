"""Programs end with a line where their user erred, and with a traceback where they did themselves."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from d2road.data.build import SeededMap
from d2road.utils.errors import DEBUG, ConfigError, D2RoadError, DataError, is_user_error, report_errors


def in_words(kind: type[Exception] = DataError, words: str = "size is 3, expected 2"):
    """A function that refuses something."""

    def refuse():
        raise kind(words)

    return refuse


def caught(action) -> Exception:
    with pytest.raises(Exception) as info:
        action()
    return info.value


@pytest.mark.parametrize(
    "action",
    [
        in_words(),
        in_words(D2RoadError),
        in_words(ConfigError),
        in_words(FileNotFoundError),
        lambda: open("/nowhere/at/all"),  # noqa: SIM115
        lambda: Path("/").read_text(),
        lambda: b"\xff".decode("utf-8"),
        lambda: json.loads("{"),
    ],
)
def test_errors_of_a_user(action, capsys):
    assert is_user_error(caught(action))
    assert report_errors(action)() == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and said.err.count("\n") == 1 and not said.out


@pytest.mark.parametrize(
    "action",
    [
        lambda: np.zeros(3) + np.zeros(2),  # ValueError in C
        lambda: torch.optim.SGD([torch.zeros(1)], lr=-1.0),  # ValueError that torch raises
        lambda: int("a"),
        in_words(ValueError),
        in_words(KeyError),
        in_words(RuntimeError),
    ],
)
def test_errors_of_the_program_keep_their_traceback(action):
    error = caught(action)
    assert not is_user_error(error)
    with pytest.raises(type(error)):
        report_errors(action)()


def test_debugging_keeps_all_tracebacks(monkeypatch):
    monkeypatch.setenv(DEBUG, "1")
    with pytest.raises(ValueError, match="expected 2"):
        report_errors(in_words())()


def test_exit_codes_and_arguments():
    assert report_errors(lambda code: code)(3) == 3
    assert report_errors(lambda: {"bbox": {"AP": 1.0}})() == 0
    assert report_errors(lambda: None)() == 0


def test_words_come_through_workers_of_a_loader(capsys):
    refuse = in_words(words="image a.png is cut off\nfetch it again")
    loader = DataLoader(
        SeededMap([{"file_name": "a.png"}], lambda record: refuse()), sampler=[(0, 1)], batch_size=1, num_workers=1
    )
    with pytest.raises(DataError, match="Original Traceback"):
        next(iter(loader))
    assert report_errors(lambda: next(iter(loader)))() == 2
    assert capsys.readouterr().err == "error: image a.png is cut off\nfetch it again\n"


@pytest.mark.parametrize("processes", ["1", "2"])
def test_train_net_tells_in_a_line(warm_process, repo_dir, tmp_path, processes):
    line = [str(repo_dir / "train_net.py"), "--num-gpus", processes, "--dist-url", "auto", "--config-file"]
    line += ["configs/efficientad/own_images.yaml", "OUTPUT_DIR", str(tmp_path), "MODEL.EFFICIENT_AD.SIZE", "huge"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = warm_process.run(line, environment)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("error: ") == 1 and "Traceback" not in done.stderr + done.stdout
    assert "MODEL.EFFICIENT_AD.SIZE is 'huge': choose one of " in done.stderr
    if processes == "1":
        environment[DEBUG] = "1"
        done = subprocess.run([sys.executable, *line], cwd=repo_dir, env=environment, capture_output=True, text=True)
        assert done.returncode == 1 and "Traceback" in done.stderr


@pytest.mark.parametrize("lines", [3, 100_000])  # within the buffer of a pipe, and beyond
def test_a_reader_who_has_enough_is_no_error(lines, repo_dir):
    """As `d2road VERB | head`: no traceback, and the exit code of a program that SIGPIPE ended."""
    code = (
        "import sys, time\nfrom d2road.utils.errors import report_errors\n"
        f"def main():\n    print('first', flush=True)\n    sys.stdin.read()\n    print('more\\n' * {lines})\n"
        "sys.exit(report_errors(main)())"
    )
    command = [sys.executable, "-c", code]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=repo_dir, text=True, **pipes) as process:
        assert process.stdout.readline() == "first\n"
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == "" and process.wait() == 141


def test_other_broken_pipes_stay_errors():
    with pytest.raises(BrokenPipeError):
        report_errors(in_words(BrokenPipeError))()
