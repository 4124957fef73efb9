"""Tracks on the ground against trackers in pixels, on filmed clips: HOTA, speeds and how honest their deviations are.

    python -m benchmarks.traffic.tracking_benchmark --clips datasets/traffic_video --split val --input detector
    python -m benchmarks.traffic.tracking_benchmark --clips datasets/traffic_video --split test --input worsened

It needs the packages of tests/peers/tracking.txt: run it with .peers/tracking/bin/python. Settings were chosen on the
validation clips.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.common.records import read_record, write_record
from benchmarks.traffic.clip_truth import Clip, detector_table, read_clip, to_ground, worsened_labels
from benchmarks.traffic.ground_scores import combined_hota, hota_counts, matched_frames, speed_errors, speed_scores
from benchmarks.traffic.pixel_trackers import PixelOptions, filled, track_in_pixels, with_speed
from d2road.structures.roadside_camera import RoadsideCamera, plane_from_angles
from d2road.traffic.tracking.camera_detections import in_view
from d2road.traffic.tracking.ground_detections import GroundDetections
from d2road.traffic.tracking.ground_tracker import GroundKalmanTracker
from d2road.traffic.tracking.tracker_options import TrackerOptions
from d2road.utils.bootstrap import draw_weights, percentile_interval
from d2road.utils.errors import DataError, report_errors

BENCH = "tracking"
SEGMENT_S, DRAWS = 15.0, 2000
# Thresholds as ours has them for the detector, whose scores are low, and two tries on a validation clip for the labels.
PIXEL_OPTIONS = {
    "detector": PixelOptions(90, high_conf_det_threshold=0.18, track_activation_threshold=0.18),
    "worsened": PixelOptions(90, high_conf_det_threshold=0.4, track_activation_threshold=0.4),
}
# Standard deviations of a calibration that is nearly right, one draw a clip.
PITCH_DEG, ROLL_DEG, HEIGHT_SHARE = 0.07, 0.2, 0.015
OURS = ("ground, live", "ground, smoothed")


def run_ours(
    clip: Clip, found: dict[int, GroundDetections], camera: RoadsideCamera, options: TrackerOptions | None = None
) -> dict[str, pd.DataFrame]:
    """Live and smoothed tracks of this project's tracker."""
    tracker = GroundKalmanTracker(options, lambda points: in_view(camera, points))
    nothing = GroundDetections.empty()
    live = [tracker.update(found.get(k, nothing), float(t), k).rows for k, t in enumerate(clip.times)]
    return dict(zip(OURS, (pd.concat(live, ignore_index=True), tracker.finish().rows)))


def run_pixels(clip: Clip, found: dict[int, GroundDetections], options: PixelOptions) -> dict[str, pd.DataFrame]:
    """Tracks of both trackers in pixels, by the box and by the point of the detection, also with gaps filled."""
    results = {}
    for name in ("bytetrack", "ocsort"):
        by_point = track_in_pixels(clip, found, name, options)
        by_box = by_point.assign(x=by_point["box_x"], y=by_point["box_y"]).dropna(subset=["x", "y"])
        results[f"{name}, homography of the box"] = with_speed(by_box)
        results[f"{name}, point of the 3D box"] = with_speed(by_point)
        results[f"{name}, point of the 3D box, filled"] = with_speed(filled(by_point, clip))
    return results


def disturbed(camera: RoadsideCamera, seed: int) -> RoadsideCamera:
    """The camera as a good calibration of it may believe it to be."""
    pitch, roll, height = np.random.default_rng(seed).normal(0, 1, 3)
    plane = plane_from_angles(
        camera.pitch_rad + np.deg2rad(PITCH_DEG) * pitch,
        camera.roll_rad + np.deg2rad(ROLL_DEG) * roll,
        camera.height_m * np.exp(HEIGHT_SHARE * height),
    )
    return replace(camera, ground=plane)


def self_calibrated(camera: RoadsideCamera, errors: dict[str, float]) -> RoadsideCamera:
    """The camera as its self-calibration believes it to be, by its errors as `calibration_clips` records them."""
    plane = plane_from_angles(
        camera.pitch_rad + np.deg2rad(errors["pitch_deg"]),
        camera.roll_rad + np.deg2rad(errors["roll_deg"]),
        camera.height_m * (1 + errors["height"]),
    )
    return replace(camera, ground=plane)


def calibration_errors(split: str) -> dict[str, dict[str, float]]:
    """Errors of each clip's self-calibration from the detector's boxes and what moves, K given.

    Raises:
        DataError: `benchmarks.traffic.calibration_clips` has no record of the split.
    """
    record = read_record("camera_calibration", f"clips_{split}_detector")
    if record is None:
        raise DataError(f"no record of self-calibrations: benchmarks.traffic.calibration_clips --split {split}")
    return {name: modes["given_K_motion"] for name, modes in record["metrics"]["clips"].items()}


