"""Events in the streams as records: the threshold from good hours, what is found at it, and comparisons.

Letters: E events, R draws.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.common.records import read_record, write_record
from benchmarks.efficientad.anomaly_results import FINAL
from d2road.evaluation.results import plain
from d2road.traffic.events.alarms import alarm_threshold
from d2road.traffic.events.event_metrics import check_events, evaluate_events, find_events
from d2road.utils.bootstrap import draw_weights, percentile_interval
from d2road.utils.errors import ConfigError

EVENTS_RECORD = "events"
# A test, and events, by scores relative to good traffic of the same density.
RELATIVE, RELATIVE_EVENTS = f"{FINAL}_relative", f"{EVENTS_RECORD}_relative"
RATE = 1.0  # false alarms an hour
VEHICLE_BASED = ("rules", "rules_v2", "isolation_forest")  # are given vehicles and not images, so views do not matter
DRAWS, DRAW_SEED = 1000, 0


def evaluate_streams(
    calibration: pd.DataFrame, hours: float, test: pd.DataFrame, events: pd.DataFrame
) -> tuple[dict, pd.DataFrame]:
    """Threshold from the good streams, events at it.

    Args:
        calibration: scored windows of the good recordings. hours: of these.
        test: scored windows of the streams with `events`.
    Returns:
        as `event_metrics.evaluate_events`, with "calibration" {"hours", "false_alarms", "rate"}; the events
        with found, delay.
    """
    threshold, alarms = alarm_threshold(calibration, hours, RATE)
    events = check_events(events)
    metrics = evaluate_events(test, events, threshold, draws=DRAWS, seed=DRAW_SEED)
    metrics["calibration"] = {"hours": hours, "false_alarms": alarms, "rate": RATE}
    return metrics, find_events(test, events, threshold)


def record_events(bench: str, name: str, metrics: dict, found: pd.DataFrame, start: float, **about: object) -> None:
    """Keep them: the figures, and for comparisons what was found of each event.

    Args:
        name: of the run and the record, "RUN/events".
        about: command, config, seed and further entries.
    """
    order = found.sort_values(["recording", "onset"], kind="stable")
    write_record(
        bench, name, metrics=plain(metrics, "metrics"), seconds=time.perf_counter() - start,
        events={
            "recording": [str(value) for value in order["recording"]],
            "kind": [str(value) for value in order["kind"]],
            "found": [bool(value) for value in order["found"]],
        },
        **about,
    )  # fmt: skip


def read_events_record(bench: str, name: str, test: str = FINAL) -> dict | None:
    """The record of a run's events by the scores of a test, FINAL or RELATIVE, or None."""
    return read_record(bench, f"{name}/{RELATIVE_EVENTS if test == RELATIVE else EVENTS_RECORD}")


def recall_difference(a: Sequence[dict], b: Sequence[dict]) -> tuple[float, list[float]]:
    """Recall of `b` less that of `a`, each the mean over seeds, with its 95 % interval over the events, drawn alike.

    Args:
        a, b: records of one or more seeds.
    Raises:
        ValueError: they are of other events.
    """
    kinds = a[0]["events"]["kind"]
    if any(record["events"][name] != a[0]["events"][name] for record in (*a, *b) for name in ("recording", "kind")):
        raise ConfigError("recalls of other events cannot be compared: repeat one of the runs")
    sides = [np.mean([record["events"]["found"] for record in records], axis=0) for records in (a, b)]
    weights = draw_weights(kinds, DRAWS, DRAW_SEED)
    draws = weights @ (sides[1] - sides[0]) / weights.sum(axis=1)
    return float(sides[1].mean() - sides[0].mean()), percentile_interval(draws)


def scores_path(bench: str, name: str, part: str) -> Path:
    """Where the scores of windows are kept, so that a table needs no second run: below output/."""
    return Path("output/bench") / bench / name / f"scores_{part}.csv"
