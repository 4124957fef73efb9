"""A small road with vehicles of known speed: video, camera.yaml and exact detections, at any presentation times."""

from pathlib import Path

import numpy as np
import pandas as pd

from d2road.data.roadside_camera_files import write_camera
from d2road.structures.road_axis import RoadAxis
from d2road.structures.roadside_camera import RoadsideCamera, plane_from_angles
from d2road.traffic.tracking.ground_detections import COLUMNS
from tests.factories.videos import write_video

SIZE = (160, 96)


def small_camera(size_wh: tuple[int, int] = SIZE, distortion: float = 0.0) -> RoadsideCamera:
    """A camera 7 m high that looks down by 14 degrees along a road of two lanes."""
    scale = size_wh[0] / 160
    K = np.array([[140 * scale, 0, size_wh[0] / 2], [0, 140 * scale, size_wh[1] / 2], [0, 0, 1.0]])
    road = RoadAxis(np.pi / 2, np.array([-3.5, 0.0, 3.5]), np.array([1, 1]))
    plane = plane_from_angles(np.deg2rad(14), 0.0, 7.0)
    return RoadsideCamera(*size_wh, K, plane, np.array([distortion, 0, 0, 0, 0.0]), None, road)


def detections(times, speeds=(10.0, 15.0), noise_m=0.05, seed=0, frames=None) -> pd.DataFrame:
    """Rows of cars that drive away along y at these speeds, m/s, one beside the other, from 15 m on."""
    rng = np.random.default_rng(seed)
    rows = []
    for frame, t in zip(frames if frames is not None else range(len(times)), times):
        for lane, speed in enumerate(speeds):
            x, y = 2.0 - 4.0 * lane + rng.normal(0, noise_m), 15 + speed * t + rng.normal(0, noise_m)
            box = [0, 0, 10, 10]
            rows.append(
                [frame, t, "car", 0.9, x, y, noise_m**2, 0, noise_m**2, np.pi / 2, 4.5, 1.8, 1.5, *map(float, box)]
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def make_clip(folder: Path, times, speeds=(10.0, 15.0), size_wh: tuple[int, int] = SIZE, **video) -> dict[str, str]:
    """clip.mp4, camera.yaml, detections.csv and frames.csv of a road; their paths as options of `d2road track`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_video(folder / "clip.mp4", list(times), size_wh, **video)
    write_camera(folder / "camera.yaml", small_camera(size_wh))
    detections(times, speeds).to_csv(folder / "detections.csv", index=False)
    lines = [f"{frame},{t:.6f}" for frame, t in enumerate(times)]
    (folder / "frames.csv").write_text("\n".join(["frame,t", *lines]) + "\n")
    return {
        "--input": str(folder / "clip.mp4"),
        "--calib": str(folder / "camera.yaml"),
        "--detections": str(folder / "detections.csv"),
    }


def words(options: dict[str, str], *more: str) -> list[str]:
    """A command line of options."""
    return [word for pair in options.items() for word in pair] + list(more)
