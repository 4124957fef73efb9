"""Check image of a calibration: the horizon, a grid of metres on the road, and vehicles as 3D boxes."""

import numpy as np

from d2road.structures.roadside_camera import RoadsideCamera
from d2road.visualization.boxes2d_drawing import draw_label
from d2road.visualization.boxes3d_drawing import draw_boxes3d
from d2road.visualization.line_drawing import draw_line

GRID_M, GRID_REACH_M, GRID_SIDE_M = 10, 100, 30
HORIZON, GRID = (255, 80, 80), (90, 220, 255)


def draw_calibration(
    image_rgb: np.ndarray, camera: RoadsideCamera, corners: np.ndarray, labels: list[str] | None = None
) -> np.ndarray:
    """A copy of the image with horizon, grid and boxes.

    Args:
        image_rgb: (H, W, 3) uint8 of the pinhole camera, without distortion.
        corners: (N, 8, 3) of vehicles, camera frame, m.
        labels: (N,) texts above the boxes.
    """
    canvas = draw_boxes3d(image_rgb, corners, camera.pinhole, labels=labels)
    width = canvas.shape[1]
    ends = camera.pinhole.horizon_v(np.array([0.0, width]))
    if np.isfinite(ends).all():
        draw_line(canvas, np.array([[0.0, ends[0]], [width, ends[1]]]), HORIZON, 2)
    for y in range(GRID_M, GRID_REACH_M + 1, GRID_M):
        _ground_line(canvas, camera, (-GRID_SIDE_M, y), (GRID_SIDE_M, y))
        (at,) = camera.pinhole.project(camera.ground_to_camera(np.array([[0.0, y, 0.0]])))[0]
        draw_label(canvas, np.array([at[0], at[1], at[0], at[1]]), f"{y} m", GRID)
    for x in range(-GRID_SIDE_M, GRID_SIDE_M + 1, GRID_M):
        _ground_line(canvas, camera, (x, GRID_M), (x, GRID_REACH_M))
    return canvas


def _ground_line(canvas: np.ndarray, camera: RoadsideCamera, start: tuple, end: tuple) -> None:
    points = camera.ground_to_camera(np.array([[*start, 0.0], [*end, 0.0]]))
    if points[:, 2].min() > 0.5:
        draw_line(canvas, camera.pinhole.project(points)[0], GRID, 1)
