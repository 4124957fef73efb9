"""The real program `d2road train` on a small DiffusionDet, started, hurt and compared."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from d2road.synthetic.roadside import make_toy_roadside

CONFIG = "configs/diffusion_det/Base-Small.yaml"
OPTIONS = (
    "MODEL.TIMM.WEIGHTS", "", "MODEL.FPN.OUT_CHANNELS", "16", "MODEL.DiffusionDet.HIDDEN_DIM", "16",
    "MODEL.DiffusionDet.NHEADS", "2", "MODEL.DiffusionDet.DIM_FEEDFORWARD", "32", "MODEL.DiffusionDet.DIM_DYNAMIC", "4",
    "MODEL.DiffusionDet.NUM_HEADS", "1", "MODEL.DiffusionDet.NUM_PROPOSALS", "10",
    "MODEL.DiffusionDet.TEST_NUM_PROPOSALS", "-1", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.MAX_ITER", "24",
    "SOLVER.CHECKPOINT_PERIOD", "3", "TEST.EVAL_PERIOD", "8", "INPUT.MIN_SIZE_TRAIN", "(96,)",
    "INPUT.MIN_SIZE_TEST", "96", "SEED", "1",
)  # fmt: skip
STARTED = "Starting training from iteration"
TRAINING_S = 4.0  # from there to the end, with checkpoints and evaluations
LIMIT_S = 180.0


@dataclass
class Program:
    """How the training is started.

    Attributes:
        data: folder of toy images. log: of all runs, for looking into failures.
        environment: of the processes, beyond this one's.
    """

    data: Path
    log: Path
    environment: dict[str, str] = field(default_factory=dict)

    def command(self, output: Path, *arguments: str) -> list[str]:
        """`d2road train` into `output`; further options and KEY VALUE pairs behind."""
        flags = [a for a in arguments if a.startswith("--")]
        sets = []
        for key, split in (("DATASETS.TRAIN", "train"), ("DATASETS.TEST", "val")):
            sets += [key, f"('coco:{self.data}/annotations/instances_{split}.json:{self.data}',)"]
        pairs = [a for a in arguments if not a.startswith("--")]
        line = [sys.executable, "-W", "ignore", "-m", "d2road.cli.train", "--config-file", CONFIG]
        return [*line, "--output", str(output), *flags, *OPTIONS, *sets, *pairs]

    def start(self, output: Path, *arguments: str, before: Callable[[], Any] | None = None) -> "subprocess.Popen[str]":
        """Start it in a process group of its own; its words can be read, and go to the log."""
        return subprocess.Popen(
            self.command(output, *arguments), env={**os.environ, "OMP_NUM_THREADS": "1", **self.environment},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, preexec_fn=before,
        )  # fmt: skip

    def run(self, output: Path, *arguments: str, before: Callable[[], Any] | None = None) -> tuple[int, str]:
        """Exit code and words of a whole run."""
        process = self.start(output, *arguments, before=before)
        return self.finish(process)

    def finish(self, process: "subprocess.Popen[str]", words: str = "") -> tuple[int, str]:
        """Exit code and all words of a process that was started; `words` were read already."""
        try:
            rest, _ = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            rest = process.communicate()[0] + "\n(did not end)"
        with open(self.log, "a", encoding="utf-8") as log:
            log.write(f"{words}{rest}\n--- exit code {process.returncode}\n")
        return process.returncode, words + rest

    def signal_after(
        self, process: "subprocess.Popen[str]", marker: str, delay_s: float, number: int, group: bool
    ) -> tuple[int, str]:
        """Send a signal some time after a line with `marker`; exit code and words."""
        words = ""
        assert process.stdout is not None
        for line in process.stdout:
            words += line
            if marker in line:
                time.sleep(delay_s)
                os.killpg(process.pid, number) if group else process.send_signal(number)
                break
        return self.finish(process, words)


def prepare(folder: Path) -> Program:
    """Toy data and an uninterrupted run, `folder`/whole, unless they are there."""
    data = folder / "toy"
    make_toy_roadside(data, train=8, val=2, workers=1)
    program = Program(data, folder / "log.txt")
    if not (folder / "whole" / "model_final.pth").is_file():
        code, words = program.run(folder / "whole")
        if code:
            raise RuntimeError(f"the run without faults failed with exit code {code}:\n{words[-3000:]}")
    return program


def same(one: Any, other: Any) -> bool:
    """Whether two contents of checkpoints are equal to the bit."""
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return bool(one == other or (one != one and other != other))


def same_checkpoints(one: Path, other: Path) -> bool:
    """Whether two checkpoints hold the same, apart from the identity of their runs."""
    if not (one.is_file() and other.is_file()):
        return False
    first, second = (torch.load(path, weights_only=True) for path in (one, other))
    return same({**first, "run": None}, {**second, "run": None})
