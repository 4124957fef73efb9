"""Settings of the tracker on validation clips: how honest deviations of speeds are, and tracks where nobody is.

    python -m benchmarks.traffic.tracker_study --clips datasets/traffic_video --names val_000 val_001 --record

Rows of MOTION ask how fast velocities may change, and for how long detections err alike; rows of CONFIRMATION what
makes a track. Needs what `benchmarks.traffic.clip_predictions` keeps, and trackeval as
`benchmarks.traffic.tracking_benchmark` does; names are of validation clips.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.common.records import write_record
from benchmarks.traffic.clip_truth import Clip, detector_table, read_clip, to_ground, worsened_labels
from benchmarks.traffic.ground_scores import combined_hota, hota_counts, matched_frames, speed_errors, speed_scores
from benchmarks.traffic.tracking_benchmark import BENCH, OURS, run_ours
from benchmarks.traffic.view_seeing import match_tracks
from d2road.traffic.events.alarms import rate_interval
from d2road.traffic.seeing.fit_seeing import ghost_lives
from d2road.traffic.tracking.ground_detections import GroundDetections
from d2road.traffic.tracking.motion_model import MotionModel
from d2road.traffic.tracking.tracker_options import TrackerOptions
from d2road.utils.errors import report_errors
from d2road.utils.progress import track

CHOSEN = "as it is"
MOTION = {
    "one density, 0.7": TrackerOptions(motion=MotionModel(0.7, 1.0)),
    "one density, 0.3": TrackerOptions(motion=MotionModel(0.3, 1.0)),
    "one density, 0.3; errors that last 2 s": TrackerOptions(
        motion=MotionModel(0.3, 1.0, lasting_share=0.82, lasting_time=2.0)
    ),
    "manoeuvres of 4.0": TrackerOptions(motion=MotionModel(4.0)),
    "manoeuvres of 4.0, seldom; 0.02 else": TrackerOptions(motion=MotionModel(4.0, 0.005, 30.0, 3.0)),
}
CONFIRMATION = {
    "2 detections": TrackerOptions(confirm_hits=2),
    "4 detections": TrackerOptions(confirm_hits=4),
    "6 detections": TrackerOptions(confirm_hits=6),
    "scores from 0.25 begin": TrackerOptions(high_score=0.25),
    "scores from 0.35 begin": TrackerOptions(high_score=0.35),
}
# By the class score alone, at thresholds that keep about as many true boxes of the clips as 0.18 and 0.08 of the other.
BY_CLASS_SCORE = {"class score, from 0.47 and 0.35": TrackerOptions(high_score=0.47, low_score=0.35)}


def ground_tables(clips: Sequence[Clip], folder: Path, column: str) -> list[dict[int, GroundDetections]]:
    """Detections of clips by one of the detector's scores."""
    tables = [detector_table(folder, clip) for clip in clips]
    return [to_ground(clip, table.assign(score=table[column])) for clip, table in zip(clips, tables)]


def judge(
    clips: Sequence[Clip], found: Sequence[dict[int, GroundDetections]], options: TrackerOptions
) -> dict[str, Any]:
    """HOTA and speeds, live and smoothed, and tracks of nobody an hour."""
    runs = [run_ours(clip, one, clip.camera, options) for clip, one in zip(clips, found)]
    scores: dict[str, Any] = {}
    for row in OURS:
        counts = [hota_counts(matched_frames(clip, run[row])) for clip, run in zip(clips, runs)]
        errors = [speed_errors(clip, run[row]) for clip, run in zip(clips, runs)]
        hota = {key: float(value[0]) for key, value in combined_hota(counts, np.ones((1, len(counts)))).items()}
        of_clips = {clip.name: speed_scores(one) for clip, one in zip(clips, errors)}
        scores[row] = hota | speed_scores(pd.concat(errors)) | {"clips": of_clips}
    matched = [match_tracks(clip.truth, run[OURS[1]], clip.camera) for clip, run in zip(clips, runs)]
    count = sum(len(ghost_lives(one)) for one in matched)
    hours = sum(float(np.ptp(clip.times)) for clip in clips) / 3600
    return scores | {"ghosts": count, "ghosts_per_hour": [count / hours, *rate_interval(count, hours)]}


def main(argv: Sequence[str] | None = None) -> None:
    """Track and score by all settings, and keep the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, default=Path("datasets/traffic_video"))
    parser.add_argument("--names", nargs="+", required=True, help="validation clips with clip_predictions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args(argv)
    start, pred = time.time(), args.clips / "pred"
    clips = [read_clip(args.clips, name) for name in args.names]
    detector = ground_tables(clips, pred, "score")
    worsened = [to_ground(clip, worsened_labels(clip, args.seed + k)) for k, clip in enumerate(clips)]
    own, by_class = {CHOSEN: TrackerOptions()}, ground_tables(clips, pred, "score_2d")
    rows = [("detector", name, detector, options) for name, options in (own | MOTION | CONFIRMATION).items()]
    rows += [("detector", name, by_class, options) for name, options in BY_CLASS_SCORE.items()]
    rows += [("worsened", name, worsened, options) for name, options in (own | MOTION).items()]
    metrics: dict[str, Any] = {"detector": {}, "worsened": {}}
    for kind, name, found, options in track(rows, len(rows), "settings"):
        metrics[kind][name] = judge(clips, found, options)
        print(kind, name, metrics[kind][name], flush=True)
    if args.record:
        write_record(
            BENCH, "tracker_study", metrics=metrics, seed=args.seed, seconds=time.time() - start,
            command=f"python -m benchmarks.traffic.tracker_study --names {' '.join(args.names)} --record",
            config={name: asdict(options) for _, name, _, options in rows},  # type: ignore[arg-type]
            data=f"make-data traffic-video --seed 0: {', '.join(args.names)}",
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(report_errors(main)())
