"""How well the road of a camera is known from the vehicles that drive on it, on simulated clips whose road is known.

    python -m benchmarks.traffic.road_study --split val --clips 4 --record val

Nothing is rendered: SUMO drives the traffic of the clips of `d2road make-data traffic-video`, and tracks are exact but
for what is stated. SUMO's vehicles drive in the middle of their lanes; here each keeps its own distance beside it
(BESIDE_M, standard deviation), and places scatter (NOISE_M). Roads that are not plane are so here too.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.common.records import write_record
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.synthetic.traffic_video.clip_job import drive_clip, set_up
from d2road.synthetic.traffic_video.clip_labels import ground_tracks
from d2road.synthetic.traffic_video.clip_plan import SPLITS, all_plans
from d2road.traffic.calibration.road_estimate import estimate_road
from d2road.traffic.tracking.camera_detections import in_view
from d2road.utils.errors import DataError

BESIDE_M, NOISE_M = 0.3, 0.2


def beside(tracks: pd.DataFrame, camera: RoadsideCamera, seed: int) -> pd.DataFrame:
    """Rows t, track, x, y of exact tracks that are in the image, each vehicle beside the middle of its lane."""
    assert camera.road is not None, "clips know their road"
    rng = np.random.default_rng(seed)
    rows = tracks.rename(columns={"id": "track", "X": "x", "Y": "y"})[["t", "track", "x", "y"]]
    xy = rows[["x", "y"]].to_numpy()
    rows = rows[in_view(camera, xy)].reset_index(drop=True)
    names, number = np.unique(rows["track"], return_inverse=True)
    across = camera.road.to_ground(np.array([0.0, 1.0]))
    off = across * rng.normal(0, BESIDE_M, (len(names), 1))[number] + rng.normal(0, NOISE_M, (len(rows), 2))
    return rows.assign(x=rows["x"] + off[:, 0], y=rows["y"] + off[:, 1])


def errors_of(rows: Any, camera: RoadsideCamera) -> dict[str, Any]:
    """What the estimate is off by: lanes, directions, heading (degrees), borders of lanes (m)."""
    truth = camera.road
    assert truth is not None, "clips know their road"
    try:
        found = estimate_road(rows, camera).road
    except DataError as error:
        return {"refused": str(error)}
    told: dict[str, Any] = {"lanes": len(found.directions), "true_lanes": len(truth.directions)}
    turn = (found.heading_rad - truth.heading_rad + np.pi) % (2 * np.pi) - np.pi
    told["heading_deg"] = float(np.rad2deg(turn))
    if told["lanes"] == told["true_lanes"]:
        off = found.borders_m - truth.borders_m
        told |= {"borders_m": off.round(3).tolist(), "inner_m": float(np.abs(off[1:-1]).max(initial=0.0))}
        told |= {"largest_m": float(np.abs(off).max()), "directions": found.directions.tolist()}
    return told


def main() -> None:
    """Drive, estimate, print, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=SPLITS, default="val")
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", default="", help="name of the record")
    args = parser.parse_args()
    began, told = time.monotonic(), {}
    counts = dict.fromkeys(SPLITS, 0) | {args.split: args.clips}
    for plan in all_plans(counts, args.seed, args.seconds, sizes="catalogue"):
        with tempfile.TemporaryDirectory() as work:
            traffic = drive_clip(plan, Path(work))
            camera = set_up(plan, traffic)[0]
        rows = beside(ground_tracks(traffic, camera), camera.model, args.seed)
        told[plan.name] = errors_of(rows, camera.model) | {"surface": plan.surface}
        print(plan.name, told[plan.name], flush=True)
    if args.record:
        words = f"--split {args.split} --clips {args.clips} --seconds {args.seconds:g} --seed {args.seed}"
        write_record(
            "camera_road", args.record, metrics={"clips": told}, seed=args.seed, seconds=time.monotonic() - began,
            command=f"python -m benchmarks.traffic.road_study {words} --record {args.record}",
            config={"beside_m": BESIDE_M, "noise_m": NOISE_M},
        )  # fmt: skip


if __name__ == "__main__":
    main()
