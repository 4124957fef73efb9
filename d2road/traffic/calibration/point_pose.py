"""Camera pose from points of the image and of a map (perspective n points), with its covariance.

The map is flat: x, y in metres of any local frame, z (m above the road plane) 0 where it is not given. Beside the pose
the focal length and the first radial coefficient of the lens are estimated where they are asked for.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.optimize import least_squares

from d2road.structures.lens_distortion import distort
from d2road.structures.roadside_camera import RoadsideCamera, angles_of_plane, ground_axes, plane_from_angles
from d2road.traffic.calibration.evidence import Gaussian
from d2road.utils.errors import DataError

FEWEST_POINTS = 4
MISFIT_SHARE = 0.01  # of the width: points that fit no better are mistaken
PIXEL_STD = 1.0  # of a point that was clicked
# Unknowns: log focal over that of K, pitch, roll, log height, yaw (rad) and origin (m) of the map, k1.
FOCAL, LENS = 0, 7


@dataclass(frozen=True)
class PointPose:
    """camera: with its covariance. evidence: on theta, for fusion. residual_px (N,): distances of the points.

    yaw_rad, origin_m (2,): the map in the ground frame, ground = R(yaw) map + origin.
    """

    camera: RoadsideCamera
    evidence: Gaussian
    residual_px: np.ndarray
    yaw_rad: float
    origin_m: np.ndarray


def pose_from_points(
    pixels: np.ndarray,
    points_m: np.ndarray,
    size: tuple[int, int],
    K: np.ndarray,
    distortion: np.ndarray,
    focal_std: float = 0.0,
    lens: bool = False,
    pixel_std: float = PIXEL_STD,
) -> PointPose:
    """Pose of maximum likelihood.

    Args:
        pixels: (N, 2) of the image. points_m: (N, 2) or (N, 3) of the map.
        focal_std: deviation of the log focal length in K; 0: it is exact.
        lens: whether k1 is estimated too; it needs more points.
    Raises:
        DataError: too few points, points along one line, or none of which a camera above the road sees all.
    """
    pixels, points = np.asarray(pixels, dtype=np.float64), np.asarray(points_m, dtype=np.float64)
    if points.shape[1] == 2:
        points = np.concatenate([points, np.zeros((len(points), 1))], axis=1)
    needed = FEWEST_POINTS + lens
    if len(pixels) < needed:
        raise DataError(f"{len(pixels)} points, at least {needed} are needed for a pose: give more")
    spread = np.linalg.svd(points[:, :2] - points[:, :2].mean(axis=0), compute_uv=False)
    if spread[1] < 0.02 * spread[0]:
        raise DataError("the map points lie along one line, which leaves the plane's tilt open: spread them out")
    free = np.array([focal_std > 0, *[True] * 6, lens])
    best = None
    for factor in (0.7, 1.0, 1.5) if focal_std > 0.2 else (1.0,):
        start = _start(pixels, points, K, distortion, np.log(factor))
        if start is None:
            continue
        result = _refined(start, free, pixels, points, K, distortion, focal_std, pixel_std)
        if best is None or result.cost < best.cost:
            best = result
    if best is None:
        raise DataError("no camera above the road sees all map points where they are: check their order and axes")
    return _result(best, free, pixels, points, size, K, distortion, pixel_std)


def _refined(start, free, pixels, points, K, distortion, focal_std, pixel_std):  # type: ignore[no-untyped-def]
    """scipy's solution over the free unknowns; `x` holds all."""

    def residuals(x: np.ndarray) -> np.ndarray:
        full = start.copy()
        full[free] = x
        r = ((project_map(full, points, K, distortion) - pixels) / pixel_std).ravel()
        return np.append(r, full[FOCAL] / focal_std if focal_std > 0 else 0.0)

    result = least_squares(residuals, start[free], x_scale="jac")
    full = start.copy()
    full[free] = result.x
    result.x = full
    return result


