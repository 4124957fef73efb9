"""Drawing of tracked vehicles: 3D boxes with id and speed in the image, and the scene from above beside it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from d2road.structures.camera import Camera
from d2road.structures.road_axis import RoadAxis
from d2road.visualization.bev_drawing import RING, BevView, draw_bev
from d2road.visualization.boxes2d_drawing import class_color, draw_label, line_width
from d2road.visualization.boxes3d_drawing import draw_boxes3d
from d2road.visualization.line_drawing import draw_path, fill_polygon
from d2road.visualization.scene_drawing import side_by_side

KMH = 3.6


@dataclass(frozen=True)
class DrawnTracks:
    """Tracks of one frame, as they are drawn.

    Args:
        ids: (N,) integers, which choose the colours.
        labels: (N,) texts.
        corners: (N, 8, 3) camera frame, m; NaN where size or heading is unknown.
        boxes_xyxy: (N, 4) pixels; drawn where there is no 3D box.
    """

    ids: np.ndarray
    labels: Sequence[str]
    corners: np.ndarray
    boxes_xyxy: np.ndarray


def track_label(track: int, cls: str, speed_mps: float, motion: str) -> str:
    """Id, class, and how it moves: speed in km/h, stands, or nothing where that is not known yet."""
    moves = {"moving": f" {KMH * speed_mps:.0f} km/h", "reversing": f" {KMH * speed_mps:.0f} km/h reversing"}
    return f"{track} {cls}" + moves.get(motion, " stands" if motion == "standing" else "")


def draw_tracks(
    image_rgb: np.ndarray, tracks: DrawnTracks, camera: Camera, view: BevView, background: np.ndarray
) -> np.ndarray:
    """The image with its tracks, and the scene from above at its right.

    Args:
        image_rgb: (H, W, 3) uint8, without distortion.
        camera: of this image.
        view, background: the same for all frames of a video, the latter of `draw_background`.
    Returns:
        (H, W', 3) uint8.
    """
    solid = np.isfinite(tracks.corners).all(axis=(1, 2))
    labels = [label for label, known in zip(tracks.labels, solid) if known]
    canvas = draw_boxes3d(image_rgb, tracks.corners[solid], camera, tracks.ids[solid], labels)
    for box, number, label in zip(tracks.boxes_xyxy[~solid], tracks.ids[~solid], np.array(tracks.labels)[~solid]):
        if np.isfinite(box).all():
            color = class_color(int(number))
            draw_path(canvas, box[[[0, 1], [2, 1], [2, 3], [0, 3]]], color, line_width(canvas), closed=True)
            draw_label(canvas, box, str(label), color)
    size = (image_rgb.shape[1], image_rgb.shape[0])
    above = draw_bev(view, camera, size, tracks.corners[solid], tracks.ids[solid], background=background)
    return side_by_side(canvas, above)


def draw_paths_from_above(
    view: BevView, background: np.ndarray, paths: Sequence[np.ndarray], ids: Sequence[int], road: RoadAxis | None = None
) -> np.ndarray:
    """Where vehicles drove, from above: a line each in the colour of its id, over the lane borders.

    Args:
        view, background: as of `draw_tracks`.
        paths: (N_i, 2) m each, in the ground frame.
        ids: of the paths.
    Returns:
        (H, W, 3) uint8 RGB of the view's size.
    """
    canvas = background.copy()
    if road is not None:
        reach = np.array([-view.range_m, view.range_m])
        for border in road.borders_m:
            ends = road.to_ground(np.stack([reach, np.full(2, border)], axis=1))
            draw_path(canvas, view.to_pixels(ends), RING)
    width = max(1, round(canvas.shape[0] / 500))
    for number, path in zip(ids, paths):
        color = class_color(int(number))
        draw_path(canvas, view.to_pixels(path), color, width)
        end = view.to_pixels(path[-1:]) + 1.5 * width * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        fill_polygon(canvas, end, color)
    return canvas
