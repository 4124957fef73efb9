"""Overfit check: a training on a few real images, scored on the same ones.

It shows that the parts of a system work together; it says nothing about other images.
"""

import argparse
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from detectron2.config import CfgNode

from benchmarks.common.records import read_record, record_path, write_record
from benchmarks.common.trainings import config_on, train_to_end


@dataclass(frozen=True)
class OverfitCheck:
    """What one system trains on and how it is scored.

    Args:
        bench, name: of the record.
        config: file.
        command: as a user would type it.
        note: what the record says of its metrics.
        dataset: from the folder that the user names to the data set of training and test.
        measure: metrics from the config, that data set and the results {task: {metric: value}} of the training.
        report: lines for the user, from the metrics.
        options: further KEY VALUE pairs of the config, from the data set.
    """

    bench: str
    name: str
    config: str
    command: str
    note: str
    dataset: Callable[[Path], str]
    measure: Callable[[CfgNode, str, dict], dict]
    report: Callable[[dict], Iterable[str]]
    options: Callable[[str], list[str]] = lambda data: []


def run_overfit_check(check: OverfitCheck, description: str | None) -> None:
    """The command of a check: train (or resume) on --data, score on the same images, keep the record."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    args = parser.parse_args()
    if read_record(check.bench, check.name) is not None:
        print(f"done already: {record_path(check.bench, check.name)}")
        return
    data = check.dataset(args.data)
    cfg = config_on(check.config, data, check.options(data))
    start = time.perf_counter()
    resumed_at, results = train_to_end(cfg, check.config)
    metrics = check.measure(cfg, data, results)
    write_record(
        check.bench, check.name, metrics=metrics, config=check.config, command=check.command, seed=cfg.SEED,
        seconds=time.perf_counter() - start, first_step_of_this_run=resumed_at, note=check.note,
    )  # fmt: skip
    for line in check.report(metrics):
        print(line)
    print(f"record: {record_path(check.bench, check.name)}")
