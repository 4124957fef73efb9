"""The model of seeing of the shipped detector and tracker, fitted on filmed clips of validation cameras.

python -m benchmarks.traffic.view_seeing --clips datasets/traffic_video --names val_000 val_002

Needs what `benchmarks.traffic.clip_predictions` keeps. Writes benchmarks/results/camera_view/NAME_model.json, for
`--seeing` of `benchmarks.traffic.view_benchmark`, and the record beside it.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.common.records import RESULTS, write_record
from benchmarks.traffic.clip_truth import Clip, detector_table, read_clip, to_ground
from benchmarks.traffic.view_cameras import NEAR_M
from d2road.engine.watched_video import WATCHING
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.traffic.seeing.camera_site import FAR_M
from d2road.traffic.seeing.fit_seeing import MatchedClip, fit_seeing, match_clip
from d2road.traffic.tracking.camera_detections import in_view
from d2road.traffic.tracking.ground_detections import GroundDetections
from d2road.traffic.tracking.ground_tracker import GroundKalmanTracker
from d2road.traffic.tracking.ground_tracks import concat
from d2road.utils.errors import report_errors
from d2road.utils.output_files import make_folder, write_json
from d2road.utils.progress import track

BENCH = "camera_view"
COLUMNS = {"id": "vehicle", "X": "x", "Y": "y", "heading_rad": "heading", "speed_mps": "speed"}
LEAST_SCORE = 0.08  # as `d2road watch` keeps


def tracked(clip: Clip, table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the tracks of a clip, by the tracker of a watch."""
    found = to_ground(clip, table[table["score"] >= LEAST_SCORE])
    tracker = GroundKalmanTracker(WATCHING, lambda points: in_view(clip.camera, points))
    parts = []
    for frame, t in track(enumerate(clip.times), total=len(clip.times), label=clip.name):
        tracker.update(found.get(frame, GroundDetections.empty()), float(t), frame)
        parts.append(tracker.take_finished())
    return concat([*parts, tracker.finish()]).rows


def match_tracks(truth: pd.DataFrame, tracks: pd.DataFrame, camera: RoadsideCamera) -> MatchedClip:
    """Truth (tracks.csv of a clip) and tracks, between the distances of the benchmark's views."""
    truth = truth.drop(columns="vehicle").rename(columns=COLUMNS)  # its name; ids are in both tables
    return match_clip(truth, tracks, camera, NEAR_M, FAR_M)


def main(argv: Sequence[str] | None = None) -> None:
    """Track, match, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, default=Path("datasets/traffic_video"))
    parser.add_argument("--names", nargs="+", required=True, help="of clips; none of the test's")
    parser.add_argument("--pred", type=Path, help="folder of clip_predictions; CLIPS/pred unless given")
    parser.add_argument("--record", default="seeing", help="name of the record and the model; seeing")
    args = parser.parse_args(argv)
    start = time.perf_counter()
    clips = [read_clip(args.clips, name) for name in args.names]
    pred = args.pred or args.clips / "pred"
    found = [match_tracks(clip.truth, tracked(clip, detector_table(pred, clip)), clip.camera) for clip in clips]
    model = fit_seeing(found, WATCHING.lost_s)
    write_json(make_folder(RESULTS / BENCH) / f"{args.record}_model.json", model.to_json())
    write_record(
        BENCH, args.record, metrics=model.to_json(), config="", seed=0, seconds=time.perf_counter() - start,
        command=f"python -m benchmarks.traffic.view_seeing --names {' '.join(args.names)} --record {args.record}",
        video_hours=sum(one.hours for one in found),
        pairs=int(sum((one.tracks["truth"] >= 0).sum() for one in found)),
    )  # fmt: skip
    print(model)


if __name__ == "__main__":
    sys.exit(report_errors(main)())
