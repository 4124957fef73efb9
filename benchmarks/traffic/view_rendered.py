"""False alarms of a watch on rendered good traffic: rules for cameras on what is there, and on tracks of the video.

python -m benchmarks.traffic.view_rendered --clips output/clips_hour --tracked output/clips_hour/tracked --record hour

Clips of `make-data traffic-video --no-incidents`, KIND/test/test_NNN, and their tracks as `d2road track` wrote them,
KIND_NNN; clips without tracks are left out and named. Rules and thresholds are those of
`benchmarks.traffic.view_benchmark` (of other cameras), for one false alarm an hour. The record says of each alarm who
it is about, and what truth is nearest, and counts tracks where no vehicle is. Writes
benchmarks/results/camera_view/rendered_NAME.json.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.common.records import read_record, write_record
from benchmarks.traffic.drift_frames import list_clips
from benchmarks.traffic.view_cameras import NEAR_M
from benchmarks.traffic.view_recordings import FOLDER, FRAME_S
from benchmarks.traffic.view_results import BENCH
from benchmarks.traffic.view_scores import COLUMNS, EXACT, SEEN, describe_view, tag_of
from benchmarks.traffic.view_seeing import match_tracks
from d2road.data.roadside_camera_files import CAMERA_FILE, read_roadside_camera
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.traffic.baselines.track_surprise import CameraSurprise
from d2road.traffic.events.alarms import Alarm, check_windows, merge_alarms, rate_interval
from d2road.traffic.seeing.camera_site import FAR_M, CameraSite
from d2road.traffic.seeing.fit_seeing import ghost_lives
from d2road.traffic.seeing.seeing_model import SeeingModel
from d2road.traffic.seeing.seen_tracks import keep_frames
from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.camera_grid import camera_grid
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.traffic.tracking.ground_tracks import GroundTracks
from d2road.traffic.tracking.road_trajectories import lanes_at, to_trajectories
from d2road.utils.errors import DataError, report_errors
from d2road.utils.input_files import read_json


def site_of(camera: RoadsideCamera) -> CameraSite:
    """The site of a camera whose road has one direction, with the lanes that its tracks have."""
    road = camera.road
    if road is None or len(set(road.directions.tolist())) != 1:
        raise DataError("the camera of a clip has to know a road of one direction")
    middles = (road.borders_m[:-1] + road.borders_m[1:]) / 2
    lanes = {str(number): float(middle) for number, middle in enumerate(middles)}
    return CameraSite(camera, 0.0, int(road.directions[0]), lanes, NEAR_M, FAR_M)


def exact_table(
    truth: pd.DataFrame, camera: RoadsideCamera, name: str, every_s: float | None = FRAME_S, beside: bool = False
) -> Trajectories:
    """Exact trajectories of a clip, as `to_trajectories` has those of tracks: of who is on the road's lanes.

    Args:
        truth: tracks.csv of the clip. every_s: at the frames of the benchmark of the view; None takes all.
        beside: keep who is beside the lanes, in the outer one.
    """
    road = camera.road
    assert road is not None, "asked by site_of"
    along, offset = road.along_across(truth[["X", "Y"]].to_numpy()).T
    lane, direction, on_road = lanes_at(road, offset)
    facing = np.sign(np.cos(truth["heading_rad"].to_numpy() - road.heading_rad) * direction)
    rows = pd.DataFrame({
        "recording": name, "vehicle": truth["id"].astype(str), "cls": truth["cls"], "t": truth["t"],
        "s": direction * along + facing * truth["length"] / 2, "direction": direction,
        "speed": facing * truth["speed_mps"], "lane": lane.astype(str),
        "acceleration": np.nan, "length": truth["length"], "width": truth["width"],
    })[on_road | beside]  # fmt: skip
    table = Trajectories.from_frame(rows)
    return table if every_s is None else keep_frames(table, every_s)


def alarms_of(table: Trajectories, site: CameraSite, rules: CameraSurprise, threshold: float) -> list[Alarm]:
    """Alarms of one recording's table within the view of a site."""
    tracks, rows = describe_view(site.crop(table), site)
    windows = pd.DataFrame(rows, columns=COLUMNS).assign(score=rules.scores_described(tracks), direction=site.direction)
    return merge_alarms(check_windows(windows), threshold)[0]


def explained(alarm: Alarm, table: Trajectories, site: CameraSite, rules: CameraSurprise) -> dict[str, Any]:
    """Who an alarm is about, and what that vehicle does."""
    duration = camera_grid(site.view, site.direction).renderer.duration
    seen = site.crop(table).between(alarm.peak_t0, alarm.peak_t0 + duration)
    window = TrafficWindow(
        alarm.recording, alarm.peak_t0, alarm.peak_t0 + duration, *site.view, seen, None, site.direction
    )
    why = rules.explain(window)
    told: dict[str, Any] = {"recording": alarm.recording, "t0": alarm.peak_t0, "score": alarm.peak}
    if why is not None:
        told |= {
            "rule": why.rule,
            "words": why.words,
            "vehicle": why.vehicle,
            "value": why.value,
            "t": why.t,
            "s": why.s,
        }
    return told


