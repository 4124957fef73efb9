"""Events found in rendered video: rules on what is exactly there, on the model of seeing, and on tracks of the video.

python -m benchmarks.traffic.view_events --clips output/clips_incidents --record incidents

Clips with incidents and their tracks as `benchmarks.traffic.view_clips` makes them; rules and thresholds are those of
`benchmarks.traffic.view_benchmark` (of other cameras), for one false alarm an hour. The same clips, the same view, the
same windows: what is lost by seeing is paired. An event counts whose culprit is at least two seconds in view while what
it does can be seen. The record says of each what was seen of the culprit, how it scored, and by which evidence. Writes
benchmarks/results/camera_view/rendered_NAME.json.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from benchmarks.common.records import read_record, write_record
from benchmarks.traffic.rules_results import difference
from benchmarks.traffic.view_cameras import LEAST_VIEW_S
from benchmarks.traffic.view_clips import (
    SECONDS,
    ClipEvent,
    event_in_view,
    incident_plans,
    is_tracked,
    passed_over,
    tracked_folder,
)
from benchmarks.traffic.view_recordings import FRAME_S
from benchmarks.traffic.view_rendered import beside_truth, exact_table, read_rules, site_of
from benchmarks.traffic.view_results import BENCH
from benchmarks.traffic.view_scores import COLUMNS, EXACT, SEEING_SEED, SEEN, describe_view
from benchmarks.traffic.view_seeing import match_tracks
from d2road.data.roadside_camera_files import CAMERA_FILE, read_roadside_camera
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.synthetic.traffic_video.clip_job import ClipJob
from d2road.synthetic.traffic_video.clip_plan import ClipPlan
from d2road.traffic.baselines.track_surprise import CameraSurprise, columns_of
from d2road.traffic.baselines.vehicle_rarity import sum_beyond_usual
from d2road.traffic.events.event_metrics import contains
from d2road.traffic.seeing.camera_site import CameraSite
from d2road.traffic.seeing.fit_seeing import ghost_lives
from d2road.traffic.seeing.seeing_model import SeeingModel
from d2road.traffic.seeing.seen_tracks import see_tracks
from d2road.traffic.table import Trajectories
from d2road.traffic.tracking.detection_files import FRAMES
from d2road.traffic.tracking.ground_tracks import GroundTracks
from d2road.traffic.tracking.road_trajectories import to_trajectories
from d2road.traffic.tracking.track_files import PARQUET
from d2road.utils.errors import DataError, report_errors
from d2road.utils.input_files import read_json
from d2road.utils.values import integer_option

MODEL = "model"  # of seeing
ROWS = (EXACT, MODEL, SEEN)
PARTLY = 0.5  # share of an event in which a track is on the culprit, below which it is not tracked


def score_view(
    table: Trajectories, site: CameraSite, rules: CameraSurprise, event: ClipEvent
) -> tuple[float, pd.DataFrame]:
    """The highest score of the windows that contain an event (0 without any), and their vehicles: vehicle, score, rule.

    Args:
        table: of the clip, with the camera's s. site: that sees some of it.
    """
    assert rules.rarity is not None, "read from a file"
    tracks, rows = describe_view(site.crop(table), site)
    names, nobody = rules.kinds, pd.DataFrame({"vehicle": [], "score": [], "rule": []})
    if not rows:
        return 0.0, nobody
    windows = pd.DataFrame(rows, columns=COLUMNS).assign(recording="")
    inside = contains(windows, pd.Series({**event.series, "recording": ""}))
    scores = rules.scores_described(tracks)
    if not inside.any():
        return 0.0, nobody
    ((road, places),) = tracks.groups
    vehicles, numbers = road.vehicles(rules.forecaster, places)
    by_kind = rules.rarity.by_kind(vehicles)[:, columns_of(names)]
    found = pd.DataFrame({
        "vehicle": [str(road.states.names[number]) for number in numbers], "score": sum_beyond_usual(by_kind),
        "rule": [names[k] for k in by_kind.argmax(axis=1)], "inside": inside[vehicles.window],
    })  # fmt: skip
    found = found[found["inside"]].sort_values("score", ascending=False, kind="stable")
    return float(scores[inside].max()), found.drop(columns="inside").drop_duplicates("vehicle")


def best_of(vehicles: pd.DataFrame, names: Sequence[str]) -> dict[str, Any]:
    """How the most unusual of some vehicles scored, and by which evidence; 0 where none of them is there."""
    own = vehicles[vehicles["vehicle"].isin(names)]
    if not len(own):
        return {"score": 0.0, "rule": ""}
    return {"score": float(own["score"].iloc[0]), "rule": str(own["rule"].iloc[0])}


def culprit_tracks(
    event: ClipEvent, truth: pd.DataFrame, tracks: GroundTracks, camera: RoadsideCamera, times: np.ndarray
) -> dict[str, Any]:
    """Tracks that are on the culprit while the event lasts, the share of its instants that have one, and the errors.

    Beside them `ghosts_s`: how long each track of nothing of the clip lasts.

    Args:
        times: of the frames that were looked at, s.
    """
    there = truth[np.isin(np.round(truth["t"], 3), np.round(times, 3))]
    match = match_tracks(there, tracks.rows, camera)
    true = match.truth
    mine = (true["vehicle"] == event.culprit) & true["t"].between(event.stay.start - 1e-3, event.stay.end + 1e-3)
    paired = match.tracks[match.tracks["truth"].isin(np.flatnonzero(mine))]
    real = true.iloc[paired["truth"].to_numpy()]
    off = np.hypot(paired["x"].to_numpy() - real["x"].to_numpy(), paired["y"].to_numpy() - real["y"].to_numpy())
    wrong = np.abs(paired["speed"].to_numpy() - real["speed"].to_numpy())
    looked = int(mine.sum())
    return {
        "tracks": [str(one) for one in paired["track"].unique()],
        "seen_share": len(paired) / looked if looked else 0.0,
        "visible_share": float(true.loc[mine, "share"].median()) if looked else 0.0,
        "median_error_m": float(np.median(off)) if len(off) else None,
        "median_speed_error": float(np.median(wrong)) if len(off) else None,
        "ghosts_s": [round(seconds, 1) for seconds in ghost_lives(match)],
    }


def examine(
    out: Path, plan: ClipPlan, rules: Mapping[str, tuple[CameraSurprise, float]], model: SeeingModel, draws: int
) -> dict[str, Any] | None:
    """One clip by all rows; None where its event does not count."""
    folder = ClipJob(str(out), plan).folder
    camera = read_roadside_camera(folder / CAMERA_FILE)
    site, truth = site_of(camera), pd.read_csv(folder / "tracks.csv")
    event = event_in_view(plan, read_json(folder / "incidents.json", "incidents"), truth, site)
    if event is None:
        return None
    assert camera.road is not None, "asked by site_of"
    seen_rules, seen_threshold = rules[SEEN]
    exact, found = exact_table(truth, camera, plan.name), {}
    peak, vehicles = score_view(exact, site, rules[EXACT][0], event)
    found[EXACT] = {
        "peak": peak,
        "found": float(peak > rules[EXACT][1]),
        "culprit": best_of(vehicles, [str(event.culprit)]),
        "on_lanes": str(event.culprit) in set(site.crop(exact).frame["vehicle"]),
    }
    peaks = []
    for draw in range(draws):
        rng = np.random.default_rng([SEEING_SEED, plan.seed, plan.index, draw])
        peaks.append(score_view(see_tracks(exact, site, model, rng), site, seen_rules, event)[0])
    found[MODEL] = {"peak": float(np.median(peaks)), "found": float(np.mean(np.array(peaks) > seen_threshold))}
    tracked = tracked_folder(out, plan)
    tracks = GroundTracks.from_parquet(tracked / PARQUET)
    peak, vehicles = score_view(to_trajectories(tracks, camera.road, plan.name), site, seen_rules, event)
    seen = culprit_tracks(event, truth, tracks, camera, pd.read_csv(tracked / FRAMES)["t"].to_numpy())
    own = best_of(vehicles, seen["tracks"])
    found[SEEN] = {"peak": peak, "found": float(peak > seen_threshold), "culprit": own, **seen}
    if len(vehicles):
        top = vehicles.iloc[0]
        found[SEEN]["top"] = {"rule": top["rule"], **beside_truth({"vehicle": top["vehicle"]}, tracks.rows, truth)}
    for row in (EXACT, SEEN):
        found[row]["by_culprit"] = bool(found[row]["culprit"]["score"] > rules[row][1])
    stay = event.stay
    about = {"clip": plan.name, "kind": event.kind, "severity": event.severity, "traffic": plan.scenario,
             "seconds_in_view": round(stay.end - stay.start, 1), "height_m": round(camera.height_m, 1),
             "light": plan.light}  # fmt: skip
    return {**about, **{row: {**one, "why": reason(row, one, found[EXACT])} for row, one in found.items()}}


def reason(row: str, one: Mapping[str, Any], exact: Mapping[str, Any]) -> str:
    """Why a row does not find an event, in a word; "" where it does."""
    if row == MODEL or one["found"]:
        return ""
    if not exact["on_lanes"]:
        return "beside the lanes"
    if row == EXACT or not exact["found"]:
        return "not rare enough in view"
    if one["seen_share"] < PARTLY:
        return "not tracked"
    return "below the threshold"


def summarize(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Recall of each row with its interval, by kind, and the paired differences."""
    frame = pd.DataFrame([{"kind": one["kind"], **{row: one[row]["found"] for row in ROWS}} for one in events])
    metrics: dict[str, Any] = {}
    for row in ROWS:
        hit = frame[row].to_numpy(float)
        metrics[row] = {
            "found": float(hit.sum()), "events": len(hit), "recall": float(hit.mean()),
            "by_kind": {kind: [float(part.sum()), len(part)] for kind, part in frame.groupby("kind")[row]},
        }  # fmt: skip
        if row != MODEL:  # which is a mean over draws, no count
            interval = binomtest(int(hit.sum()), len(hit)).proportion_ci(method="exact")
            metrics[row]["interval"] = [float(interval.low), float(interval.high)]
            whys = pd.Series([one[row]["why"] for one in events if one[row]["why"]], dtype=str)
            metrics[row]["why_not"] = whys.value_counts().to_dict()
            metrics[row]["by_culprit"] = sum(one[row]["by_culprit"] for one in events)
    together = frame.assign(kind="")  # of a kind there are too few to draw from
    for row, less in ((SEEN, EXACT), (SEEN, MODEL), (MODEL, EXACT)):
        metrics[f"{row} less {less}"] = difference(frame[less].to_numpy(), frame[row].to_numpy(), together)
    exact, seen = (frame[row].to_numpy() > 0 for row in (EXACT, SEEN))
    metrics["found_by_one_alone"] = {EXACT: int((exact & ~seen).sum()), SEEN: int((seen & ~exact).sum())}
    return metrics


