"""FT-AED: crashes on a real motorway, from lane sensors alone: baselines and EfficientAD on images of their speeds.

python -m benchmarks.traffic.ft_aed_benchmark --data nashville_freeway_anomaly.csv --variant patch_pca --seed 1
python -m benchmarks.traffic.ft_aed_benchmark --data nashville_freeway_anomaly.csv --variant linear_attention --seed 1

The first half of the days is what a variant is fitted on, its last day what it is calibrated with; a further quarter
gives the threshold, the rest is the test. Of all but the test only windows count that no report is near. A window is 16
minutes of the whole road. An event lasts from 15 minutes before a report to 15 minutes behind it, as the authors of the
data judge it; it has a time, but no place. Records go to benchmarks/results/ft_aed/.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.common.records import read_record, record_path
from benchmarks.efficientad.anomaly_runs import Run, add_arguments, narrow_teacher, open_run, relative, train
from benchmarks.traffic.event_records import EVENTS_RECORD, evaluate_streams, record_events
from benchmarks.traffic.inspect_recordings import Parts, write_data
from benchmarks.traffic.traffic_benchmark import CONFIGS, TEACHER
from d2road.engine.predictor import Predictor
from d2road.traffic.baselines import BASELINES
from d2road.traffic.events.alarms import WINDOW_COLUMNS, covered_hours
from d2road.traffic.events.window_stream import window_scorer
from d2road.traffic.readers.ft_aed import STEP_S, LaneSensors, read_ft_aed
from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.sensor_image import render_sensors
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.utils.errors import DataError, report_errors
from efficientad.modeling.autoencoder import AUTOENCODERS

BENCH = "ft_aed"
VARIANTS = (*AUTOENCODERS, "pca", "patch_pca")  # the other baselines need vehicles
COLUMNS, STRIDE, FIT_STRIDE = 32, 2, 8  # instants of 30 s
FIT_SHARE, CALIBRATE_SHARE = 0.5, 0.25  # of the days
BATCH = 16

Scores = Callable[[Sequence[TrafficWindow]], Iterable[float]]


@dataclass(frozen=True)
class Days:
    """Days of sensors by what they serve, none for two things: fitting, validation, the threshold, the test."""

    fit: list[LaneSensors]
    validation: list[LaneSensors]
    calibrate: list[LaneSensors]
    test: list[LaneSensors]


def read_days(path: str | Path) -> Days:
    """The days of a file.

    Raises:
        FileNotFoundError, DataError: as `read_ft_aed`, or there are fewer than four.
    """
    days = read_ft_aed(path)
    fit = int(FIT_SHARE * len(days))
    calibrate = max(int(CALIBRATE_SHARE * len(days)), 1)
    if fit < 2 or len(days) - fit - calibrate < 1:
        raise DataError(f"{path} has {len(days)} day(s); expected at least 4 to fit, to calibrate and to test on")
    return Days(days[: fit - 1], days[fit - 1 : fit], days[fit : fit + calibrate], days[fit + calibrate :])


def windows_of(days: Iterable[LaneSensors], stride: int, good: bool) -> Iterator[TrafficWindow]:
    """Windows with images in order of time; t is seconds since a day's first instant.

    Args:
        stride: instants from one to the next.
        good: only those that no report is near.
    """
    for day in days:
        usable = day.good() if good else np.ones(len(day.times), dtype=bool)
        for first in range(0, len(day.times) - COLUMNS + 1, stride):
            if not usable[first : first + COLUMNS].all():
                continue
            image = render_sensors(day, first, COLUMNS)
            t0, t1 = first * STEP_S, (first + COLUMNS) * STEP_S
            s0, s1 = float(day.s[0]), float(day.s[-1])
            yield TrafficWindow(day.day, t0, t1, s0, s1, Trajectories.empty(), image)


def score_days(days: Sequence[LaneSensors], scores: Scores, good: bool) -> pd.DataFrame:
    """Every window of the days with its score: columns of `alarms.WINDOW_COLUMNS`."""
    rows: list[tuple] = []
    windows = windows_of(days, STRIDE, good)
    while part := list(islice(windows, BATCH)):
        rows += [(w.recording, w.t0, w.t1, w.s0, w.s1, float(score)) for w, score in zip(part, scores(part))]
    return pd.DataFrame(rows, columns=list(WINDOW_COLUMNS))


def fit_baseline(days: Days, args: argparse.Namespace) -> Scores:
    """The scores of a baseline fitted on good windows."""
    windows = list(windows_of(days.fit + days.validation, FIT_STRIDE, good=True))
    return BASELINES[args.variant](seed=args.seed).fit(windows).scores


def open_training(days: Days, args: argparse.Namespace) -> Run:
    """The training of an autoencoder on images of good windows, which are written for it."""
    parts = Parts(*(list(windows_of(part, FIT_STRIDE, good=True)) for part in (days.fit, days.validation)), [])
    args.teacher = args.teacher or narrow_teacher(TEACHER, f"{CONFIGS}/teacher.yaml")
    data = write_data(parts, Path("output/bench") / BENCH / "images")
    opts = ["DATASETS.TRAIN", f"('{data}',)", "DATASETS.TEST", "()"]
    arguments = f"--data {args.data} --variant {args.variant}"
    return open_run(BENCH, f"{CONFIGS}/{args.variant}.yaml", args.variant, opts, args, arguments, parts=2)


def trained_scores(run: Run) -> Scores:
    """The scores of the autoencoder of a training."""
    predict = window_scorer(Predictor(run.cfg, str(train(run)), batch_size=4))
    return lambda windows: [score for score, _ in predict(windows)]


def run_variant(args: argparse.Namespace) -> Path:
    """Fit or train a variant, score the days, record the events; returns the path of the record.

    What has a record is left out.
    """
    start, days = time.perf_counter(), read_days(args.data)
    if args.variant in BASELINES:
        run, name, config, about = None, f"{args.variant}_seed{args.seed}", {}, {}
        command = f"python -m benchmarks.traffic.ft_aed_benchmark --data {args.data} --variant {args.variant}"
        command += f" --seed {args.seed}"
    else:
        run = open_training(days, args)
        name, command, about = run.name, run.command, run.about()
        config = {"file": run.config, "keys": " ".join(run.opts)}
    path = record_path(BENCH, f"{name}/{EVENTS_RECORD}")
    if read_record(BENCH, f"{name}/{EVENTS_RECORD}") is not None:
        return path
    scores = fit_baseline(days, args) if run is None else trained_scores(run)
    calibration = score_days(days.calibrate, scores, good=True)
    events = pd.concat([day.events() for day in days.test], ignore_index=True)
    test = score_days(days.test, scores, good=False)
    metrics, found = evaluate_streams(calibration, covered_hours(calibration), test, events)
    # Of those found, against the report: a crash may be seen before somebody reports it.
    delays = found["delay"] - (found["report"] - found["onset"])
    metrics["delay_to_report_s"] = float(delays.median()) if len(found) else float("nan")
    record_events(
        BENCH, f"{name}/{EVENTS_RECORD}", metrics, found, start,
        command=command, config=config, seed=args.seed, **about,
    )  # fmt: skip
    return path


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run what the arguments ask for; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=relative, metavar="FILE", help="nashville_freeway_anomaly.csv")
    parser.add_argument("--variant", choices=VARIANTS, default="patch_pca")
    add_arguments(parser, "those of the config")
    parser.set_defaults(seed=0)
    args = parser.parse_args(argv)
    print(f"record: {run_variant(args)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
