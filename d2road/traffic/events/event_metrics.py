"""How well the alarms of a stream of windows find events: which ones, how late, and how often there was nothing.

An event counts as found when a window that contains a part of it scores above the threshold, which was set on good
traffic (`alarms.alarm_threshold`). Its delay runs from its onset to the end of the first such window: before that the
window is not there to be scored. An alarm is false when none of its windows contains an event or comes soon after one
(the queue that an incident leaves is no false alarm, and no merit either).

Letters: E events, N windows, R draws.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from d2road.traffic.events.alarms import check_windows, covered_hours, merge_alarms, rate_interval
from d2road.utils.bootstrap import draw_weights, map_arrays, percentile_interval
from d2road.utils.errors import DataError

EVENT_COLUMNS = ("recording", "kind", "severity", "onset", "end")
# Optional: where it happens (m); without them an event fills the road. direction, density: see `check_events`.
PLACE_COLUMNS = ("s_low", "s_high")
AFTERMATH_S = 300.0
# Vehicles per km and lane: levels of service B and E of the Highway Capacity Manual end at about these.
DENSITY_EDGES = {"free": 11.0, "dense": 28.0, "jam": math.inf}
STRATA = ("kind", "severity", "density")


def check_events(events: pd.DataFrame) -> pd.DataFrame:
    """Events with all columns: severity as text, density by name, missing places as the whole road.

    Raises:
        ValueError: columns are missing, or an event ends before it begins.
    """
    missing = [name for name in EVENT_COLUMNS if name not in events]
    if missing:
        raise DataError(
            f"events lack the column(s) {', '.join(missing)}; expected {', '.join(EVENT_COLUMNS)} and optionally "
            "s_low, s_high, direction, density"
        )
    wrong = events[~(events["end"] >= events["onset"])]
    if len(wrong):
        row = wrong.iloc[0]
        raise DataError(
            f"{row['kind']} in recording {row['recording']} goes from onset {row['onset']} to end {row['end']} s: both "
            "must be numbers, the end not before the onset"
        )
    events = events.reset_index(drop=True).assign(recording=events["recording"].astype(str).to_numpy())
    events["severity"] = [
        f"{value:g}" if isinstance(value, (int, float)) else str(value) for value in events["severity"]
    ]
    events["density"] = density_names(events["density"]) if "density" in events else "unknown"
    for name, default in zip(PLACE_COLUMNS, (-np.inf, np.inf)):
        events[name] = events[name].astype(float).fillna(default) if name in events else default
    return events


def density_names(values: Sequence) -> list[str]:
    """Names of densities: text as it is, vehicles per km and lane by `DENSITY_EDGES`, "unknown" for NaN."""
    names = []
    for value in values:
        if isinstance(value, str):
            names.append(value)
        elif pd.isna(value):
            names.append("unknown")
        else:
            names.append(next(name for name, edge in DENSITY_EDGES.items() if float(value) <= edge))
    return names


def contains(windows: pd.DataFrame, event: pd.Series, after_s: float = 0.0) -> np.ndarray:
    """Which windows cover some of an event's time and place (N,) bool.

    Args:
        after_s: count so many seconds behind its end as well.
    """
    inside = windows["recording"] == event["recording"]
    if "direction" in windows and "direction" in event:
        inside &= windows["direction"] == event["direction"]
    inside &= (windows["t0"] < event["end"] + after_s) & (windows["t1"] > event["onset"])
    inside &= (windows["s0"] < event["s_high"]) & (windows["s1"] > event["s_low"])
    return inside.to_numpy()


def find_events(windows: pd.DataFrame, events: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Events with what the windows say of them.

    Args:
        windows: see `alarms.check_windows`.
        events: see `check_events`.
    Returns:
        the events with `windows` that contain them, `score` (the highest of these, NaN without any), `found` and
        `delay` (s, NaN where not found).
    """
    windows, events = check_windows(windows), check_events(events)
    scores, ends = windows["score"].to_numpy(float), windows["t1"].to_numpy(float)
    rows = []
    for _, event in events.iterrows():
        inside = contains(windows, event)
        alarming = inside & (scores > threshold)
        rows.append(
            {
                "windows": int(inside.sum()),
                "score": float(scores[inside].max()) if inside.any() else math.nan,
                "found": bool(alarming.any()),
                "delay": float(ends[alarming].min() - event["onset"]) if alarming.any() else math.nan,
            }
        )
    found = pd.DataFrame(rows, columns=["windows", "score", "found", "delay"], index=events.index)
    return pd.concat([events.drop(columns=[c for c in found if c in events]), found], axis=1)


