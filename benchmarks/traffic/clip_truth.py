"""Filmed clips with their ground truth, and detections on the ground: the detector's, or exact labels made worse.

The model of exact labels made worse: a vehicle of which the share v is visible is found with probability
0.92 min(v / 0.5, 1), never below 0.15; its point on the road is off by 0.5 px + 2 % of its box's height, white, and as
much again that lasts about a second; box edges by 0.3 px + 3 % of the height; sizes by 3 %; headings by 0.1 rad, and
17.6 % are reversed; 0.2 false boxes a frame, where some vehicle is at another time. Scores follow the visible share.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.traffic.clip_predictions import BOX, ROW, clip_folder
from d2road.data.roadside_camera_files import CAMERA_FILE, read_roadside_camera
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.traffic.tracking.camera_detections import PixelNoise, detections_on_ground
from d2road.traffic.tracking.ground_detections import GroundDetections

LEAST_VISIBLE, FARTHEST_M = 0.1, 80.0
FOUND, HALF_HIDDEN, NEVER = 0.92, 0.5, 0.15
POINT_PX, POINT_SHARE, EDGE_PX, EDGE_SHARE = 0.5, 0.02, 0.3, 0.03
LASTING_S, SIZE_SHARE, HEADING_RAD, REVERSED, FALSE_A_FRAME = 1.0, 0.03, 0.1, 0.176, 0.2


@dataclass(frozen=True)
class Clip:
    """A clip: its true camera, ground truth (tracks.csv), and the presentation times of its frames (T,)."""

    name: str
    camera: RoadsideCamera
    truth: pd.DataFrame
    times: np.ndarray


def read_clip(clips: Path, name: str) -> Clip:
    """A clip by its name, with `range` (m from the camera's foot) and `counted` (whether it must be found) added."""
    folder = clip_folder(clips, name)
    camera = read_roadside_camera(folder / CAMERA_FILE)
    truth = pd.read_csv(folder / "tracks.csv")
    truth["range"] = np.hypot(truth["X"], truth["Y"])
    inside = (truth["x2"] > 0) & (truth["x1"] < camera.width) & (truth["y2"] > 0) & (truth["y1"] < camera.height)
    inside &= truth["truncated"] < 0.5
    truth["counted"] = inside & (truth["visible"] >= LEAST_VISIBLE) & (truth["range"] <= FARTHEST_M)
    return Clip(name, camera, truth, pd.read_csv(folder / "frames.csv")["t"].to_numpy())


def detector_table(pred: Path, clip: Clip) -> pd.DataFrame:
    """What `clip_predictions` kept for a clip."""
    return pd.read_parquet(pred / f"{clip.name}.parquet")


def worsened_labels(clip: Clip, seed: int) -> pd.DataFrame:
    """Exact labels made worse by the model above, in the columns of `clip_predictions`."""
    rng = np.random.default_rng(seed)
    truth = clip.truth[(clip.truth["visible"] >= NEVER) & (clip.truth["range"] <= 2 * FARTHEST_M)]
    truth = truth.sort_values(["id", "frame"], ignore_index=True)
    height = (truth["y2"] - truth["y1"]).to_numpy()[:, None]
    scale = POINT_PX + POINT_SHARE * height
    lasting = _lasting(truth, rng)
    point = clip.camera.ground_to_image(truth[["X", "Y", "Z"]].to_numpy())
    point = clip.camera.undistort(point) + scale * (rng.normal(size=point.shape) + lasting)
    corners = clip.camera.undistort(truth[BOX].to_numpy().reshape(-1, 2)).reshape(-1, 4)
    edges = corners + (EDGE_PX + EDGE_SHARE * height) * rng.normal(size=corners.shape)
    rows = pd.DataFrame(edges, columns=BOX)
    pinhole = _pinhole(clip.camera)
    place = pinhole.image_to_ground(point)
    rows[["x", "y", "z"]] = pinhole.ground_to_camera(np.column_stack([place, np.zeros(len(place))]))
    for name, column in (("h", "height"), ("w", "width"), ("l", "length")):
        rows[name] = truth[column] * np.exp(SIZE_SHARE * rng.normal(size=len(truth)))
    heading = truth["heading_rad"] + HEADING_RAD * rng.normal(size=len(truth))
    rows["ry"] = clip.camera.ry_of_heading(heading + np.pi * (rng.random(len(truth)) < REVERSED))
    visible = truth["visible"].to_numpy()
    rows["score"] = np.clip(0.35 + 0.6 * visible + 0.1 * rng.normal(size=len(truth)), 0.05, 0.99)
    rows = rows.assign(frame=truth["frame"], t=truth["t"], cls=truth["cls"])
    found = rng.random(len(truth)) < FOUND * np.minimum(visible / HALF_HIDDEN, 1)
    found &= np.isfinite(rows[ROW].to_numpy()).all(1)
    false = rows[found].sample(rng.poisson(FALSE_A_FRAME * len(clip.times)), random_state=seed, replace=True)
    frames = rng.integers(len(clip.times), size=len(false))
    false = false.assign(frame=frames, t=clip.times[frames], score=rng.uniform(0.05, 0.7, len(false)))
    return pd.concat([rows[found], false], ignore_index=True).sort_values("frame", kind="stable", ignore_index=True)


def to_ground(
    clip: Clip, table: pd.DataFrame, camera: RoadsideCamera | None = None, noise: PixelNoise | None = None
) -> dict[int, GroundDetections]:
    """Detections of each frame on the ground, as another camera than the true one may believe it to be."""
    pinhole, believed = _pinhole(clip.camera), _pinhole(camera or clip.camera)
    found = {}
    for frame, rows in table.groupby("frame", sort=True):
        boxes = rows[ROW].to_numpy().copy()
        if camera is not None:  # the pixel is what the detector saw
            place = believed.image_to_ground(pinhole.camera_to_image(boxes[:, :3]))
            keep = np.isfinite(place).all(1)
            rows, boxes, place = rows[keep], boxes[keep], place[keep]
            boxes[:, :3] = believed.ground_to_camera(np.column_stack([place, np.zeros(len(place))]))
        t = clip.times[int(str(frame))]
        found[int(str(frame))] = detections_on_ground(
            believed, int(str(frame)), t, boxes, rows[BOX].to_numpy(), rows["cls"].tolist(), rows["score"].to_numpy(),
            noise,
        )  # fmt: skip
    return found


def _pinhole(camera: RoadsideCamera) -> RoadsideCamera:
    """The camera of the undistorted image, which detectors see."""
    return RoadsideCamera(camera.width, camera.height, camera.K, camera.ground, road=camera.road)


def _lasting(truth: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """(N, 2) standard normal errors that last: autoregressive along each vehicle's rows, which follow each other."""
    values = rng.normal(size=(len(truth), 2))
    vehicle, t = truth["id"].to_numpy(), truth["t"].to_numpy()
    for k in range(1, len(truth)):
        if vehicle[k] == vehicle[k - 1]:
            share = np.exp(-(t[k] - t[k - 1]) / LASTING_S)
            values[k] = share * values[k - 1] + np.sqrt(1 - share**2) * values[k]
    return values
