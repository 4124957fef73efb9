"""Tracks as lines of text: CSV of all columns, MOTChallenge's results, KITTI's tracking results."""

import io
from typing import IO

import numpy as np
import pandas as pd

from d2road.structures.kitti_text import format_kitti_row
from d2road.structures.roadside_camera import RoadsideCamera
from d2road.traffic.tracking.ground_tracks import COLUMNS, DTYPES, GroundTracks

# Steps of 0.1 mm, 0.1 mm/s and 0.006 degrees lose nothing; times keep a microsecond.
DECIMALS = {"t": 6, "var_x": 8, "cov_xy": 8, "var_y": 8, "x1": 2, "y1": 2, "x2": 2, "y2": 2}
USUAL_DECIMALS = 4
LEAST_VARIANCE = 1e-8  # what the decimals of a variance can say


def csv_header() -> str:
    """The line of names."""
    return ",".join(COLUMNS) + "\n"


def csv_lines(tracks: GroundTracks) -> str:
    """All columns, without the line of names; nothing where a value is unknown."""
    columns = {}
    for name in COLUMNS:
        values = tracks.rows[name]
        if DTYPES[name] == "float64":
            least = LEAST_VARIANCE if name.startswith("var_") else -np.inf
            values = values.clip(lower=least).round(DECIMALS.get(name, USUAL_DECIMALS))
        columns[name] = values.astype("int8") if DTYPES[name] == "bool" else values
    return pd.DataFrame(columns).to_csv(index=False, header=False, lineterminator="\n")


def read_csv(file: IO[str] | str) -> GroundTracks:
    """Tracks of a CSV file, or an open one, with its line of names.

    Raises:
        FileNotFoundError, DataError: no such file; not such a table.
    """
    return GroundTracks.from_frame(pd.read_csv(file, dtype={"cls": str, "motion": str}, keep_default_na=True))


def read_csv_lines(lines: str) -> GroundTracks:
    """Tracks of lines as `csv_lines` gives them."""
    return read_csv(io.StringIO(csv_header() + lines))


def mot_lines(tracks: GroundTracks, camera: RoadsideCamera) -> str:
    """MOTChallenge's results: frame (from 1), id, left, top, width, height, score, x, y, z.

    x, y and z are metres in the ground frame, where MOTChallenge's 3D results have the world's. Rows that no detection
    is in get the box that the camera would see.
    """
    rows = tracks.rows
    boxes = image_boxes(tracks, camera)
    return "".join(
        f"{frame + 1},{track},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},{score:.4f},{x:.3f},{y:.3f},0\n"
        for frame, track, score, x, y, (x1, y1, x2, y2) in zip(
            rows["frame"], rows["track"], rows["score"], rows["x"], rows["y"], boxes
        )
    )


def kitti_lines(tracks: GroundTracks, camera: RoadsideCamera) -> str:
    """KITTI's tracking results: frame (from 0), id, and a label's fields in the camera frame with the score.

    Unknown sizes are -1 and unknown angles -10, as KITTI writes them.
    """
    rows = tracks.rows
    xy = rows[["x", "y"]].to_numpy()
    place = camera.ground_to_camera(np.column_stack([xy, np.zeros(len(xy))]))
    heading = rows["heading"].to_numpy()
    ry = np.where(np.isfinite(heading), camera.ry_of_heading(np.nan_to_num(heading)), -10.0)
    ray = np.arctan2(place[:, 0], place[:, 2])
    alpha = np.where(np.isfinite(heading), (ry - ray + np.pi) % (2 * np.pi) - np.pi, -10.0)
    hwl = np.nan_to_num(rows[["height", "width", "length"]].to_numpy(), nan=-1.0)
    boxes = image_boxes(tracks, camera)
    numbers = np.column_stack([place, hwl, ry])
    lines = []
    for k, (frame, track, cls, score) in enumerate(zip(rows["frame"], rows["track"], rows["cls"], rows["score"])):
        kind = "_".join(str(cls).split()) or "unknown"
        text = format_kitti_row(kind, boxes[k], numbers[k], alpha[k], score=score, decimals=4)
        lines.append(f"{frame} {track} {text}\n")
    return "".join(lines)


def image_boxes(tracks: GroundTracks, camera: RoadsideCamera) -> np.ndarray:
    """(N, 4) boxes in the image: of detections, else around the track's 3D box; -1 where neither can be told."""
    rows = tracks.rows
    boxes = np.array(rows[["x1", "y1", "x2", "y2"]])
    unseen = ~np.isfinite(boxes).all(1)
    if unseen.any():
        pixels = camera.ground_to_image(box_corners(rows[unseen]))  # (N, 8, 2)
        around = np.concatenate([pixels.min(1), pixels.max(1)], axis=1)
        size = [camera.width, camera.height] * 2
        boxes[unseen] = np.where(np.isfinite(around).all(1, keepdims=True), np.clip(around, 0, size), -1.0)
    return boxes


def box_corners(rows: pd.DataFrame) -> np.ndarray:
    """(N, 8, 3) corners of the boxes of rows in the ground frame, the lower four first; NaN where unknown."""
    heading, length, width = (rows[name].to_numpy()[:, None] for name in ("heading", "length", "width"))
    along, across = length / 2 * np.array([1, 1, -1, -1]), width / 2 * np.array([-1, 1, 1, -1])
    x = rows["x"].to_numpy()[:, None] + along * np.cos(heading) - across * np.sin(heading)
    y = rows["y"].to_numpy()[:, None] + along * np.sin(heading) + across * np.cos(heading)
    top = np.repeat(rows["height"].to_numpy()[:, None], 4, axis=1)
    lower = np.stack([x, y, np.zeros_like(x)], axis=-1)
    return np.concatenate([lower, np.stack([x, y, top], axis=-1)], axis=1)