def main(argv: Sequence[str] | None = None) -> None:
    """Look for the events of all clips that are there, and keep the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, default=Path("output/clips_incidents"), help="of view_clips")
    parser.add_argument("--seed", type=integer_option(0), default=6, help="as view_clips was run; 6")
    parser.add_argument("--count", type=integer_option(1), default=24, help="as view_clips was run; 24")
    parser.add_argument("--draws", type=integer_option(1), default=20, help="of the model of seeing, a clip; 20")
    parser.add_argument("--view", default="fitted_seeing", help="record of view_benchmark whose rules are taken")
    parser.add_argument("--record", default="", help="its name; nothing is kept without")
    args = parser.parse_args(argv)
    start, rules = time.perf_counter(), {row: read_rules(row, args.view) for row in (EXACT, SEEN)}
    command = f"python -m benchmarks.traffic.view_events --seed {args.seed} --count {args.count} --view {args.view}"
    record = read_record(BENCH, args.view)
    assert record is not None, "read_rules found it"
    model = SeeingModel.from_json(record["seeing"], "record of the view")
    plans = incident_plans(args.seed, args.count)
    there = [plan for plan in plans if is_tracked(args.clips, plan)]
    if not there:
        raise DataError(f"{args.clips} holds no tracked clips: python -m benchmarks.traffic.view_clips")
    short = [plan.name for plan in plans if passed_over(args.clips, plan).is_file()]
    events = []
    for plan in there:
        one = examine(args.clips, plan, rules, model, args.draws)
        if one is None:
            short.append(plan.name)
            continue
        events.append(one)
        print(one["clip"], one["kind"], {row: round(one[row]["found"], 2) for row in ROWS}, flush=True)
    if not events:
        raise DataError(
            f"the {len(there)} clips of {args.clips} show no event for {LEAST_VIEW_S:g} s in view: make more"
        )
    metrics = {**summarize(events), "of": events}
    print({name: value for name, value in metrics.items() if name != "of"})
    if args.record:
        write_record(
            BENCH, f"rendered_{args.record}", metrics=metrics, config="", seed=args.seed,
            seconds=time.perf_counter() - start,
            command=f"{command} --draws {args.draws} --record {args.record}",
            clip_seconds=SECONDS, not_two_seconds_in_view=short, frame_s_of_exact=FRAME_S,
            left_out=[plan.name for plan in plans if plan not in there and plan.name not in short],
            thresholds={row: threshold for row, (_, threshold) in rules.items()},
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(report_errors(main)())
