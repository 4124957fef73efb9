"""Tracks of a watched camera, for tests: a steady flow in two lanes of the straight site, and one who stops in it."""

from functools import cache

import numpy as np
import pandas as pd

from d2road.data.roadside_camera_files import write_camera as write_camera_file
from d2road.traffic.baselines.track_surprise import CameraSurprise
from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.camera_grid import camera_grid
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.traffic.tracking.ground_detections import COLUMNS
from tests.factories.camera_sites import LANES, straight_camera, straight_site
from tests.factories.trajectories import table, track
from tests.factories.videos import write_video

SPEED, EVERY_S, DT = 10.0, 4.0, 0.2


def flow(seconds: float, seed: int = 0, stops: str = "", recording: str = "r") -> Trajectories:
    """Vehicles that come every 4 s in each lane, at speeds of 9 to 11 m/s.

    Args:
        stops: name of one that stands for 14 s in the middle of the view; nobody comes behind it meanwhile.
    """
    rng, (low, high) = np.random.default_rng(seed), straight_site().view
    rows = []
    for lane in ("0", "1"):
        for number, enter in enumerate(np.arange(0.0, seconds, EVERY_S)):
            name = f"{lane}{number:03d}"
            speed = SPEED + rng.uniform(-1, 1)
            t = np.arange(np.ceil(enter / DT) * DT, min(enter + (high - low) / speed, seconds), DT).round(3)
            s, v = low + speed * (t - enter), np.full(len(t), speed)
            if name == stops:
                t = np.arange(t[0], t[-1] + 14.0, DT).round(3)
                driven = np.interp(t - t[0], [0, 3, 17, 60], [0, 3 * speed, 3 * speed, 46 * speed])
                s, v = low + driven, np.where((t - t[0] >= 3) & (t - t[0] < 17), 0.0, speed)
            elif stops and lane == stops[0] and int(stops[1:]) < number <= int(stops[1:]) + 4:
                continue
            noise = rng.normal(0, 0.1, (2, len(t)))
            if len(t) > 2:
                rows.append(track(name, t, s + noise[0], v + noise[1], lane=lane, recording=recording))
    return table(*rows)


def write_camera(folder):
    """camera.yaml of the straight site, with its road."""
    path = folder / "camera.yaml"
    write_camera_file(path, straight_camera())
    return path


@cache
def fitted_camera_rules():
    """Rules of the scale of a camera, fitted on the flow."""
    grid = camera_grid(straight_site().view, 1)
    return CameraSurprise().fit([TrafficWindow.unrendered(one, grid.renderer) for one in grid.over([flow(400)])])


def write_watched_video(folder, tracks, size_wh=(160, 90)):
    """clip.mp4, camera.yaml, detections.csv and frames.csv of tracks of the straight site, as options of watch."""
    camera = straight_camera().scaled(*size_wh)
    write_camera_file(folder / "camera.yaml", camera)
    frame = tracks.frame
    times = np.unique(frame["t"].to_numpy())
    number = np.searchsorted(times, frame["t"].to_numpy())
    offset = np.where(frame["lane"] == "0", LANES["1"], LANES["2"])
    place = camera.road.to_ground(np.stack([frame["s"] - frame["length"] / 2, offset], axis=1))
    values = {
        "frame": number, "t": frame["t"], "cls": "car", "score": 0.9, "x": place[:, 0], "y": place[:, 1],
        "var_x": 0.01, "cov_xy": 0.0, "var_y": 0.01, "heading": np.pi / 2, "length": 4.0, "width": 1.8, "height": 1.5,
        "x1": 0.0, "y1": 0.0, "x2": 9.0, "y2": 9.0,
    }  # fmt: skip
    pd.DataFrame({name: values[name] for name in COLUMNS}).to_csv(folder / "detections.csv", index=False)
    lines = [f"{number},{t:.6f}" for number, t in enumerate(times)]
    (folder / "frames.csv").write_text("\n".join(["frame,t", *lines, ""]))
    write_video(folder / "clip.mp4", list(times), size_wh)
    video, calib, found = (str(folder / name) for name in ("clip.mp4", "camera.yaml", "detections.csv"))
    return ["--input", video, "--calib", calib, "--detections", found]