def false_alarms(
    windows: pd.DataFrame, events: pd.DataFrame, threshold: float, aftermath_s: float = AFTERMATH_S
) -> dict[str, float | int | list[float]]:
    """Alarms that no event explains, over the hours in which any alarm would be one.

    Returns:
        {"false_alarms", "hours", "false_alarms_per_hour", "interval": 95 % of the rate}.
    """
    windows, events = check_windows(windows), check_events(events)
    near = np.zeros(len(windows), dtype=bool)
    for _, event in events.iterrows():
        near |= contains(windows, event, aftermath_s)
    alarms, member = merge_alarms(windows, threshold)
    explained = set(member[near].tolist())
    count = sum(number not in explained for number in range(len(alarms)))
    hours = covered_hours(windows[~near])
    rate = count / hours if hours else math.nan
    return {
        "false_alarms": count,
        "hours": hours,
        "false_alarms_per_hour": rate,
        "interval": rate_interval(count, hours),
    }


def evaluate_events(
    windows: pd.DataFrame,
    events: pd.DataFrame,
    threshold: float,
    aftermath_s: float = AFTERMATH_S,
    draws: int = 1000,
    seed: int = 0,
) -> dict:
    """Recall, delay and false alarms; fractions and seconds, NaN where there is nothing to measure.

    Args:
        windows: of streams that are not those of the threshold, see `alarms.check_windows`.
        events: in these streams, see `check_events`.
        threshold: from good traffic.
        draws: of the bootstrap over events, each type by itself; 0 leaves "intervals" out.
    Returns:
        as `summary`.
    """
    found = find_events(windows, events, threshold)
    return summary(found, false_alarms(windows, events, threshold, aftermath_s), threshold, draws, seed)


def summary(found: pd.DataFrame, quiet: dict, threshold: float, draws: int = 1000, seed: int = 0) -> dict:
    """The figures of events that were looked for.

    Args:
        found: as `find_events` returns them. quiet: as `false_alarms` returns it.
        threshold, draws, seed: see `evaluate_events`.
    Returns:
        {"threshold", "events": how many, "recall", "recall_by_kind": {...}, "recall_by_severity", "recall_by_density",
         "delay_s": {"median", "p90"} of those found, "delay_s_by_kind": {kind: median},
         "false_alarms", "hours", "false_alarms_per_hour",
         "intervals": {"recall", "recall_by_kind", "recall_by_severity", "recall_by_density", "delay_s_median",
         "false_alarms_per_hour"}: [low, high] at 95 %, the last one of a Poisson rate}.
    """
    ones = np.ones((1, len(found)))
    results = {
        "threshold": float(threshold),
        "events": len(found),
        **map_arrays(recalls(found, ones), lambda one: float(one[0])),
    }
    results["delay_s"] = {
        "median": float(found["delay"].median()) if len(found) else math.nan,
        "p90": float(found["delay"].quantile(0.9)) if len(found) else math.nan,
    }
    results["delay_s_by_kind"] = {
        str(kind): float(part["delay"].median()) for kind, part in found.groupby("kind", observed=True)
    }
    results.update({name: value for name, value in quiet.items() if name != "interval"})
    if draws and len(found):
        weights = draw_weights([str(kind) for kind in found["kind"]], draws, seed)
        intervals = map_arrays(recalls(found, weights), percentile_interval)
        intervals["delay_s_median"] = percentile_interval(_medians(found["delay"].to_numpy(float), weights))
        intervals["false_alarms_per_hour"] = quiet["interval"]
        results["intervals"] = intervals
    return results


def recalls(found: pd.DataFrame, weights: np.ndarray) -> dict[str, Any]:
    """Share of events found, under weightings of them.

    Args:
        found: as `find_events` returns them.
        weights: (R, E).
    Returns:
        {"recall": (R,), "recall_by_<stratum>": {value: (R,)}}.
    """
    hit = found["found"].to_numpy(float)

    def share(members: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return weights[:, members] @ hit[members] / weights[:, members].sum(axis=1)

    table: dict[str, Any] = {"recall": share(np.arange(len(found)))}
    for name in STRATA:
        values = found[name].astype(str).to_numpy()
        table[f"recall_by_{name}"] = {value: share(np.flatnonzero(values == value)) for value in sorted(set(values))}
    return table


def _medians(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Median of the values that are no NaN, each as often as its weight says; (R,)."""
    known = np.isfinite(values)
    values, counts = values[known], weights[:, known].astype(int)
    return np.array([np.median(np.repeat(values, row)) if row.any() else math.nan for row in counts])
