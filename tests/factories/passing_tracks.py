"""Tracks of vehicles that pass a camera of the straight site, as `d2road track` has them on the ground."""

import numpy as np
import pandas as pd

from d2road.traffic.calibration.camera_turn import turned_ground
from d2road.traffic.tracking.ground_tracks import COLUMNS, GroundTracks
from tests.factories.camera_sites import LANES, straight_camera

EVERY_S, DT, NEAR_M, FAR_M = 2.0, 0.2, 15.0, 75.0
BESIDE_M, SLOPE, NOISE_M = 0.3, 0.0015, 0.03


def passing(count, seed=0, turned_at=np.inf, turn_deg=(0.0, 0.0, 0.0), speed=20.0, start=0.0):
    """Rows t, track, x, y of vehicles that come every 2 s; from `turned_at` on as the old calibration lifts them."""
    rng, camera, parts = np.random.default_rng(seed), straight_camera(), []
    for number in range(count):
        y = np.arange(NEAR_M, FAR_M, speed * DT)
        lane = list(LANES.values())[number % 2] + rng.normal(0, BESIDE_M)
        x = -lane + (y - 45) * rng.normal(0, SLOPE) + rng.normal(0, NOISE_M, len(y))
        t = start + EVERY_S * number + DT * np.arange(len(y))
        parts.append(pd.DataFrame({"t": t.round(3), "track": number + 1, "x": x, "y": y}))
    rows = pd.concat(parts, ignore_index=True)
    xy, late = rows[["x", "y"]].to_numpy().copy(), rows["t"].to_numpy() >= turned_at
    xy[late] = turned_ground(camera, xy[late], np.array(turn_deg))
    return rows.assign(x=xy[:, 0], y=xy[:, 1]).sort_values(["t", "track"], ignore_index=True)


def ground_tracks(rows):
    """The same rows with all columns of `GroundTracks`."""
    plain = dict.fromkeys(COLUMNS, np.nan) | {
        "cls": "car", "score": 0.9, "var_x": 0.01, "cov_xy": 0.0, "var_y": 0.01, "heading": np.pi / 2, "length": 4.5,
        "width": 1.8, "height": 1.5, "speed": 20.0, "speed_sd": 0.3, "motion": "moving", "seen": True,
        "x1": 0.0, "y1": 0.0, "x2": 9.0, "y2": 9.0,
    }  # fmt: skip
    frame = np.round(rows["t"].to_numpy() / DT).astype(int)
    return GroundTracks.from_frame(pd.DataFrame({**plain, **{name: rows[name] for name in rows}, "frame": frame}))
