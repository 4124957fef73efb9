"""AP of 3D boxes on filmed clips by the ground that a detector is told: none, guesses, a calibration, the true one.

    python -m benchmarks.traffic.clip_predictions --clips ROOT --names val_000 --no-plane --every 2
    python -m benchmarks.traffic.calibration_ap --clips ROOT --names val_000 [--record NAME]

ROOT is a folder of `make-data traffic-video`; predictions without a plane are those of the first command. By them and
the video the camera is calibrated, from RGB and intrinsics alone; then the detector runs again on each N-th frame and
is told the plane. Boxes are judged on the true ground by the roadside protocol: car is car and van, big_vehicle is
truck and bus.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.common.records import write_record
from benchmarks.traffic.calibration_clips import detected_observations, errors_of, mean_of_guesses, motion_of
from benchmarks.traffic.clip_predictions import BOX, CONFIG, ROW, WEIGHTS, clip_folder, predict_clip
from d2road.data.roadside_camera_files import CAMERA_FILE, read_roadside_camera
from d2road.engine.predictor import Predictor
from d2road.evaluation.metrics.ground_frame import ground_rotations, to_ground_frame
from d2road.evaluation.metrics.kitti_objects import ObjectTable
from d2road.evaluation.metrics.roadside_protocol import evaluate_roadside
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.traffic.calibration.self_calibration import DETECTED, KnownLens, calibrate_from_tracks
from d2road.traffic.calibration.track_samples import sample_tracks
from d2road.utils.errors import report_errors
from d2road.utils.output_files import atomic_write, make_folder

BENCH = "camera_calibration"
PLANES = ("none", "guesses", "self_calibrated", "true")
CLASSES = {"car": "car", "van": "car", "truck": "big_vehicle", "bus": "big_vehicle"}
TRUNCATED = {0: 0.0, 1: 0.3, 2: 1.0}  # of KITTI tracking's levels
RANGES_M = ((10, 80),)
LABEL_COLUMNS = ["frame", "id", "cls", "truncated", "occluded", "alpha", *BOX, "h", "w", "l", "x", "y", "z", "ry"]


def planes_of(predictions: Path, video: Path, camera: RoadsideCamera, every: int) -> dict[str, np.ndarray | None]:
    """(4,) what the detector is told in each case, by the video and the predictions that it made without a plane."""
    observations, lens = detected_observations(predictions, camera, every), KnownLens(camera.K)
    samples, evidence = sample_tracks(observations, min_score=0.0), motion_of(video, camera)
    found = calibrate_from_tracks(samples, lens, evidence=evidence, errors=DETECTED).camera
    guessed = mean_of_guesses(observations, lens)
    return {"none": None, "guesses": guessed.ground, "self_calibrated": found.ground, "true": camera.ground}


def truth_of(folder: Path, every: int) -> ObjectTable:
    """Labels of each N-th frame."""
    rows = pd.read_csv(folder / "labels.txt", sep=" ", names=LABEL_COLUMNS)
    rows = rows[rows["frame"] % every == 0].replace({"cls": CLASSES, "truncated": TRUNCATED})
    return table_of(rows.assign(score=0.0))


def table_of(rows: pd.DataFrame) -> ObjectTable:
    """The evaluators' table of labels or predictions."""
    columns = (rows[name].to_numpy() for name in ("frame", "cls", "truncated", "occluded", "alpha"))
    return ObjectTable(*columns, rows[BOX].to_numpy(), rows[ROW].to_numpy(), rows["score"].to_numpy())


def precision(truth: ObjectTable, found: pd.DataFrame, camera: RoadsideCamera) -> dict[str, dict[str, float]]:
    """AP by class and overlap, of all objects and of those from 10 to 80 m, and the median error of depth."""
    predicted = table_of(found.assign(truncated=0.0, occluded=0.0))
    rotations = ground_rotations([camera.pinhole] * (1 + max(int(truth.frame.max()), int(predicted.frame.max()))))
    scores = evaluate_roadside(
        to_ground_frame(truth, rotations), to_ground_frame(predicted, rotations), ["car", "big_vehicle"],
        ranges_m=RANGES_M,
    )  # fmt: skip
    return {
        name: {
            f"{metric} {part}": table[metric][part] for metric in ("3d@0.5", "3d@0.25") for part in ("all", "10-80m")
        }
        | {"depth_median": table["errors"]["all"]["depth_median"], "objects": table["objects"]["all"]}
        for name, table in scores.items()
    }


def judge(clips: Path, name: str, args: argparse.Namespace, predict: Callable[[], Predictor]) -> dict[str, dict]:
    """Scores of a clip by plane, and how far the planes are off."""
    folder, stored = clip_folder(clips, name), args.predictions / f"{name}_no_plane.parquet"
    camera = read_roadside_camera(folder / CAMERA_FILE)
    truth, result = truth_of(folder, args.every), {}
    for plane, ground in planes_of(stored, folder / "video.mp4", camera, args.calibrate_every).items():
        path = args.output / f"{name}_{plane}.parquet"
        if plane == "none":
            found = pd.read_parquet(stored)
            found = found[found["frame"] % args.every == 0]
        elif path.is_file():
            found = pd.read_parquet(path)
        else:
            found = predict_clip(predict(), folder / "video.mp4", camera, ground, args.every)
            with atomic_write(path) as file:
                found.to_parquet(file, index=False)
        result[plane] = precision(truth, found, camera)
        if ground is not None:
            believed = RoadsideCamera(camera.width, camera.height, camera.K, ground)
            exact = RoadsideCamera(camera.width, camera.height, camera.K, camera.ground)
            result[plane]["error"] = errors_of(believed, exact)
        print(name, plane, result[plane], flush=True)
    return result


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Calibrate, detect, score; print and keep a record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--names", nargs="+", required=True)
    parser.add_argument("--predictions", type=Path, help="without plane; CLIPS/pred unless given")
    parser.add_argument("--output", type=Path, default=Path("output/calibration_ap"), help="for predictions by plane")
    parser.add_argument("--every", type=int, default=10, help="judge each N-th frame (default: 10)")
    parser.add_argument("--calibrate-every", type=int, default=2, help="calibrate by each N-th frame (default: 2)")
    parser.add_argument("--record", default="", help="name of the record; none is written without")
    args = parser.parse_args(argv)
    args.predictions = args.predictions or args.clips / "pred"
    make_folder(args.output)
    began, predict = time.monotonic(), cache(lambda: Predictor(CONFIG, WEIGHTS))
    clips = {name: judge(args.clips, name, args, predict) for name in args.names}
    mean = {
        plane: {
            cls: {key: float(np.mean([clip[plane][cls][key] for clip in clips.values()])) for key in found[cls]}
            for cls in ("car", "big_vehicle")
        }
        for plane, found in next(iter(clips.values())).items()
    }
    print(mean, flush=True)
    if args.record:
        write_record(
            BENCH,
            args.record,
            metrics={"mean": mean, "clips": clips},
            command=f"python -m benchmarks.traffic.calibration_ap --names {' '.join(args.names)} --every {args.every}",
            config=f"{CONFIG}, {WEIGHTS}; clips of make-data traffic-video, 60 s",
            seed=0,
            seconds=time.monotonic() - began,
        )


if __name__ == "__main__":
    sys.exit(main())
