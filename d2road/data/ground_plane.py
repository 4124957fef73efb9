"""Robust fit of the ground plane (least median of squares) to the places where labelled objects stand."""

from dataclasses import dataclass

import numpy as np

from d2road.structures.camera import normalize_plane
from d2road.utils.errors import DataError

MAX_TILT_STD_DEG = 1.0  # 1 degree costs about 5 m of depth at 45 m: a plane known no better is of no use
LABEL_NOISE_M = 0.05  # bottoms of labelled boxes are not known better than this, however well a few points fit
_SCORED_POINTS = 2000  # trial planes are judged by so many of the points


@dataclass(frozen=True)
class PlaneFit:
    """A ground plane and how well it is known.

    plane: (4,) a b c d, normal of length 1 that points up, d = height of the camera.
    residuals_m: (N,) heights of the points above it.
    inliers: (N,) bool, the points that it was fitted to.
    tilt_std_deg: standard error of the normal in its worst direction; 0 if the normal was given.
    """

    plane: np.ndarray
    residuals_m: np.ndarray
    inliers: np.ndarray
    tilt_std_deg: float

    def to_text(self) -> str:
        """Height, residuals and certainty in one line."""
        size, fitting = np.abs(self.residuals_m), int(self.inliers.sum())
        return (
            f"camera {self.plane[3]:.2f} m above it, {len(size)} bottom centres of which {fitting} fit, distance "
            f"median {np.median(size):.3f} m, p90 {np.quantile(size, 0.9):.3f} m, normal known to "
            f"{self.tilt_std_deg:.3f} degrees"
        )


def fit_ground_plane(
    points: np.ndarray, *, max_tilt_std_deg: float = MAX_TILT_STD_DEG, trials: int = 500, seed: int = 0
) -> PlaneFit:
    """Fit a plane that up to about half of the points may contradict.

    The plane through three points with the least median distance to all (least median of squares) says which points
    belong to the ground; a least-squares plane through those, repeated until they no longer change, is the result.
    Equal points and seed give equal planes.

    Args:
        points: (N, 3) bottom centres of objects, camera frame, m.
        max_tilt_std_deg: a plane whose normal is known no better than this is refused.
    Raises:
        ValueError: fewer than three points, points that lie along a line or too close together to tell a tilt, or a
            plane above the camera.
    Source: Rousseeuw, Least Median of Squares Regression, JASA 1984, for the scale of residuals and the trial planes.
    """
    points = np.asarray(points, dtype=np.float64).reshape(-1, 3)
    if len(points) < 3 or not np.isfinite(points).all():
        raise DataError(
            f"a ground plane needs at least 3 finite points, got {len(points)}: use frames with more objects"
        )
    rng = np.random.default_rng(seed)
    plane = _least_median_plane(points, trials, rng)
    inliers = np.ones(len(points), dtype=bool)
    for _ in range(20):
        distance = np.abs(points @ plane[:3] + plane[3])
        scale = max(1.4826 * (1 + 5 / max(len(points) - 3, 1)) * np.median(distance), 1e-6)
        before, inliers = inliers, distance <= 2.5 * scale
        plane, spread = _least_squares_plane(points[inliers])
        if np.array_equal(before, inliers):
            break
    noise = max(float(np.std(points[inliers] @ plane[:3])), LABEL_NOISE_M)
    tilt = float(np.degrees(np.arctan2(noise, spread)))
    if tilt > max_tilt_std_deg:
        raise DataError(
            f"{int(inliers.sum())} points tell the tilt of the ground to {tilt:.1f} degrees only (needed: "
            f"{max_tilt_std_deg}): they lie along a line or close together; use frames with more objects"
        )
    return PlaneFit(_above(plane), _heights(points, plane), inliers, tilt)


def fit_ground_height(points: np.ndarray, up: np.ndarray) -> PlaneFit:
    """The plane with a known normal at the median height of the points.

    Args:
        points: (N, 3) bottom centres of objects, camera frame, m; N >= 1.
        up: (3,) its normal.
    Raises:
        ValueError: no points, or a plane above the camera.
    """
    points = np.asarray(points, dtype=np.float64).reshape(-1, 3)
    if not len(points):
        raise DataError("the height of the ground needs at least one object that stands on it, got none")
    up = np.asarray(up, dtype=np.float64)
    plane = np.append(up, -np.median(points @ up))
    return PlaneFit(_above(plane), _heights(points, plane), np.ones(len(points), dtype=bool), 0.0)


def _least_median_plane(points: np.ndarray, trials: int, rng: np.random.Generator) -> np.ndarray:
    """(4,) the best of random planes through three points, by the median distance."""
    triples = points[np.argsort(rng.random((trials, len(points))), axis=1)[:, :3]] if len(points) < 50 else None
    if triples is None:
        triples = points[rng.integers(0, len(points), (trials, 3))]
    normals = np.cross(triples[:, 1] - triples[:, 0], triples[:, 2] - triples[:, 0])
    area = np.linalg.norm(normals, axis=1)
    if not (area > 1e-9).any():
        raise DataError(f"the {len(points)} points lie on one line, which leaves the ground's tilt open")
    normals, starts = normals[area > 1e-9] / area[area > 1e-9, None], triples[area > 1e-9, 0]
    scored = points
    if len(points) > _SCORED_POINTS:
        scored = points[rng.choice(len(points), _SCORED_POINTS, replace=False)]
    offsets = -np.einsum("tc,tc->t", normals, starts)
    best = np.median(np.abs(normals @ scored.T + offsets[:, None]), axis=1).argmin()
    return np.append(normals[best], offsets[best])


def _least_squares_plane(points: np.ndarray) -> tuple[np.ndarray, float]:
    """(4,) the plane of least squared distances, and how far the points spread in its narrow direction.

    The spread is the root of the sum of squares, so that noise / spread is the standard error of the tilt in radians.
    """
    if len(points) < 3:
        raise DataError(
            f"only {len(points)} points agree on a ground plane, 3 are needed: use frames with more objects"
        )
    center = points.mean(axis=0)
    _, spread, axes = np.linalg.svd(points - center, full_matrices=False)
    return np.append(axes[2], -axes[2] @ center), float(spread[1])


def _above(plane: np.ndarray) -> np.ndarray:
    plane = normalize_plane(plane)
    if plane[3] <= 0:
        raise DataError(
            f"the objects stand on a plane {-plane[3]:.2f} m above the camera, which cannot be: are the points in the "
            "camera frame, y down?"
        )
    return plane


def _heights(points: np.ndarray, plane: np.ndarray) -> np.ndarray:
    plane = normalize_plane(plane)
    return points @ plane[:3] + plane[3]
