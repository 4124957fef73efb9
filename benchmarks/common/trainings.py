"""How the benchmarks train: resumable, with records that hold the time of a whole training."""

import argparse
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode

from benchmarks.common.records import read_record, write_record
from d2road.config import default_argument_parser, setup_cfg
from d2road.engine import Trainer, setup


@dataclass(frozen=True)
class Schedule:
    """What all trainings of a comparison have in common.

    Args:
        bench: folder of their records and start of the names of their outputs; config: their file.
    """

    bench: str
    config: str


def train_to_end(cfg: CfgNode, config: str) -> tuple[int, dict]:
    """Train from the start or from the last checkpoint of OUTPUT_DIR.

    Args:
        config: the file that `cfg` came from.
    Returns:
        the first step of this run, results of the evaluation at the end.
    """
    setup(cfg, argparse.Namespace(eval_only=False, config_file=config))
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    return trainer.start_iter, trainer.train()


def train_once(cfg: CfgNode, config: str, bench: str, name: str, command: str, **more: Any) -> Path:
    """Train unless there is a final checkpoint, and keep a record of the training.

    Args:
        bench, name: of the record.
        command: as a user would type it.
        more: further entries of the record.
    Returns:
        the final checkpoint.
    """
    weights = Path(cfg.OUTPUT_DIR) / "model_final.pth"
    if not weights.is_file():
        train_to_end(cfg, config)
    if read_record(bench, name) is None:
        lines = [json.loads(line) for line in (weights.parent / "metrics.json").read_text().splitlines()]
        losses = [line["total_loss"] for line in lines if "total_loss" in line]
        times = [line["time"] for line in lines if "time" in line] or [0.0]  # not measured in the first three steps
        write_record(
            bench, name, config=config, seed=cfg.SEED, command=command,
            metrics={"total_loss": losses[-1], "steps": cfg.SOLVER.MAX_ITER},
            seconds=float(np.mean(times)) * cfg.SOLVER.MAX_ITER,
            **more,
        )  # fmt: skip
    return weights


@contextmanager
def separate_logs() -> Iterator[None]:
    """End the logs that are started inside, so that of several trainings in a process each has its own."""
    before = {name: list(logging.getLogger(name).handlers) for name in _own_names()}
    try:
        yield
    finally:
        for name in _own_names():
            log = logging.getLogger(name)
            for handler in [handler for handler in log.handlers if handler not in before.get(name, ())]:
                log.removeHandler(handler)


def _own_names() -> list[str]:
    """Names of all loggers that are nobody's child; `setup` gives handlers to these."""
    return [name for name in logging.root.manager.loggerDict if "." not in name]


def config_on(config: str, data: str, more: Sequence[str] = ()) -> CfgNode:
    """A config that trains and is evaluated on the same data set, with more KEY VALUE pairs."""
    opts = ["DATASETS.TRAIN", f"('{data}',)", "DATASETS.TEST", f"('{data}',)", *more]
    return setup_cfg(default_argument_parser().parse_args(["--config-file", config, *opts]))
