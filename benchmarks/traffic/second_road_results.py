"""Rules of one road on another one: realised rates, recall by kind, what raises the alarms, drift, a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.common.markdown import table, write_page
from benchmarks.traffic.drift_results import evaluate_drift
from benchmarks.traffic.rules_results import RATE, Scored, at_threshold, keep_results, realised
from benchmarks.traffic.rules_windows import Piece, complete_hours, list_pieces, read_events, read_windows
from d2road.traffic.baselines.lasting_features import LASTING_FEATURES
from d2road.traffic.baselines.lasting_rules import DescribedWindows, LastingRules
from d2road.traffic.events.alarms import alarm_threshold
from d2road.traffic.events.event_metrics import check_events
from d2road.traffic.events.rules_stream import PLACE_COLUMNS, GoodTraffic, threshold_of
from d2road.utils.errors import DataError

BENCH = "second_road"
FIRST, UNSEEN, REFITTED, OWN = (
    "first road itself",
    "second road, nothing fitted anew",
    "refitted on 2 h of it, threshold of the first road",
    "refitted on 2 h of it, threshold from them",
)


@dataclass(frozen=True)
class Windows:
    """Windows of a road, by what they are for."""

    rate: pd.DataFrame
    incidents: pd.DataFrame
    events: pd.DataFrame
    hours: int


def describe(windows: pd.DataFrame) -> DescribedWindows:
    """What the rules look at."""
    features = windows[[f"v2_{name}" for name in LASTING_FEATURES]].to_numpy()
    return DescribedWindows(features, windows["v2_density"].to_numpy())


def read_part(pieces: Sequence[Piece], part: str) -> tuple[pd.DataFrame, int]:
    """Windows of the complete hours of a part, and how many these are.

    Raises:
        DataError: there is none.
    """
    hours = list(complete_hours(list(pieces), part))
    if not hours:
        raise DataError(f"not one hour of {part!r} is complete: simulate more of it")
    return read_windows([piece for hour in hours for piece in hour]), len(hours)


def read_road(pieces: Sequence[Piece]) -> Windows:
    """The hours for rates and the incidents of a road."""
    rate, hours = read_part(pieces, "rate")
    incidents = [piece for piece in pieces if piece.part == "incidents" and piece.path.is_file()]
    if not incidents:
        raise DataError("there is no incident: simulate more of them")
    return Windows(rate, read_windows(incidents), check_events(read_events(incidents)), hours)


def evaluate_rules(rules: LastingRules, threshold: float, road: Windows) -> dict[str, object]:
    """What rules find on a road at a threshold, and at the one that has one false alarm an hour there."""
    rate, incidents = (
        part.assign(score=rules.scores_described(describe(part))) for part in (road.rate, road.incidents)
    )
    rarest = rules.by_rule(describe(rate[rate["score"] > threshold])).argmax(axis=1)
    return {
        **judge(replace(road, rate=rate, incidents=incidents), threshold),
        "false_windows_by_rule": {name: int((rarest == i).sum()) for i, name in enumerate(LASTING_FEATURES)},
    }


def judge(road: Windows, threshold: float) -> dict[str, object]:
    """What scored windows of a road say at a threshold, and at the one that has one false alarm an hour there."""
    scored = Scored(road.rate[:0], road.rate, road.incidents)
    equal, _ = alarm_threshold(road.rate, road.hours, RATE, least_hours=0.0)
    return {
        "threshold": threshold,
        "realised": realised(road.rate, road.hours, threshold),
        "calibrated": at_threshold(scored, road.events, threshold),
        "equal_threshold": equal,
        "at_equal_rate": at_threshold(scored, road.events, equal),
    }


def fit_as_stream(windows: pd.DataFrame) -> tuple[LastingRules, float]:
    """Rules and threshold from good traffic, as `d2road score-stream --good` has them."""
    good = GoodTraffic(windows.assign(direction=1)[list(PLACE_COLUMNS)].reset_index(drop=True), describe(windows))
    fit, held_out = good.split()
    rules = LastingRules().fit_described(fit.described)
    return rules, threshold_of(rules, held_out, RATE)[0]


def evaluate(first: Sequence[Piece], second: Sequence[Piece]) -> tuple[dict[str, object], dict[str, object]]:
    """Metrics of what is there, and what they are of."""
    fit, fit_hours = read_part(first, "fit")
    calibrating, hours = read_part(first, "threshold")
    own, _ = read_part(second, "refit")
    roads = {"first": read_road(first), "second": read_road(second)}
    rules = LastingRules().fit_described(describe(fit))
    scores = rules.scores_described(describe(calibrating))
    threshold, _ = alarm_threshold(calibrating.assign(score=scores), hours, RATE, least_hours=0.0)
    refitted, (split, of_split) = LastingRules().fit_described(describe(own)), fit_as_stream(own)
    metrics = {
        FIRST: evaluate_rules(rules, threshold, roads["first"]),
        UNSEEN: evaluate_rules(rules, threshold, roads["second"]),
        REFITTED: evaluate_rules(refitted, threshold, roads["second"]),
        OWN: evaluate_rules(split, of_split, roads["second"]),
    }
    seed = next(piece.job.seed for piece in first if piece.part == "fit")
    others = [piece for piece in list_pieces(seed, seed, fit_hours, 5, 0) if piece.part != "fit"]
    good = sorted(
        (hour for part in ("threshold", "rate") for hour in complete_hours(list(first), part)),
        key=lambda hour: hour[0].job.index,
    )
    drift = evaluate_drift(fit, others, good, list(complete_hours(list(second), "rate")))
    about = {"fit": fit_hours, "threshold": hours, **{name: road.hours for name, road in roads.items()}}
    events = {name: len(road.events) for name, road in roads.items()}
    return {"rules": metrics, "drift": drift}, {"hours": about, "events": events}


def write_results(first: Sequence[Piece], second: Sequence[Piece], seed: int, command: str) -> str:
    """Write the record and the table; returns the record's name."""
    name = f"seed{seed}"
    keep_results(BENCH, name, lambda: evaluate(first, second), write_table, command=command, seed=seed)
    return name