def speeds_of(clips: Sequence[Clip], runs: Sequence[dict[str, pd.DataFrame]]) -> dict[str, dict]:
    """Speeds of ours, live and smoothed, of all clips and of each."""
    found: dict[str, dict] = {}
    for name in OURS:
        errors = [speed_errors(clip, run[name]) for clip, run in zip(clips, runs)]
        of_clips = {clip.name: speed_scores(one) for clip, one in zip(clips, errors)}
        found[name] = speed_scores(pd.concat(errors)) | {"clips": of_clips}
    return found


def score(clips: Sequence[Clip], results: Sequence[dict[str, pd.DataFrame]], seed: int) -> dict[str, dict]:
    """HOTA with intervals over segments of clips, against ours, and speeds of each method."""
    scores: dict[str, dict] = {}
    draws: dict[str, np.ndarray] = {}
    for name in results[0]:
        whole = [hota_counts(matched_frames(clip, found[name])) for clip, found in zip(clips, results)]
        parts = [
            hota_counts(matched_frames(clip, found[name], start, start + SEGMENT_S))
            for clip, found in zip(clips, results)
            for start in np.arange(0, clip.times[-1] + 1e-9, SEGMENT_S)
        ]
        weights = draw_weights(["segment"] * len(parts), DRAWS, seed)
        draws[name] = combined_hota(parts, weights)["HOTA"]
        total = combined_hota(whole, np.ones((1, len(whole))))
        errors = pd.concat([speed_errors(clip, found[name]) for clip, found in zip(clips, results)])
        scores[name] = {
            **{key: float(value[0]) for key, value in total.items()},
            "HOTA_of_segments": float(combined_hota(parts, np.ones((1, len(parts))))["HOTA"][0]),
            "HOTA_of_segments_interval": percentile_interval(draws[name]),
            "segments": len(parts),
            "speed_of_cars_15_to_60_m": speed_scores(errors),
        }
    for name in results[0]:
        ours = OURS[1] if name.endswith("filled") else OURS[0]
        if name not in OURS:
            scores[name]["ours_above_by"] = {
                "of": ours, "HOTA": scores[ours]["HOTA"] - scores[name]["HOTA"],
                "interval": percentile_interval(draws[ours] - draws[name]),
            }  # fmt: skip
    return scores


def main(argv: Sequence[str] | None = None) -> None:
    """Track and score the clips of a split, and keep the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, default=Path("datasets/traffic_video"))
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--input", choices=("detector", "worsened"), default="detector")
    parser.add_argument("--names", nargs="*", help="clips; all of the split that have predictions unless given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args(argv)
    begun = time.time()
    pred = args.clips / "pred"
    names = args.names or sorted(path.name for path in (args.clips / args.split).iterdir() if path.is_dir())
    if args.input == "detector":
        names = [name for name in names if (pred / f"{name}.parquet").is_file()]
    clips, exact = [read_clip(args.clips, name) for name in names], []
    believed: dict[str, list[dict[str, pd.DataFrame]]] = {"disturbed_calibration": [], "self_calibrated": []}
    calibrated = calibration_errors(args.split)
    for k, clip in enumerate(clips):
        table = detector_table(pred, clip) if args.input == "detector" else worsened_labels(clip, args.seed + k)
        found = to_ground(clip, table)
        exact.append(run_ours(clip, found, clip.camera) | run_pixels(clip, found, PIXEL_OPTIONS[args.input]))
        others = disturbed(clip.camera, args.seed + k), self_calibrated(clip.camera, calibrated[clip.name])
        for runs, camera in zip(believed.values(), others):
            runs.append(run_ours(clip, to_ground(clip, table, camera), camera))
        print(f"{clip.name}: tracked, {time.time() - begun:.0f} s", flush=True)
    metrics = {"exact_calibration": score(clips, exact, args.seed), "exact_calibration_speeds": speeds_of(clips, exact)}
    metrics |= {name: speeds_of(clips, runs) for name, runs in believed.items()}
    for name, values in metrics["exact_calibration"].items():
        print(
            f"{name}: HOTA {values['HOTA']:.1f}, {values.get('ours_above_by', '')} {values['speed_of_cars_15_to_60_m']}"
        )
    print({name: metrics[name] for name in believed})
    if args.record:
        write_record(
            BENCH,
            f"{args.input}_{args.split}",
            metrics=metrics,
            command=f"python -m benchmarks.traffic.tracking_benchmark --split {args.split} --input {args.input} "
            f"--names {' '.join(names)} --record",
            config={"tracker": asdict(TrackerOptions()), "pixels": asdict(PIXEL_OPTIONS[args.input])},  # type: ignore[arg-type]
            seed=args.seed,
            seconds=time.time() - begun,
            data=f"make-data traffic-video --seed 0: {', '.join(names)}",
        )


if __name__ == "__main__":
    sys.exit(report_errors(main)())
