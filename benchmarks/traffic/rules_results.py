"""Event recall of rules at a rate of false alarms: thresholds, realised rates, curves, paired differences, a table.

Letters: N windows, E events, R draws.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.common.markdown import table, write_page
from benchmarks.common.records import RESULTS, write_record
from benchmarks.traffic.rate_curves import write_curve
from benchmarks.traffic.rules_versions import first_version, second_version
from benchmarks.traffic.rules_windows import Piece, complete_hours, read_events, read_windows
from benchmarks.traffic.track_scores import (
    ABSENT,
    ADDED,
    FUSED_ROW,
    WHOLE,
    read_track_scores,
    track_scores,
    with_track_scores,
)
from d2road.evaluation.results import plain
from d2road.traffic.events.alarms import alarm_threshold, check_windows, merge_alarms, rate_interval
from d2road.traffic.events.event_metrics import check_events, find_events, recalls
from d2road.utils.bootstrap import draw_weights, map_arrays, percentile_interval
from d2road.utils.errors import DataError

BENCH = "traffic_rules"
FIRST, FIRST_RELATIVE, SECOND = VARIANTS = ("rules", "rules, relative to density", "rules_v2")
PAIRS = (
    (SECOND, FIRST),
    (SECOND, FIRST_RELATIVE),
    *((FUSED_ROW, name) for name in (FIRST, FIRST_RELATIVE, SECOND, WHOLE, ADDED)),
)
RATE = 1.0  # false alarms an hour
CURVE = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
DRAWS, DRAW_SEED = 1000, 0
TOP_WINDOWS = 20  # for each alarm that is put up with


@dataclass(frozen=True)
class Scored:
    """Windows of one variant with scores: of the hours for thresholds and for rates, and of the incidents."""

    threshold: pd.DataFrame
    rate: pd.DataFrame
    incidents: pd.DataFrame

    @property
    def good(self) -> pd.DataFrame:
        """All good hours that nothing was fitted on."""
        return pd.concat([self.threshold, self.rate], ignore_index=True)


def score(fit: pd.DataFrame, windows: pd.DataFrame) -> dict[str, Scored]:
    """The windows of all parts by every variant; by what was learned too, where they have its columns."""
    columns = {
        FIRST: first_version(fit, windows, relative=False),
        FIRST_RELATIVE: first_version(fit, windows, relative=True),
        SECOND: second_version(fit, windows),
        **(track_scores(fit, windows) if ABSENT in windows else {}),
    }
    found = {}
    for name, values in columns.items():
        parts = [windows.assign(score=values)[windows["part"] == part] for part in ("threshold", "rate", "incidents")]
        found[name] = Scored(*(part.reset_index(drop=True) for part in parts))
    return found


def realised(windows: pd.DataFrame, hours: float, threshold: float) -> dict[str, object]:
    """Alarms of good hours at a threshold, and their rate with its exact interval."""
    count = len(merge_alarms(check_windows(windows), threshold)[0])
    return {
        "alarms": count,
        "hours": hours,
        "rate": count / hours,
        "interval": rate_interval(count, hours),
    }


def at_threshold(scored: Scored, events: pd.DataFrame, threshold: float) -> dict[str, object]:
    """Recall of events with bootstrap intervals, each kind by itself, and what explains nothing in their recordings."""
    found = find_events(scored.incidents, events, threshold)
    weights = draw_weights([str(kind) for kind in found["kind"]], DRAWS, DRAW_SEED)
    result = map_arrays(recalls(found, np.ones((1, len(found)))), lambda one: float(one[0]))
    return {
        **result,
        "median_delay_s": float(found["delay"].median()),
        "intervals": map_arrays(recalls(found, weights), percentile_interval),
    }


def difference(a: np.ndarray, b: np.ndarray, events: pd.DataFrame) -> dict[str, object]:
    """Recall where `b` says what is found (E,) less that where `a` does, of the same events, drawn alike."""
    weights = draw_weights([str(kind) for kind in events["kind"]], DRAWS, DRAW_SEED)
    draws = weights @ (b.astype(float) - a) / weights.sum(axis=1)
    return {"recall": float(b.mean() - a.mean()), "interval": percentile_interval(draws)}


def lowest_threshold(good: pd.DataFrame, hours: float, rate: float) -> float:
    """As `alarm_threshold`, which goes down through the scores and mostly ends among the highest."""
    top = good.nlargest(int(TOP_WINDOWS * max(rate * hours, 1)), "score", keep="all")
    threshold, _ = alarm_threshold(top, hours, rate, least_hours=0.0)
    if len(top) == len(good) or threshold > top["score"].min():
        return threshold
    return alarm_threshold(good, hours, rate, least_hours=0.0)[0]


def evaluate(pieces: Sequence[Piece], learned: int = 0) -> tuple[dict[str, object], dict[str, object]]:
    """Metrics of what is there, and what they are of.

    Args:
        learned: hours that what learns from trajectories was fitted on, for its rows too; 0 leaves them out.

    Raises:
        DataError: not one hour of each part is complete, or there is no incident.
    """
    if learned:
        pieces = with_track_scores(pieces, learned)
    hours = {part: list(complete_hours(list(pieces), part)) for part in ("fit", "threshold", "rate")}
    incidents = [piece for piece in pieces if piece.part == "incidents"]
    events = read_events(incidents)
    counts = {part: len(found) for part, found in hours.items()}
    if not (all(counts.values()) and len(events)):
        raise DataError(f"hours {counts}, {len(events)} incidents: at least one of each is needed for a result")
    events = check_events(events)
    used = [piece for part in hours.values() for hour in part for piece in hour]
    used += [piece for piece in incidents if piece.path.is_file()]
    windows = read_windows(used)
    if learned:
        windows = pd.concat([windows, read_track_scores(used, learned)], axis=1)
    scored = score(windows[windows["part"] == "fit"], windows[windows["part"] != "fit"].reset_index(drop=True))
    metrics = measure(scored, events, counts, PAIRS)
    return metrics, {"hours": counts, "events": len(events), "windows": len(windows)}


def measure(
    scored: Mapping[str, Scored], events: pd.DataFrame, hours: Mapping[str, int], pairs: Sequence[tuple[str, str]]
) -> dict[str, dict[str, object]]:
    """Metrics of each row: threshold and realised rate, recall at it and at equal rates, a curve, paired differences.

    Args:
        events: of the incidents. hours: of good traffic by part, "threshold" and "rate".
        pairs: rows that are compared, the one that may be better first.
    """
    metrics: dict[str, dict[str, object]] = {}
    hit: dict[str, np.ndarray] = {}
    together = float(hours["threshold"] + hours["rate"])
    for name, one in scored.items():
        threshold = lowest_threshold(one.threshold, hours["threshold"], RATE)
        equal = lowest_threshold(one.good, together, RATE)
        # Of each event the highest score of its windows.
        peaks = find_events(one.incidents, events, equal)["score"].to_numpy(float)
        hit[name] = peaks > equal
        metrics[name] = {
            "threshold": threshold,
            "realised": realised(one.rate, hours["rate"], threshold),
            "calibrated": at_threshold(one, events, threshold),
            "at_equal_rates": at_threshold(one, events, equal),
            "curve": {
                f"{rate:g}": float((peaks > lowest_threshold(one.good, together, rate)).mean()) for rate in CURVE
            },
        }
    for better, worse in pairs:
        if better in scored:
            metrics[better][f"less {worse}"] = difference(hit[worse], hit[better], events)
    return metrics


def write_results(pieces: Sequence[Piece], seed: int, command: str, learned: int = 0) -> str:
    """Write the record and the table; returns the record's name.

    Args:
        learned: as in `evaluate`.
    """
    name = f"seed{seed}_learned" if learned else f"seed{seed}"
    keep_results(BENCH, name, lambda: evaluate(pieces, learned), write_table, command=command, seed=seed)
    return name


def keep_results(
    bench: str,
    name: str,
    evaluate: Callable[[], tuple[dict[str, object], dict[str, object]]],
    write_table: Callable[[Path, Mapping], None],
    *,
    command: str,
    seed: int,
) -> None:
    """Write metrics and what they are of as a record, and the record as a page beside it."""
    start = time.perf_counter()
    metrics, about = evaluate()
    record = write_record(
        bench, name, metrics=plain(metrics, "metrics"), command=command, config="", seed=seed,
        seconds=time.perf_counter() - start, **about,
    )  # fmt: skip
    write_table(RESULTS / bench / f"{name}.md", record)


def write_table(path: Path, record: Mapping) -> None:
    """The record as a page."""
    metrics, hours = record["metrics"], record["hours"]
    first = next(iter(metrics.values()))
    kinds = sorted(first["at_equal_rates"]["recall_by_kind"])
    about = (
        f"`{record['command']}`; {record['machine']}. Fitted on {hours['fit']} h, thresholds from "
        f"{hours['threshold']} h, {record['events']} events. Rate: what {hours['rate']} other hours then had."
    )
    calibrated = [
        [name, _span(one["calibrated"], "recall"), f"{one['realised']['rate']:.2f} "
         f"({_range(one['realised']['interval'])})", _seconds(one["calibrated"]["median_delay_s"])]
        for name, one in metrics.items()
    ]  # fmt: skip
    equal = [
        [
            name,
            _span(one["at_equal_rates"], "recall"),
            *(_span(one["at_equal_rates"], "recall_by_kind", k) for k in kinds),
        ]
        for name, one in metrics.items()
    ]
    curve = [[name, *(f"{value:.2f}" for value in one["curve"].values())] for name, one in metrics.items()]
    pairs = [
        [f"{name} {key}", f"{value['recall']:+.3f} ({_range(value['interval'], '+.3f')})"]
        for name, one in metrics.items()
        for key, value in one.items()
        if key.startswith("less ")
    ]
    whole = hours["threshold"] + hours["rate"]
    image = path.with_suffix(".png")
    write_curve(image, metrics)
    write_page(path, [
        ["# Rules: events in simulated hours", "", about],
        table(f"Threshold for {RATE:g} false alarm an hour", "", ["", "event recall", "false alarms/h", "delay (s)"],
              calibrated),
        table(f"At {RATE:g} false alarm an hour, realised on all {whole} h", "", ["", "all", *kinds], equal),
        table("Recall against realised false alarms an hour", f"![The same as curves]({image.name})",
              ["", *first["curve"]], curve),
        table("Differences at equal realised rates", "95 %, drawn over events, each kind by itself.", ["", "recall"],
              pairs),
    ])  # fmt: skip


def _span(metrics: Mapping, name: str, kind: str = "") -> str:
    value, interval = metrics[name], metrics["intervals"][name]
    if kind:
        value, interval = value[kind], interval[kind]
    return f"{value:.2f} ({_range(interval)})"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _range(interval: Sequence[float], form: str = ".2f") -> str:
    return " to ".join(f"{one:{form}}" for one in interval)