def beside_truth(told: dict[str, Any], tracks: pd.DataFrame, truth: pd.DataFrame) -> dict[str, Any]:
    """What a track that an alarm is about follows: true vehicles, how far off, and speeds beside each other."""
    mine = tracks[tracks["track"] == int(told["vehicle"])]
    near = []
    for row in mine.itertuples():
        there = truth[(truth["t"] - row.t).abs() < FRAME_S / 4]
        away = np.hypot(there["X"] - row.x, there["Y"] - row.y).to_numpy()
        if len(away):
            best = there.iloc[int(away.argmin())]
            near.append(
                (int(best["id"]), best["cls"], away.min(), row.speed, best["speed_mps"], row.length, best["length"])
            )
    found = pd.DataFrame(near, columns=["id", "cls", "away", "speed", "true_speed", "length", "true_length"])
    middle = found[["away", "speed", "true_speed", "length", "true_length"]].median()
    return {
        "seconds": float(np.ptp(mine["t"])), "rows": len(mine), "follows": found["id"].value_counts().to_dict(),
        "true_class": str(found["cls"].mode().iloc[0]), "class": str(mine["cls"].iloc[0]), **middle.to_dict(),
        "largest_speed_error": float((found["speed"] - found["true_speed"]).abs().max()),
    }  # fmt: skip


def read_rules(row: str, name: str = "fitted_seeing") -> tuple[CameraSurprise, float]:
    """Rules of the benchmark of the view for exact or seen tracks, and their threshold for one false alarm an hour.

    Args:
        name: of the record of the benchmark.
    """
    record = read_record(BENCH, name)
    if record is None:
        raise DataError("no record of the view: python -m benchmarks.traffic.view_benchmark --seeing MODEL")
    tag = tag_of(SeeingModel.from_json(record["seeing"], "record of the view"))
    path = FOLDER / ("rules_exact.json" if row == EXACT else f"rules_seen_{tag}.json")
    return CameraSurprise.from_json(read_json(path, "rules"), str(path)), record["metrics"][row]["threshold"]


def examine(folder: Path, tracked: Path, rules: dict[str, tuple[CameraSurprise, float]]) -> dict[str, Any]:
    """Alarms of one clip, by both rows, and the hours that it has."""
    camera = read_roadside_camera(folder / CAMERA_FILE)
    site, name = site_of(camera), tracked.name
    truth, tracks = pd.read_csv(folder / "tracks.csv"), GroundTracks.from_parquet(tracked / "tracks.parquet")
    assert camera.road is not None, "asked by site_of"
    tables = {EXACT: exact_table(truth, camera, name), SEEN: to_trajectories(tracks, camera.road, name)}
    times = pd.read_csv(tracked / "frames.csv")["t"]
    there = truth[np.isin(np.round(truth["t"], 3), np.round(times, 3))]
    nobody = (
        len(ghost_lives(match_tracks(there, tracks.rows, camera))) if len(there) else tracks.rows["track"].nunique()
    )
    found: dict[str, Any] = {"hours": float(np.ptp(times)) / 3600, "ghosts": nobody}
    for row, table in tables.items():
        rule, threshold = rules[row]
        alarms = [explained(one, table, site, rule) for one in alarms_of(table, site, rule, threshold)]
        if row == SEEN:
            alarms = [one | beside_truth(one, tracks.rows, truth) for one in alarms if "vehicle" in one]
        found[row] = alarms
        print(f"{name}, {row}: {len(alarms)} alarms in {60 * found['hours']:.1f} min", flush=True)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Count the alarms of all clips, and keep the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, default=Path("output/clips_hour"), help="folder of the kinds")
    parser.add_argument("--tracked", type=Path, default=Path("output/clips_hour/tracked"), help="of d2road track")
    parser.add_argument("--record", default="", help="its name; nothing is kept without")
    args = parser.parse_args(argv)
    start, rules = time.perf_counter(), {row: read_rules(row) for row in (EXACT, SEEN)}
    clips, left_out = {}, []
    for kind, name in list_clips(args.clips):
        tracked = args.tracked / f"{kind}_{name.removeprefix('test_')}"
        if (tracked / "tracks.parquet").is_file():
            clips[tracked.name] = examine(args.clips / kind / "test" / name, tracked, rules)
        else:
            left_out.append(tracked.name)
    if not clips:
        raise DataError(f"{args.tracked} holds no tracks of {', '.join(left_out)}: make them with d2road track")
    print(f"without tracks, left out: {', '.join(left_out) or 'none'}", flush=True)
    hours = sum(one["hours"] for one in clips.values())
    metrics: dict[str, Any] = {"clips": clips}
    counts = {row: sum(len(one[row]) for one in clips.values()) for row in (EXACT, SEEN)}
    for row, count in (counts | {"ghosts": sum(one["ghosts"] for one in clips.values())}).items():
        metrics[row] = {"count": count, "hours": hours, "rate": count / hours, "interval": rate_interval(count, hours)}
        print(row, metrics[row], flush=True)
    if args.record:
        write_record(
            BENCH, f"rendered_{args.record}", metrics=metrics, config="", seed=0, seconds=time.perf_counter() - start,
            command=f"python -m benchmarks.traffic.view_rendered --record {args.record}", left_out=left_out,
            thresholds={row: threshold for row, (_, threshold) in rules.items()},
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(report_errors(main)())
