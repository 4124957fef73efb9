"""What a detector's boxes tell of a lens, and how long it takes: parts put right one by one, and shorter clips.

python -m benchmarks.traffic.calibration_study --clips ROOT --predictions FOLDER --names val_000 val_002 --record study

Arguments as of `calibration_clips`. "Parts": with K unknown, the detector's boxes, bottom centres or sizes are replaced
by the exact ones of the same vehicles, to see which of them makes the focal length wrong. "Seconds": errors of the
first seconds of each clip, K given, by boxes alone and with motion.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.common.records import write_record
from benchmarks.traffic.calibration_clips import BENCH, SEED, Numbers, detected_observations, errors_of, motion_at
from d2road.data.roadside_camera_files import read_roadside_camera
from d2road.structures.boxes2d import iou_and_giou
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.traffic.calibration.box_projection import Lens
from d2road.traffic.calibration.evidence import Evidence
from d2road.traffic.calibration.observations import BOX, SIZE, CalibrationObservations
from d2road.traffic.calibration.self_calibration import DETECTED, KnownLens, calibrate_from_tracks
from d2road.traffic.calibration.track_samples import sample_tracks
from d2road.utils.errors import DataError, report_errors

SECONDS = (10.0, 20.0, 40.0, 60.0)
SAME_IOU = 0.5
BOTTOM = ("bottom_u", "bottom_v")
PARTS: dict[str, tuple[str, ...]] = {
    "the detector's": (),
    "exact sizes": SIZE,
    "exact boxes": BOX,
    "exact bottom centres": BOTTOM,
    "exact boxes and bottom centres": (*BOX, *BOTTOM),
}


def matched(rows: pd.DataFrame, folder: Path, camera: RoadsideCamera) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Detections of vehicles that the labels have, and what is exact of them, in the same order."""
    exact = pd.read_csv(folder / "tracks.csv")
    exact = exact[exact["truncated"] == 0].rename(columns={"height": "h", "width": "w", "length": "l"})
    height = exact["Z"].to_numpy() if "Z" in exact else np.zeros(len(exact))
    points = camera.ground_to_camera(np.column_stack([exact["X"], exact["Y"], height]))
    exact = exact.assign(**dict(zip(BOTTOM, camera.pinhole.project(points)[0].T)))
    pairs = []
    for frame, own in rows.groupby("frame"):
        there = exact[exact["frame"] == frame]
        if not len(there):
            continue
        a, b = (torch.tensor(part[list(BOX)].to_numpy(float)) for part in (own, there))
        overlap = iou_and_giou(a[:, None], b[None])[0].numpy()
        best = overlap.argmax(axis=1)
        good = overlap[np.arange(len(own)), best] > SAME_IOU
        pairs += zip(own.index[good], there.index[best[good]])
    ours, theirs = (list(numbers) for numbers in zip(*pairs))
    return rows.loc[ours].reset_index(drop=True), exact.loc[theirs].reset_index(drop=True)


def calibrated(
    rows: pd.DataFrame, lens: KnownLens, exact: RoadsideCamera, evidence: Sequence[Evidence] = ()
) -> Numbers | None:
    """Errors of a calibration from rows; None where they are too few."""
    samples = sample_tracks(CalibrationObservations(rows, exact.width, exact.height), min_score=0.0)
    try:
        found = calibrate_from_tracks(samples, lens, evidence=evidence, errors=DETECTED)
    except DataError as error:
        print(error, flush=True)
        return None
    return errors_of(found.camera, exact) | {"vehicles": float(samples.vehicles)}


def study_clip(folder: Path, stored: Path, every: int) -> dict[str, Any]:
    """Both studies of a clip."""
    exact = read_roadside_camera(folder)
    rows = detected_observations(stored, exact, every).rows
    ours, theirs = matched(rows, folder, exact)
    unknown = KnownLens.unknown(exact.width, exact.height)
    parts = {}
    for name, columns in PARTS.items():
        parts[name] = calibrated(ours.assign(**{one: theirs[one] for one in columns}), unknown, exact)
        print(folder.name, name, parts[name], flush=True)
    low = (ours["bottom_v"] - theirs["bottom_v"]) / (theirs["y2"] - theirs["y1"])
    given, seconds = KnownLens(exact.K, 0.0, np.zeros(5)), {}
    for until, motion in zip(SECONDS, motion_at(folder / "video.mp4", exact, SECONDS)):
        part = rows[rows["t"] < until]
        told = {"boxes": calibrated(part, given, exact), "motion": calibrated(part, given, exact, motion)}
        seconds[f"{until:g}"] = told
        print(folder.name, until, told, flush=True)
    moved = [replace(one, lens=Lens(unknown.K, np.zeros(5))) for one in motion]
    parts["the detector's, and motion"] = calibrated(ours, unknown, exact, moved)
    print(folder.name, "motion", parts["the detector's, and motion"], flush=True)
    return {"parts": parts, "seconds": seconds, "bottom_too_low_in_box_heights": float(low.median())}


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Study clips, print and keep a record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument(
        "--predictions", type=Path, required=True, help="folder with a detector's CLIP_no_plane.parquet"
    )
    parser.add_argument("--names", nargs="+", required=True, help="clips")
    parser.add_argument("--every", type=int, default=2, help="take each N-th frame (default: 2)")
    parser.add_argument("--record", default="", help="name of the record; none is written without")
    args = parser.parse_args(argv)
    began = time.monotonic()
    clips = {
        name: study_clip(
            args.clips / name.split("_")[0] / name, args.predictions / f"{name}_no_plane.parquet", args.every
        )
        for name in args.names
    }
    if args.record:
        write_record(
            BENCH, args.record, metrics={"clips": clips}, seed=SEED, config="clips of make-data traffic-video, 60 s",
            command="python -m benchmarks.traffic.calibration_study --predictions FOLDER --names "
            + " ".join(args.names),
            seconds=time.monotonic() - began,
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
