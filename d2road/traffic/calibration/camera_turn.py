"""Turn of a camera: what a small rotation after the calibration does to points that are lifted with the old one.

A turn is yaw, pitch, roll in degrees: yaw to the right, pitch further down, roll positive where the image's horizon
falls to the right, as in `d2road.structures.roadside_camera`.
"""

import numpy as np
from scipy.spatial.transform import Rotation

from d2road.structures.roadside_camera import RoadsideCamera

AXES = ("yaw", "pitch", "roll")
_CAMERA_AXES = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])  # rows: that the camera turns about
ABOVE = -1e-6  # tangent of the angle to the horizon


def turn_matrix(turn_deg: np.ndarray) -> np.ndarray:
    """(3, 3) M: a point p of the camera frame is M p in the frame of the turned camera; turn_deg: (3,)."""
    return Rotation.from_rotvec(np.deg2rad(turn_deg) @ _CAMERA_AXES).as_matrix().T


def turn_of_matrix(M: np.ndarray) -> np.ndarray:
    """(3,) degrees; inverse of `turn_matrix`."""
    return np.rad2deg(Rotation.from_matrix(M.T).as_rotvec()) @ _CAMERA_AXES.T


def turned_homography(K: np.ndarray, turn_deg: np.ndarray) -> np.ndarray:
    """(3, 3) from pixels of the pinhole camera to those of the turned one: K M K^-1."""
    return K @ turn_matrix(turn_deg) @ np.linalg.inv(K)


def turned_ground(camera: RoadsideCamera, points: np.ndarray, turn_deg: np.ndarray) -> np.ndarray:
    """(..., 2) where the calibration from before the turn puts ground points (..., 2), m; NaN above the horizon."""
    points = np.asarray(points, dtype=np.float64)
    level = np.concatenate([points, np.zeros_like(points[..., :1])], axis=-1)
    rays = camera.ground_to_camera(level) @ turn_matrix(turn_deg).T @ camera.axes  # axes of the ground frame
    down = np.where(rays[..., 2:] < ABOVE, rays[..., 2:], np.nan)
    return rays[..., :2] * (-camera.height_m / down)
