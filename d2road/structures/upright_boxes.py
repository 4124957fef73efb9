"""Upright 3D boxes as arrays: corners, headings, and the 2D box that they cover in the image.

A box is described as in KITTI's label files: location = centre of its bottom face (camera frame, m), dimensions h, w, l
(m) and `ry`, the turn about the downward axis; at ry = 0 its length points along +x, at ry = pi/2 along -z.

              5----------4          y down, so that corners 4 to 7 are the top
             /|         /|
            / |        / |          0 front left     x = +l/2, z = +w/2
           6----------7  |          1 rear left      x = -l/2, z = +w/2
           |  |       |  |          2 rear right     x = -l/2, z = -w/2
           |  1-------|--0    z     3 front right    x = +l/2, z = -w/2
           | /        | /    /      4 to 7 lie above 0 to 3
           2----------3     o--- x (front)

About which axis `ry` turns differs between formats. KITTI: the camera's y axis. Rope3D: the normal of the ground, in
the frame that `Camera.ground_rotation` returns; there the bottom face lies parallel to the ground.
"""

import numpy as np
from numpy.typing import ArrayLike

from d2road.structures.camera import Camera

# Signs of x (length), y (height) and z (width) of the corners in the drawing.
_CORNER_X = np.array([1, -1, -1, 1, 1, -1, -1, 1]) / 2
_CORNER_Y = np.array([0, 0, 0, 0, -1, -1, -1, -1])
_CORNER_Z = np.array([1, 1, -1, -1, 1, 1, -1, -1]) / 2
CORNERS = np.stack([_CORNER_X, _CORNER_Y, _CORNER_Z], axis=1)  # (8, 3), in l, h, w


def box_corners(
    location: ArrayLike, dimensions_hwl: ArrayLike, ry: ArrayLike, rotation: ArrayLike | None = None
) -> np.ndarray:
    """Corners in the order of the drawing.

    Args:
        location: (N, 3) bottom centres, camera frame, m.
        dimensions_hwl: (N, 3) height, width, length, m.
        ry: (N,) radians.
        rotation: (3, 3) frame in which `ry` turns, `Camera.ground_rotation()` for Rope3D; None for KITTI.
    Returns:
        (N, 8, 3) corners in the camera frame.
    """
    location = np.asarray(location, dtype=np.float64).reshape(-1, 3)
    h, w, l = np.asarray(dimensions_hwl, dtype=np.float64).reshape(-1, 3).T[:, :, None]  # noqa: E741
    ry = np.asarray(ry, dtype=np.float64).reshape(-1, 1)
    x, y, z = l * _CORNER_X, h * _CORNER_Y, w * _CORNER_Z  # each (N, 8)
    turned = np.stack([np.cos(ry) * x + np.sin(ry) * z, y, -np.sin(ry) * x + np.cos(ry) * z], axis=-1)
    if rotation is not None:
        turned = turned @ np.asarray(rotation, dtype=np.float64).T
    return turned + location[:, None]


def box_axes(corners: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Sides and direction of boxes by their corners (N, 8, 3), in the order of the drawing.

    Returns:
        (N, 3) height, width, length, m, and (N, 3) from the middle of the rear to the middle of the front, m.
    """
    corners = np.asarray(corners, dtype=np.float64)
    signs = np.stack([_CORNER_Y, _CORNER_Z, _CORNER_X])
    low = signs < signs.max(1, keepdims=True)
    between = [corners[:, ~some].mean(1) - corners[:, some].mean(1) for some in low]
    return np.linalg.norm(np.stack(between, axis=1), axis=2), between[2]


def project_boxes(
    camera: Camera, corners: np.ndarray, size_wh: tuple[float, float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """2D boxes around projected corners, all of which should lie in front of the camera.

    Args:
        camera: the camera.
        corners: (N, 8, 3) camera frame, m.
        size_wh: width and height of the image to clip to; None leaves the boxes as they are.
    Returns:
        (N, 4) boxes x1 y1 x2 y2 in pixels, NaN where a corner is not in front of the camera, and (N,) whether all are.
    """
    pixels, depth = camera.project(corners)
    in_front = depth.min(axis=1) > 1e-3
    boxes = np.concatenate([pixels.min(axis=1), pixels.max(axis=1)], axis=1)
    if size_wh is not None:
        boxes = np.clip(boxes, 0, np.array([*size_wh, *size_wh], dtype=np.float64))
    boxes[~in_front] = np.nan
    return boxes, in_front


def heading_to_ry(heading: ArrayLike, rotation: ArrayLike | None = None) -> np.ndarray:
    """`ry` of boxes whose length points along (..., 3) directions of the camera frame; `rotation` as above."""
    heading = np.asarray(heading, dtype=np.float64)
    if rotation is not None:
        heading = heading @ np.asarray(rotation, dtype=np.float64)
    return np.arctan2(-heading[..., 2], heading[..., 0])


def ry_to_alpha(ry: ArrayLike, location: ArrayLike) -> np.ndarray:
    """Observation angle ry - atan2(x, z), wrapped to [-pi, pi)."""
    location = np.asarray(location, dtype=np.float64)
    return wrap_angle(np.asarray(ry) - np.arctan2(location[..., 0], location[..., 2]))


def wrap_angle(angle: ArrayLike) -> np.ndarray:
    """Angles in [-pi, pi)."""
    return (np.asarray(angle, dtype=np.float64) + np.pi) % (2 * np.pi) - np.pi
