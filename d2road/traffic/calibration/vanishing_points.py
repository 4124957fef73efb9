"""Vanishing points of bundles of parallel lines, and what one, two or three of them tell of a camera.

A vanishing point is found by maximum likelihood: the point for which lines through it and the middles of the segments
come closest to their ends. Far ones, of lines that are nearly parallel in the image, have a wide and
skewed uncertainty, so they are kept as unit vectors of the projective plane with a covariance in its tangent.
"""

from dataclasses import dataclass

import numpy as np

from d2road.utils.errors import DataError

FEWEST_SEGMENTS = 3
MAX_FOCAL_STD = 0.3  # of its logarithm: a focal length known no better is refused
OUTLIER = 3.0


@dataclass(frozen=True)
class VanishingPoint:
    """direction (3,): homogeneous, of length 1, pixels over `scale` from `center`; covariance (3, 3): its tangent."""

    direction: np.ndarray
    covariance: np.ndarray
    center: np.ndarray
    scale: float

    @property
    def pixel(self) -> np.ndarray:
        """(2,) the point; far away where lines are parallel in the image."""
        w = self.direction[2] if abs(self.direction[2]) > 1e-12 else 1e-12
        return self.direction[:2] / w * self.scale + self.center

    @property
    def pixel_covariance(self) -> np.ndarray:
        """(2, 2) to first order."""
        x, y, w = self.direction
        w = w if abs(w) > 1e-12 else 1e-12
        J = np.array([[1 / w, 0, -x / w**2], [0, 1 / w, -y / w**2]]) * self.scale
        return J @ self.covariance @ J.T


def vanishing_point(segments: np.ndarray, center: np.ndarray, scale: float, pixel_std: float = 1.0) -> VanishingPoint:
    """The point that segments (S, 4) x1 y1 x2 y2 of lines which are parallel in space run to.

    Args:
        center, scale: of the normalisation, such as the principal point and the width.
    Raises:
        DataError: fewer than three segments.
    Source: Collins, Weiss, Vanishing point calculation as a statistical inference on the unit sphere, ICCV 1990.
    """
    segments = np.asarray(segments, dtype=np.float64).reshape(-1, 4)
    if len(segments) < FEWEST_SEGMENTS:
        raise DataError(f"{len(segments)} straight lines, a vanishing point needs at least {FEWEST_SEGMENTS}")
    a, b = (segments[:, :2] - center) / scale, (segments[:, 2:] - center) / scale
    middle, half = (a + b) / 2, (b - a) / 2
    std = pixel_std / scale
    lines = np.cross(np.c_[a, np.ones(len(a))], np.c_[b, np.ones(len(b))])
    lines /= np.linalg.norm(lines, axis=1, keepdims=True)
    direction = np.linalg.svd(lines)[2][-1]
    weight = np.ones(len(a))
    for _ in range(20):
        basis = np.linalg.svd(direction[None])[2][1:]  # (2, 3) the tangent
        r, J = _end_distance(direction, basis, middle, half)
        weight = 1 / (1 + (r / std / OUTLIER) ** 2)
        A = (J * weight[:, None]).T @ J / std**2
        move = np.linalg.lstsq(A, -(J * weight[:, None]).T @ r / std**2, rcond=None)[0]
        move *= min(1.0, 0.3 / max(float(np.linalg.norm(move)), 1e-12))
        direction = direction + move @ basis
        direction /= np.linalg.norm(direction)
    basis = np.linalg.svd(direction[None])[2][1:]
    r, J = _end_distance(direction, basis, middle, half)
    bread = np.linalg.pinv((J * weight[:, None]).T @ J)
    # Lines may be less straight than stated; a few that agree by chance are no better than stated.
    spare = max(len(r) - 2, 1)
    noise = max(std**2, float((weight * r**2).sum()) / spare)
    return VanishingPoint(direction, basis.T @ bread @ basis * noise, np.asarray(center, dtype=np.float64), scale)


