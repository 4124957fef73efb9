"""Why networks lose to rules on time-space images of traffic: small experiments on validation windows.

python -m benchmarks.traffic.network_study               all experiments that have no record yet, and the table
python -m benchmarks.traffic.network_study --table       the table of what is there
python -m benchmarks.traffic.network_study --only student-density --data datasets/traffic_incidents --incidents 48
    good windows of its training and validation recordings instead, and so many incidents, simulated where they are not

- Nearest neighbours among features of EfficientNet-Lite0 (PatchCore without training) on images with absolute and with
  relative speed, lanes over each other and a panel each.
- A narrow student of the same features, its error on good vehicles and on culprits while it learns: plain, with the
  hard-feature loss, with penalty images; the same three for four times as many steps.
- Both again with density as an input: one more channel of the bank's features, a number that the student is told.
- Windows that show an incident in their middle, and those of the stream's grid.
- A supervised probe of the features of each kind: whether they hold it at all.

Windows are cut from the hours of `python -m benchmarks.traffic.rules_benchmark --seed 1000 --keep-tables`; no test is
opened. The records are benchmarks/results/network_study/.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.common.records import read_record, record_path, write_record
from benchmarks.traffic import study_experiments as experiments
from benchmarks.traffic.rules_benchmark import make_pieces
from benchmarks.traffic.rules_windows import list_pieces
from benchmarks.traffic.study_probe import probe_features
from benchmarks.traffic.study_tables import BENCH, write_tables
from benchmarks.traffic.study_windows import (
    FIT_HOURS,
    HOURS,
    INCIDENTS,
    SEED,
    StudyWindow,
    read_small_study,
    read_study,
)
from d2road.evaluation.results import plain
from d2road.utils.errors import report_errors
from d2road.utils.values import integer_option

SHORT_STEPS, LONG_STEPS = 150, 2400
Experiment = Callable[[Sequence[StudyWindow]], Mapping[str, object]]
# In an order in which those that look at the same images follow each other.
EXPERIMENTS: dict[str, Experiment] = {
    "rules": experiments.score_rules,
    "bank-overlay": lambda windows: experiments.score_bank(windows, "overlay", relative=False),
    "probe-overlay": lambda windows: probe_features(windows, "overlay"),
    "student": lambda windows: experiments.train_student(windows, quantile=0.0),
    "student-hard": lambda windows: experiments.train_student(windows, quantile=0.999),
    "bank-overlay-density": lambda windows: experiments.score_bank_with_density(windows, "overlay"),
    "student-density": experiments.compare_density_student,
    "student-density-short": lambda windows: experiments.compare_density_student(windows, SHORT_STEPS),
    "bank-overlay-relative": lambda windows: experiments.score_bank(windows, "overlay", relative=True),
    "cut": experiments.compare_cuts,
    "bank-stacked": lambda windows: experiments.score_bank(windows, "stacked", relative=False),
    "probe-stacked": lambda windows: probe_features(windows, "stacked"),
    "bank-stacked-density": lambda windows: experiments.score_bank_with_density(windows, "stacked"),
    "bank-stacked-relative": lambda windows: experiments.score_bank(windows, "stacked", relative=True),
    "student-penalty": lambda windows: experiments.train_student(windows, quantile=0.0, penalty=True),
    "student-long": lambda windows: experiments.train_student(windows, quantile=0.0, steps=LONG_STEPS),
    "student-hard-long": lambda windows: experiments.train_student(windows, quantile=0.999, steps=LONG_STEPS),
    "student-penalty-long": lambda windows: experiments.train_student(windows, 0.0, penalty=True, steps=LONG_STEPS),
}


def read_small(data: Path, count: int) -> tuple[list[StudyWindow], str]:
    """The windows of a smaller study, whose incidents are simulated where they are not there, and its arguments."""
    pieces = [p for p in list_pieces(SEED, SEED, FIT_HOURS, HOURS, INCIDENTS) if p.part == "incidents"][:count]
    make_pieces(pieces, np.inf, keep_tables=True)
    return read_small_study(data, pieces), f" --data {data} --incidents {len(pieces)}"


def main(argv: Sequence[str] | None = None) -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS), help="some of them")
    parser.add_argument("--table", action="store_true", help="only the table of what is there")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="traffic_incidents, for a smaller study")
    parser.add_argument("--incidents", type=integer_option(8), default=INCIDENTS, help=f"with --data; {INCIDENTS}")
    args = parser.parse_args(argv)
    todo = [name for name in args.only if read_record(BENCH, name) is None]
    if todo and not args.table:
        windows, chosen = (read_study(), "") if args.data is None else read_small(args.data, args.incidents)
        for name in todo:
            torch.manual_seed(SEED)
            start = time.perf_counter()
            found = EXPERIMENTS[name](windows)
            write_record(
                BENCH, name, metrics=plain(found, "metrics"), config="", seed=SEED,
                command=f"python -m benchmarks.traffic.network_study --only {name}{chosen}",
                seconds=time.perf_counter() - start,
                windows={part: int(np.sum([one.part == part for one in windows])) for part in experiments.PARTS},
            )  # fmt: skip
            print(f"record: {record_path(BENCH, name)}", flush=True)
    print(f"table: {write_tables()}")


if __name__ == "__main__":
    sys.exit(report_errors(main)())