def write_table(path: Path, record: Mapping) -> None:
    """The record as a page."""
    rules, drift, hours = record["metrics"]["rules"], record["metrics"]["drift"], record["hours"]
    about = (
        f"`{record['command']}`; {record['machine']}. Rules fitted on {hours['fit']} h and their threshold from "
        f"{hours['threshold']} h of the first road; rates from {hours['first']} and {hours['second']} h, recall from "
        f"{record['events']['first']} and {record['events']['second']} incidents."
    )
    sections = [["# Rules on a road and drivers that no calibration has seen", "", about], *rate_tables(rules)]
    counts = [
        [name, *(str(one["false_windows_by_rule"][rule]) for rule in LASTING_FEATURES)] for name, one in rules.items()
    ]
    sections.append(
        table("Good windows above the threshold, by their rarest rule", "", ["", *LASTING_FEATURES], counts)
    )
    sections.append(["## Drift", "", *drift_lines(drift)])
    write_page(path, sections)


def rate_tables(rows: Mapping[str, Mapping]) -> list[list[str]]:
    """Sections of rates and recall by kind, at the threshold of each row and at one false alarm an hour."""
    kinds = sorted(next(iter(rows.values()))["calibrated"]["recall_by_kind"])
    sections = []
    for title, key in ((f"Threshold for {RATE:g} an hour", "calibrated"), (f"At {RATE:g} realised", "at_equal_rate")):
        lines = [
            [name, _rate(one) if key == "calibrated" else f"{RATE:g}", _span(one[key]),
             *(f"{one[key]['recall_by_kind'][kind]:.2f}" for kind in kinds)]
            for name, one in rows.items()
        ]  # fmt: skip
        sections.append(table(title, "", ["", "false alarms/h", "event recall", *kinds], lines))
    return sections


def drift_lines(drift: Mapping) -> list[str]:
    """What the watch said, in words."""
    minutes = [one["minutes"] for one in drift["first_reports"] if one]
    told = ", ".join(
        sorted({f"{one['quantity']} {'higher' if one['higher'] else 'lower'}" for one in drift["first_reports"] if one})
    )
    streams = len(drift["first_reports"])
    lines = [
        f"- First road: {drift['false_reports']} false report(s) in {drift['hours_watched']} h, {drift['bound']:.2f} "
        f"by the bound; of the hours of one scenario alone: {drift['false_reports_by_scenario_alone']}.",
        f"- Second road: reported in {len(minutes)} of {streams} streams, each from another hour on.",
    ]
    if minutes:
        lines[-1] += f" After {np.median(minutes):.0f} minutes ({min(minutes):.0f} to {max(minutes):.0f}): {told}."
    return lines


def _rate(one: Mapping) -> str:
    low, high = one["realised"]["interval"]
    return f"{one['realised']['rate']:.2f} ({low:.2f} to {high:.2f})"


def _span(metrics: Mapping) -> str:
    low, high = metrics["intervals"]["recall"]
    return f"{metrics['recall']:.2f} ({low:.2f} to {high:.2f})"
