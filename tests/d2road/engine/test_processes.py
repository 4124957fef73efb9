"""Several processes on a CPU, through Detectron2's launch and under torchrun, against one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from detectron2.utils.env import seed_all_rng

from d2road.engine import Trainer, evaluate
from tests.factories.tiny_system import make_data, tiny_cfg

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).resolve().parents[2] / "factories" / "run_tiny.py"
# Without dropout, noise and batch norm, a step depends on its images only, not on who handles them.
PLAIN = (
    "MODEL.TINY.DROPOUT", "0.0", "MODEL.TINY.NORM", "False", "DATALOADER.ASPECT_RATIO_GROUPING", "False",
    "SOLVER.MAX_ITER", "3", "SOLVER.IMS_PER_BATCH", "4",
)  # fmt: skip


def run(repo_dir: Path, launcher: list[str], *arguments: str) -> str:
    paths = str(repo_dir)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *launcher, str(SCRIPT), *arguments],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("tiny") / "data")


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory) -> Path:
    """One process, two micro-batches a step."""
    output = tmp_path_factory.mktemp("alone")
    cfg = tiny_cfg(data, output, *PLAIN, "SOLVER.GRAD_ACCUM_STEPS", 2)
    cfg.freeze()
    seed_all_rng(cfg.SEED)  # the initial weights
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    return output


def assert_close(one: Path, two: Path) -> None:
    a, b = (torch.load(path / "model_final.pth", weights_only=True) for path in (one, two))
    for name in a["model"]:
        torch.testing.assert_close(a["model"][name], b["model"][name], rtol=1e-5, atol=1e-6)
    for name in a["ema"]["weights"]:
        torch.testing.assert_close(a["ema"]["weights"][name], b["ema"]["weights"][name], rtol=1e-5, atol=1e-6)
    assert a["iteration"] == b["iteration"] == 2
    assert len(a["trainer"]["rng"]) == 1 and len(b["trainer"]["rng"]) == 2


def assert_same_evaluation(data: Path, output: Path) -> None:
    """What two processes found with their final weights is exactly what one finds with them."""
    cfg = tiny_cfg(data, output / "again", *PLAIN, "MODEL.WEIGHTS", output / "model_final.pth")
    cfg.freeze()
    evaluate(cfg)
    for name in ("results.json", "inference/coco_instances_results.json"):
        assert json.loads((output / name).read_text()) == json.loads((output / "again" / name).read_text()), name
    assert json.loads((output / "results.json").read_text())["bbox"]["AP50"] > 10


def test_two_processes_through_launch(repo_dir, data, alone, tmp_path):
    arguments = ["--data", str(data), "--output", str(tmp_path), "--num-gpus", "2"]
    url = ["--dist-url", f"tcp://127.0.0.1:{free_port()}"]
    run(repo_dir, [], *arguments, *url, *PLAIN)
    assert_close(alone, tmp_path)
    assert_same_evaluation(data, tmp_path)


def test_two_processes_under_torchrun(repo_dir, data, alone, tmp_path):
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    said = run(repo_dir, launcher, "--data", str(data), "--output", str(tmp_path), *PLAIN)
    assert_close(alone, tmp_path)
    assert_same_evaluation(data, tmp_path)
    # Threads of a process group that outlive it can abort a process on its way out.
    left = [line for line in said.splitlines() if line.startswith("THREADS")]
    assert len(left) == 2 and not any("gloo" in line for line in left), left
