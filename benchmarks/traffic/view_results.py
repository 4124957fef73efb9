"""The record of the benchmark of the view: recall and false alarms of whole FCD, FCD in view, and seen tracks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.common.markdown import table, write_page
from benchmarks.traffic.rules_results import (
    CURVE,
    RATE,
    Scored,
    at_threshold,
    difference,
    keep_results,
    lowest_threshold,
    realised,
)
from benchmarks.traffic.rules_windows import PIECES_AN_HOUR
from benchmarks.traffic.view_recordings import CAMERAS, TEST_SEED, ViewPiece
from benchmarks.traffic.view_scores import EXACT, SEEN, UNFITTED, ViewScores, cameras_of, fit_view_rules, read_scores
from d2road.traffic.events.event_metrics import check_events, find_events
from d2road.traffic.seeing.seeing_model import SeeingModel
from d2road.utils.errors import DataError
from d2road.utils.input_files import read_json
from d2road.utils.progress import track

BENCH = "camera_view"
WHOLE = "whole"
ROWS = {
    WHOLE: "FCD, whole road of a kilometre",
    EXACT: "FCD, what is in view",
    SEEN: "model of seeing, rules fitted through it",
    UNFITTED: "model of seeing, rules fitted on FCD in view",
}


def complete(pieces: Sequence[ViewPiece]) -> dict[str, list[ViewPiece]]:
    """Recordings that are there, of good traffic in whole hours.

    Raises:
        DataError: not one hour of each part is complete, or there is no incident in view.
    """
    found = {part: [piece for hour in _hours(pieces, part) for piece in hour] for part in ("fit", "threshold", "test")}
    there = [piece for piece in pieces if piece.part == "incidents" and piece.about.is_file()]
    found["unseen"] = [piece for piece in there if not len(cameras_of(piece))]
    found["incidents"] = [piece for piece in there if len(cameras_of(piece))]
    if not all(found[part] for part in ("fit", "threshold", "test", "incidents")):
        raise DataError(
            f"{ ({part: len(of) for part, of in found.items()}) } recordings: at least an hour of each part"
        )
    return found


def _hours(pieces: Sequence[ViewPiece], part: str) -> list[list[ViewPiece]]:
    own = [piece for piece in pieces if piece.part == part]
    hours = [own[first : first + PIECES_AN_HOUR] for first in range(0, len(own), PIECES_AN_HOUR)]
    return [hour for hour in hours if all(piece.about.is_file() for piece in hour)]


def read_view_events(pieces: Sequence[ViewPiece], whole: bool) -> pd.DataFrame:
    """Events in view: from when to when, and where, the culprit is in it; whole: in the s of the recording."""
    rows = []
    for piece in pieces:
        about = read_json(piece.about, "recording")
        event, origin = about["event"], about["origins"][0] if whole else 0.0
        rows.append({
            "recording": piece.name if whole else f"{piece.name}@0", "kind": event["kind"],
            "severity": event["severity"], "onset": event["start"], "end": event["end"],
            "s_low": event["s_low"] + origin, "s_high": event["s_high"] + origin,
        })  # fmt: skip
    return check_events(pd.DataFrame(rows))


def evaluate(pieces: Sequence[ViewPiece], model: SeeingModel) -> tuple[dict[str, object], dict[str, object]]:
    """Metrics of what is there, and what they are of."""
    parts = complete(pieces)
    scores = fit_view_rules(parts["fit"], model)
    wanted = {piece.name for part in ("threshold", "test", "incidents") for piece in parts[part]}
    rest = [piece for piece in pieces if piece.name in wanted]  # hour by hour
    for piece in track(iter(rest), len(rest), "views scored", every_s=30):
        for camera in cameras_of(piece):
            scores.make(piece, camera)
    simulated = {part: len(parts[part]) / PIECES_AN_HOUR for part in ("fit", "threshold", "test")}
    metrics: dict[str, Any] = {}
    peaks = {}
    for row in ROWS:
        scored, hours = _scored(scores, parts, row), dict(simulated)
        if row != WHOLE:
            hours = {part: CAMERAS * value for part, value in simulated.items()}
        events = read_view_events(parts["incidents"], row == WHOLE)
        threshold = lowest_threshold(scored.threshold, hours["threshold"], RATE)
        metrics[row], peaks[row] = _row(scored, events, threshold, hours)
    for name, of, less in (("seeing", SEEN, EXACT), ("view", EXACT, WHOLE)):
        hit = {one: peaks[one] > metrics[one]["equal_threshold"] for one in (of, less)}
        metrics[f"{name}_costs"] = difference(hit[less], hit[of], events)
    about = {
        "simulated_hours": simulated,
        "camera_hours": {part: CAMERAS * value for part, value in simulated.items()},
        "events": len(parts["incidents"]),
        "events_never_two_seconds_in_view": len(parts["unseen"]),
        "seeing": model.to_json(),
    }
    return metrics, about


def _scored(scores: ViewScores, parts: Mapping[str, Sequence[ViewPiece]], row: str) -> Scored:
    names = ("threshold", "test", "incidents")
    if row == WHOLE:
        frames = [pd.concat([pd.read_csv(p.whole) for p in parts[part]], ignore_index=True) for part in names]
    else:
        frames = [read_scores(scores, parts[part], row) for part in names]
    return Scored(*frames)


def _row(
    scored: Scored, events: pd.DataFrame, threshold: float, hours: Mapping[str, float]
) -> tuple[dict[str, object], Any]:
    together = hours["threshold"] + hours["test"]
    equal = lowest_threshold(scored.good, together, RATE)
    peaks = find_events(scored.incidents, events, equal)["score"].fillna(-1.0).to_numpy(float)
    curve = {f"{rate:g}": float((peaks > lowest_threshold(scored.good, together, rate)).mean()) for rate in CURVE}
    return {
        "threshold": threshold,
        "equal_threshold": equal,
        "realised": realised(scored.rate, hours["test"], threshold),
        "calibrated": at_threshold(scored, events, threshold),
        "at_equal_rates": at_threshold(scored, events, equal),
        "curve": curve,
    }, peaks


def write_results(pieces: Sequence[ViewPiece], seeing: Path | None, command: str) -> str:
    """Write the record and the table; returns the record's name."""
    model, name = SeeingModel(), "stated_seeing"
    if seeing is not None:
        model = SeeingModel.from_json(read_json(seeing, "model of seeing"), str(seeing))
        name = f"fitted_{seeing.stem.removesuffix('_model')}"
    keep_results(BENCH, name, lambda: evaluate(pieces, model), write_table, command=command, seed=TEST_SEED)
    return name


