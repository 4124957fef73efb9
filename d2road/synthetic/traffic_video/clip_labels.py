"""The ground truth of a clip: 3D boxes, tracks and visibility, in the ground frame and in the image.

Visible is the share of a vehicle's pixels inside the image that nothing covers, counted while rendering; occluded is 0
from 0.8 visible, 1 from 0.5, 2 from 0.15, 3 below. Truncated is the share of the box's extent outside the image;
KITTI's tracking files have it in three levels: 0 none, 1 up to a half, 2 more.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from d2road.structures.polygons import clip_convex
from d2road.structures.upright_boxes import heading_to_ry, ry_to_alpha
from d2road.synthetic.roadside.raster import NEAR_CLIP_M, project_polygon
from d2road.synthetic.roadside.roadside_labels import OCCLUDED_BELOW, SMALLEST_BOX_PX
from d2road.synthetic.roadside.views import HEIGHT, WIDTH
from d2road.synthetic.traffic_incidents.control import STEP_S
from d2road.synthetic.traffic_video.clip_camera import ClipCamera
from d2road.synthetic.traffic_video.clip_traffic import ClipTraffic
from d2road.synthetic.traffic_video.film import FilmedVehicle
from d2road.synthetic.traffic_video.road_shape import RoadShape

FAR_M = 250.0  # from the camera; who is farther is neither drawn nor labelled
# Corners of the faces of `FilmedVehicle.corners`.
FACES = ((0, 1, 2, 3), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7))
TRUNCATED_FROM = (0.01, 0.5)


def ground_tracks(traffic: ClipTraffic, camera: ClipCamera) -> pd.DataFrame:
    """The vehicles of a clip within FAR_M, in the ground frame, a row an instant and vehicle.

    Returns:
        frame, t, id (from 1, in order of appearance), vehicle (SUMO's name), cls, X, Y (bottom centre), heading_rad,
        speed_mps (of the bottom centre, the central difference of its positions), length, width, height, lane, s.
    """
    table = traffic.table.sort_values(["frame", "vehicle"], kind="stable").reset_index(drop=True)
    models = [traffic.models[name] for name in table["driver"]]
    hwl = np.array([model.hwl for model in models]).reshape(-1, 3)
    heading = table["heading_rad"].to_numpy()
    ahead = np.stack([np.cos(heading), np.sin(heading)], axis=1)
    center = camera.to_ground(table[["x", "y"]].to_numpy() - hwl[:, 2:] / 2 * ahead)
    tracks = pd.DataFrame(
        {
            "frame": table["frame"], "t": table["t"], "id": pd.factorize(table["vehicle"])[0] + 1,
            "vehicle": table["vehicle"], "cls": [model.kind for model in models], "X": center[:, 0], "Y": center[:, 1],
            "heading_rad": camera.heading(heading), "length": hwl[:, 2], "width": hwl[:, 1], "height": hwl[:, 0],
            "lane": table["lane"], "s": table["s"],
        }
    )  # fmt: skip
    tracks.insert(8, "speed_mps", _speeds(tracks))
    is_near = np.hypot(tracks["X"], tracks["Y"]) <= FAR_M
    return tracks[is_near & tracks["frame"].between(0, traffic.frames - 1)].reset_index(drop=True)


def _speeds(tracks: pd.DataFrame) -> np.ndarray:
    """(N,) m/s: central differences, one-sided where a track begins and ends, 0 for one seen at one instant."""
    by_id = tracks.groupby("id", sort=False)
    moved, lasted = np.zeros((len(tracks), 2)), np.zeros(len(tracks))
    for axis, name in enumerate("XY"):
        after, before = by_id[name].shift(-1).fillna(tracks[name]), by_id[name].shift(1).fillna(tracks[name])
        moved[:, axis] = after - before
    frames = tracks["frame"]
    lasted = (by_id["frame"].shift(-1).fillna(frames) - by_id["frame"].shift(1).fillna(frames)) * STEP_S
    return np.linalg.norm(moved, axis=1) / np.maximum(lasted, STEP_S)


class ImageBox(NamedTuple):
    """The box (4,) x1 y1 x2 y2 around what the image shows of a 3D box, and the share that is cut off."""

    xyxy: np.ndarray
    truncated: float


def filmed_vehicles(
    rows: pd.DataFrame, camera: ClipCamera, shape: RoadShape
) -> tuple[list[FilmedVehicle], list[ImageBox]]:
    """The vehicles of one instant that the image shows or that are hidden in it, and their boxes."""
    vehicles, boxes = [], []
    for row in rows.itertuples():
        place = np.array([row.X, row.Y])
        if np.hypot(*place) > FAR_M:
            continue
        position = np.append(place, shape.height(place))
        axes = shape.axes(place, row.heading_rad, row.width / 2)
        hwl = (row.height, row.width, row.length)
        vehicle = FilmedVehicle(int(row.id), row.cls, hwl, position, axes, float(row.heading_rad))
        box = image_box(vehicle, camera)
        if box is not None:
            vehicles.append(vehicle)
            boxes.append(box)
    return vehicles, boxes


def image_box(vehicle: FilmedVehicle, camera: ClipCamera) -> ImageBox | None:
    """Where the image shows a vehicle's 3D box; None where it shows nothing of it, or less than SMALLEST_BOX_PX."""
    corners, view = vehicle.corners(), camera.view
    depth = view.to_camera(corners)[:, 2] - 2 * NEAR_CLIP_M
    if depth.max() <= 0:
        return None
    seen = [project_polygon(view, corners[list(face)], 0.0) for face in FACES]
    pixels = np.concatenate([polygon for polygon in seen if len(polygon)] or [np.zeros((0, 2))])
    if not len(pixels):
        return None
    shown = camera.in_image(pixels)
    box = np.clip(np.concatenate([shown.min(axis=0), shown.max(axis=0)]), 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
    size = box[2:] - box[:2]
    if size.min() < SMALLEST_BOX_PX:
        return None
    parts = [clip_convex(corners[list(face)], depth[list(face)]) for face in FACES]
    world = np.concatenate([part for part in parts if len(part)])
    whole, _ = view.camera.project(view.to_camera(world))
    # Cut off by the canvas, where there is no distortion that would fold far points back, and by the image.
    kept = float(np.prod(np.ptp(pixels, axis=0) / np.ptp(whole, axis=0)) * np.prod(size / np.ptp(shown, axis=0)))
    return ImageBox(box, round(max(1 - kept, 0.0), 4))


def label_rows(
    vehicles: Sequence[FilmedVehicle], boxes: Sequence[ImageBox], visible: np.ndarray, camera: ClipCamera
) -> list[dict[str, Any]]:
    """What is written of the vehicles of one instant besides their tracks, by id."""
    view, rotation = camera.view, camera.view.camera.ground_rotation()
    rows = []
    for vehicle, box, share in zip(vehicles, boxes, visible):
        location = view.to_camera(vehicle.position)
        ahead = view.R @ np.array([np.cos(vehicle.heading), np.sin(vehicle.heading), 0.0])
        ry = float(heading_to_ry(ahead, rotation))
        x1, y1, x2, y2 = box.xyxy
        rows.append(
            {
                "id": vehicle.number, "visible": round(float(share), 4), "truncated": box.truncated,
                "occluded": sum(share < threshold for threshold in OCCLUDED_BELOW),
                "x1": x1, "y1": y1, "x2": x2, "y2": y2, "x": location[0], "y": location[1], "z": location[2],
                "ry": ry, "alpha": float(ry_to_alpha(np.asarray(ry), location)), "Z": float(vehicle.position[2]),
                "pitch_rad": float(np.arcsin(vehicle.axes[2, 0])), "roll_rad": float(np.arcsin(vehicle.axes[2, 1])),
            }
        )  # fmt: skip
    return rows


def kitti_tracking_text(table: pd.DataFrame) -> str:
    """KITTI's tracking labels of what is visible: frame id type truncated occluded alpha x1 y1 x2 y2 h w l x y z ry."""
    lines = []
    for row in table[table["visible"] > 0].itertuples():
        level = sum(row.truncated > threshold for threshold in TRUNCATED_FROM)
        numbers = [row.alpha, row.x1, row.y1, row.x2, row.y2, row.height, row.width, row.length]
        numbers += [row.x, row.y, row.z, row.ry]
        text = " ".join(f"{number:.4f}" for number in numbers)
        lines.append(f"{row.frame} {row.id} {row.cls} {level} {row.occluded} {text}\n")
    return "".join(lines)


LABEL_COLUMNS = (
    "id", "visible", "truncated", "occluded", "x1", "y1", "x2", "y2", "x", "y", "z", "ry", "alpha", "Z", "pitch_rad",
    "roll_rad", "frame",
)  # fmt: skip
TRACK_COLUMNS = (
    "frame", "t", "id", "cls", "X", "Y", "heading_rad", "speed_mps", "length", "width", "height", "visible", "lane",
    "s", "vehicle", "Z", "pitch_rad", "roll_rad", "truncated", "x1", "y1", "x2", "y2",
)  # fmt: skip