def _result(best, free, pixels, points, size, K, distortion, pixel_std) -> PointPose:  # type: ignore[no-untyped-def]
    x, J = best.x, best.jac
    off = np.linalg.norm(project_map(x, points, K, distortion) - pixels, axis=1)
    if np.median(off) > MISFIT_SHARE * size[0]:
        raise DataError(
            f"the map points fit to {np.median(off):.0f} px only: check their order, their axes (x right of y as in a "
            "map seen from above, m) and K"
        )
    spare = max(2 * len(pixels) - int(free.sum()), 0)
    # Clicks may be worse than stated, and a few that fit by chance do not make them better.
    scale = max(1.0, float((off**2).sum()) / pixel_std**2 / spare) if spare else 1.0
    covariance = np.zeros((8, 8))
    covariance[np.ix_(free, free)] = np.linalg.pinv(J.T @ J) * scale
    if not np.isfinite(covariance).all() or np.exp(x[3]) > 1000:
        raise DataError("the map points do not tell a pose: spread them over the road")
    scaled = np.asarray(K, dtype=np.float64).copy()
    scaled[[0, 1], [0, 1]] *= np.exp(x[FOCAL])
    lens = np.asarray(distortion, dtype=np.float64).copy()
    lens[0] += x[LENS]
    theta_covariance = covariance[:4, :4] + np.diag([1e-12] * 4)
    camera = RoadsideCamera(
        size[0], size[1], scaled, plane_from_angles(x[1], x[2], float(np.exp(x[3]))), lens, covariance[:4, :4]
    )
    return PointPose(camera, Gaussian(x[:4], np.linalg.inv(theta_covariance)), off, float(x[4]), x[5:7])


def project_map(x: np.ndarray, points: np.ndarray, K: np.ndarray, distortion: np.ndarray) -> np.ndarray:
    """(N, 2) pixels of map points (N, 3) for the unknowns x (8,)."""
    cos, sin = np.cos(x[4]), np.sin(x[4])
    ground = points[:, :2] @ np.array([[cos, sin], [-sin, cos]]) + x[5:7]
    levelled = np.concatenate([ground, points[:, 2:] - np.exp(x[3])], axis=1)
    camera = levelled @ ground_axes(x[1], x[2]).T
    lens = np.asarray(distortion, dtype=np.float64).copy()
    lens[0] += x[LENS]
    xy = distort(camera[:, :2] / np.maximum(camera[:, 2:], 1e-3), lens)
    scale = np.exp(x[FOCAL])
    u = K[0, 0] * scale * xy[:, 0] + K[0, 1] * xy[:, 1] + K[0, 2]
    return np.stack([u, K[1, 1] * scale * xy[:, 1] + K[1, 2]], axis=1)


def _start(
    pixels: np.ndarray, points: np.ndarray, K: np.ndarray, distortion: np.ndarray, log_focal: float
) -> np.ndarray | None:
    """The unknowns by OpenCV's solver for planes or for points at any height; None if none is above the road."""
    scaled = np.asarray(K, dtype=np.float64).copy()
    scaled[[0, 1], [0, 1]] *= np.exp(log_focal)
    flat = np.ptp(points[:, 2]) < 1e-6
    method = cv2.SOLVEPNP_IPPE if flat else cv2.SOLVEPNP_SQPNP
    try:
        _, turns, moves, _ = cv2.solvePnPGeneric(points, pixels, scaled, np.asarray(distortion), flags=method)
    except cv2.error:
        return None
    for turn, move in zip(turns, moves):
        R, t = cv2.Rodrigues(turn)[0], move[:, 0]
        up = R[:, 2]
        if up[1] > 0:  # a map whose x, y, z are left-handed to the camera's view cannot be seen from above
            continue
        height = -float(up @ t)  # the plane z = 0 below the camera
        if height <= 0:
            continue
        pitch, roll = angles_of_plane(np.append(up, height))
        axes = ground_axes(pitch, roll)
        x_axis = axes.T @ R[:, 0]
        origin = (axes.T @ t)[:2]
        return np.array([log_focal, pitch, roll, np.log(height), np.arctan2(x_axis[1], x_axis[0]), *origin, 0.0])
    return None
