"""Radial and tangential lens distortion (Brown-Conrady), with OpenCV's coefficients k1 k2 p1 p2 k3."""

import numpy as np

from d2road.utils.errors import DataError

COEFFICIENTS = ("k1", "k2", "p1", "p2", "k3")
ITERATIONS = 30
TOLERANCE = 1e-9  # of normalised coordinates: a millionth of a pixel at a focal length of 1000


def check_distortion(coefficients: np.ndarray) -> np.ndarray:
    """(5,) float64 coefficients k1 k2 p1 p2 k3; fewer are filled up with zeros.

    Raises:
        DataError: more than five, or not finite.
    """
    values = np.asarray(coefficients, dtype=np.float64).reshape(-1)
    if len(values) > 5 or not np.isfinite(values).all():
        raise DataError(
            f"a lens distortion has up to five finite coefficients k1 k2 p1 p2 k3, as OpenCV's, got {values.tolist()}: "
            "leave out rational, thin prism and fisheye terms, or undistort the video first"
        )
    return np.concatenate([values, np.zeros(5 - len(values))])


def distort(xy: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Where the lens images normalised points (..., 2) of a pinhole camera; normalised as well.

    Source: OpenCV, calib3d: camera model with k1 k2 p1 p2 k3.
    """
    k1, k2, p1, p2, k3 = coefficients
    x, y = xy[..., 0], xy[..., 1]
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        axis=-1,
    )


def undistort(xy: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Inverse of `distort` by Newton's method.

    Returns:
        (..., 2); NaN where no point of the pinhole camera is imaged (beyond the fold of a strong radial term).
    """
    target = np.asarray(xy, dtype=np.float64)
    if not np.any(coefficients):
        return target.copy()
    found = target.copy()
    with np.errstate(all="ignore"):
        for _ in range(ITERATIONS):
            rest = distort(found, coefficients) - target
            if not np.nanmax(np.abs(rest), initial=0.0) > TOLERANCE:
                break
            found = found - np.linalg.solve(_jacobian(found, coefficients), rest[..., None])[..., 0]
        wrong = ~(np.abs(distort(found, coefficients) - target).max(-1) < 1e3 * TOLERANCE)
        # Beyond the fold the mapping turns round: another point is the one that the lens shows.
        wrong |= ~(np.linalg.det(_jacobian(found, coefficients)) > 0)
    found[wrong] = np.nan
    return found


def _jacobian(xy: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """(..., 2, 2) derivatives of `distort`; near the identity where they have none, so that a solver goes on."""
    k1, k2, p1, p2, k3 = coefficients
    x, y = xy[..., 0], xy[..., 1]
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    slope = 2 * (k1 + r2 * (2 * k2 + 3 * k3 * r2))  # d radial / d r2 times 2
    mixed = slope * x * y + 2 * p1 * x + 2 * p2 * y
    rows = [
        radial + slope * x * x + 2 * p1 * y + 6 * p2 * x,
        mixed,
        mixed,
        radial + slope * y * y + 6 * p1 * y + 2 * p2 * x,
    ]
    J = np.stack(rows, axis=-1).reshape(*x.shape, 2, 2)
    bad = ~np.isfinite(J).all((-1, -2)) | (np.abs(np.linalg.det(np.nan_to_num(J))) < 1e-9)
    return np.where(bad[..., None, None], np.eye(2), J)