def _end_distance(
    direction: np.ndarray, basis: np.ndarray, middle: np.ndarray, half: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(S,) distances of the segments' ends from the lines through their middles and a point, and (S, 2) derivatives."""

    def distance(d: np.ndarray) -> np.ndarray:
        toward = d[:2] - d[2] * middle
        length = np.maximum(np.linalg.norm(toward, axis=1), 1e-12)
        # Both ends err: their difference over the square root of two has the deviation of one.
        return np.sqrt(2) * (toward[:, 0] * half[:, 1] - toward[:, 1] * half[:, 0]) / length

    r, step = distance(direction), 1e-6
    J = np.stack(
        [(distance(direction + step * one) - distance(direction - step * one)) / (2 * step) for one in basis], 1
    )
    return r, J


def focal_from_right_angle(first: VanishingPoint, second: VanishingPoint) -> tuple[float, float]:
    """Focal length, px, and its standard deviation, of a camera that sees two directions at right angles.

    Both were normalised about the principal point; pixels are square.

    Raises:
        DataError: two points that no right angle can have, or that tell the focal length to worse than MAX_FOCAL_STD.
    Source: Caprile, Torre, Using vanishing points for camera calibration, IJCV 1990.
    """
    p, q = first.direction, second.direction
    square = -(p[0] * q[0] + p[1] * q[1])  # times w_p w_q / f^2
    below = p[2] * q[2]
    grad = np.concatenate(
        [np.array([-q[0], -q[1], 0]) / square - np.array([0, 0, 1 / p[2] if p[2] else np.inf]),
         np.array([-p[0], -p[1], 0]) / square - np.array([0, 0, 1 / q[2] if q[2] else np.inf])]
    ) / 2  # fmt: skip
    variance = grad[:3] @ first.covariance @ grad[:3] + grad[3:] @ second.covariance @ grad[3:]
    std = float(np.sqrt(variance)) if np.isfinite(variance) and variance >= 0 else np.inf
    # A square within two deviations of 0 or below has no root that means anything.
    if not std < MAX_FOCAL_STD or square / below <= 0:
        raise DataError(
            "the two vanishing points do not tell the focal length (deviation "
            f"{'unbounded' if not np.isfinite(std) else f'{100 * std:.0f} %'}): lines of one direction run nearly "
            "parallel in the image, or the directions are not at right angles; give K, EXIF or a known length"
        )
    focal = first.scale * float(np.sqrt(square / below))
    return focal, focal * std


def plane_from_directions(
    K: np.ndarray, first: VanishingPoint, second: VanishingPoint
) -> tuple[np.ndarray, np.ndarray]:
    """Upward normal (3,) of the plane in which two directions lie, and (2, 2) covariance of its pitch and roll, rad.

    Raises:
        DataError: the directions are one, within their deviations.
    """

    def angles(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        rays = [
            np.linalg.solve(K, np.append(d[:2] * v.scale + d[2] * v.center, d[2])) for d, v in ((p, first), (q, second))
        ]
        normal = np.cross(rays[0] / np.linalg.norm(rays[0]), rays[1] / np.linalg.norm(rays[1]))
        normal = normal * (-1 if normal[1] > 0 else 1)
        n = normal / np.linalg.norm(normal)
        return np.array([np.arcsin(-n[2]), np.arctan2(n[0], -n[1]), np.linalg.norm(normal)])

    p, q, step = first.direction, second.direction, 1e-6
    here = angles(p, q)
    J_p = np.stack([(angles(p + step * e, q) - angles(p - step * e, q)) / (2 * step) for e in np.eye(3)], axis=1)
    J_q = np.stack([(angles(p, q + step * e) - angles(p, q - step * e)) / (2 * step) for e in np.eye(3)], axis=1)
    covariance = J_p @ first.covariance @ J_p.T + J_q @ second.covariance @ J_q.T
    if here[2] < 3 * np.sqrt(covariance[2, 2]) or here[2] < 0.02:
        raise DataError(
            f"the two directions of traffic are {np.rad2deg(np.arcsin(min(here[2], 1))):.1f} degrees apart, within "
            "their deviations: one direction alone leaves the plane's tilt about it open; use sizes of vehicles too"
        )
    pitch, roll = here[:2]
    normal = np.array([np.sin(roll) * np.cos(pitch), -np.cos(roll) * np.cos(pitch), -np.sin(pitch)])
    return normal, covariance[:2, :2]
