"""This checkout beside an earlier one, in turns: toy detector, a sentence of a grounder, a training step of it.

Each checkout has a process of its own (`revision_worker`), which does one thing when it is told to. The grounders have
the same weights, no dropout and the same inputs; their losses must be equal, or nothing is measured.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.speed.interleaved import row

AIMS = {
    "toy1": 1.5,
    "toy1:bf16": 1.5,
    "toy4": 1.5,
    "toy4:bf16": 1.5,
    "sentence": 1.5,
    "sentence:bf16": 1.5,
    "step": 2.0,
}
NAMES = {"toy1": "toy detector, 448 x 252, 1 step", "toy4": "toy detector, 448 x 252, 4 steps",
         "sentence": "Mono3DVG, one sentence", "step": "Mono3DVG, training step of 2 images"}  # fmt: skip
LOSS = 1e-4  # relative
PROGRAM = f"import sys; sys.path.append({str(Path(__file__).parent)!r}); import revision_worker; revision_worker.main()"


class Worker:
    """A checkout's process.

    Args:
        tree: the checkout. folder: shared with the other one.
    """

    def __init__(self, tree: str, folder: str):
        threads = str(torch.get_num_threads())
        environment = os.environ | {"PYTHONPATH": ".", "OMP_NUM_THREADS": threads}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", PROGRAM, folder, threads], cwd=tree, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def run(self, name: str) -> dict:
        """What the process says of one call."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:  # libraries print as well
            if line.startswith('{"name"'):
                return json.loads(line)
        raise RuntimeError(f"a checkout failed at {name}")

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def rows(runs: int, tree: str) -> list[dict]:
    """Rows of the table.

    Args:
        tree: the earlier checkout.
    Raises:
        RuntimeError: a checkout fails, or the losses of a training step differ.
    """
    clock = "cpu" if torch.get_num_threads() == 1 else "wall"
    found = []
    with tempfile.TemporaryDirectory() as folder:
        workers = {"before": Worker(tree, folder), "now": Worker(str(Path.cwd()), folder)}
        for name, aim in AIMS.items():
            what, _, precision = name.partition(":")
            seconds: dict[str, list[float]] = {side: [] for side in workers}
            for turn in range(runs + 1):
                said = {"before": workers["before"].run(what), "now": workers["now"].run(name)}
                losses = said["before"]["value"], said["now"]["value"]
                if name == "step" and turn < 2 and abs(losses[1] / losses[0] - 1) > LOSS:
                    raise RuntimeError(f"the losses of a training step are {losses[0]} before and {losses[1]} now")
                if turn:
                    for side, answer in said.items():
                        seconds[side].append(answer[clock])
            found.append(
                row(
                    f"{NAMES[what]}, {precision or 'fp32'} beside an earlier revision in fp32",
                    seconds,
                    "now",
                    "before",
                    aim,
                )
            )
        for worker in workers.values():
            worker.close()
    return found