def write_table(path: Path, record: Mapping[str, Any]) -> None:
    """The record as a page."""
    metrics, hours = record["metrics"], record["camera_hours"]
    kinds = sorted(metrics[SEEN]["calibrated"]["recall_by_kind"])
    about = (
        f"`{record['command']}`; {record['machine']}. Rules fitted on {hours['fit']:g} camera hours, thresholds for "
        f"{RATE:g} false alarm an hour and camera from {hours['threshold']:g}, tested on {hours['test']:g} others of "
        f"another seed; {CAMERAS} cameras look at each simulated hour. {record['events']} events, each with its "
        f"culprit at least 2 s in view; {record['events_never_two_seconds_in_view']} drawn ones are in no view so long."
    )
    cost = metrics["seeing_costs"]
    headline = (
        f"Seeing instead of knowing, at equal view and equal realised rate, changes recall by {cost['recall']:+.3f} "
        f"({cost['interval'][0]:+.3f} to {cost['interval'][1]:+.3f}, paired bootstrap over events)."
    )
    rows = [
        [ROWS[row], _span(metrics[row]["calibrated"]), _rate(metrics[row]["realised"]),
         f"{metrics[row]['calibrated']['median_delay_s'] or float('nan'):.1f}"]
        for row in ROWS
    ]  # fmt: skip
    by_kind = [
        [ROWS[row], *(f"{metrics[row]['at_equal_rates']['recall_by_kind'][kind]:.2f}" for kind in kinds)]
        for row in ROWS
    ]
    curve = [[ROWS[row], *(f"{value:.2f}" for value in metrics[row]["curve"].values())] for row in ROWS]
    write_page(path, [
        ["# A camera's view: events found, and false alarms", "", about, "", headline],
        table("Threshold of the calibration hours, on the test hours",
              "Delay from when the culprit is in view to the end of the window that finds it.",
              ["", "event recall", "false alarms/h", "delay (s)"], rows),
        table("Recall by kind at equal realised rates", "", ["", *kinds], by_kind),
        table("Recall against realised false alarms an hour", "", ["", *metrics[SEEN]["curve"]], curve),
    ])  # fmt: skip


def _span(one: Mapping[str, Any]) -> str:
    low, high = one["intervals"]["recall"]
    return f"{one['recall']:.2f} ({low:.2f} to {high:.2f})"


def _rate(one: Mapping[str, Any]) -> str:
    return f"{one['rate']:.2f} ({one['interval'][0]:.2f} to {one['interval'][1]:.2f})"
