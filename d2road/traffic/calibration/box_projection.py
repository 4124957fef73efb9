"""What a camera sees of vehicles that stand on its ground plane: bottom centres and boxes, for rows of many vehicles.

Letters: N rows. A camera is four numbers `theta`: log of the focal length over that of K, pitch, roll (rad), log height
(m); see `d2road.structures.roadside_camera`.
"""

import numpy as np

from d2road.structures.lens_distortion import distort
from d2road.structures.roadside_camera import ground_axes

SMALLEST_DROP = 2e-3  # tangent of the angle below the horizon: points above are put there, at 500 times the height
NEAR_M = 0.5
# Corners of a box: half lengths ahead, half widths to the left, heights up.
_AHEAD = np.array([1, -1, -1, 1, 1, -1, -1, 1]) / 2
_LEFT = np.array([1, 1, -1, -1, 1, 1, -1, -1]) / 2
_UP = np.array([0, 0, 0, 0, 1, 1, 1, 1])


class Lens:
    """Intrinsics of a camera whose focal length may be wrong, and its distortion.

    Args:
        K: (3, 3) intrinsic matrix as far as it is known.
        distortion: (5,) OpenCV's coefficients.
    """

    def __init__(self, K: np.ndarray, distortion: np.ndarray):
        self.K = np.asarray(K, dtype=np.float64)
        self.distortion = np.asarray(distortion, dtype=np.float64)

    def rays(self, q: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """(N, 3) directions with z = 1 through pinhole pixels q (N, 2)."""
        scale = np.exp(theta[0])
        y = (q[:, 1] - self.K[1, 2]) / (self.K[1, 1] * scale)
        x = (q[:, 0] - self.K[0, 2] - self.K[0, 1] * y) / (self.K[0, 0] * scale)
        return np.stack([x, y, np.ones(len(q))], axis=1)

    def pixels(self, points: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """(..., 2) pixels of the image of points (..., 3) in the camera frame."""
        xy = points[..., :2] / np.maximum(points[..., 2:], NEAR_M)
        if self.distortion.any():
            xy = distort(xy, self.distortion)
        return self._scaled(xy, theta)

    def pinhole_pixels(self, points: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """The same without distortion."""
        return self._scaled(points[..., :2] / np.maximum(points[..., 2:], NEAR_M), theta)

    def seen(self, q: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """(N, 2) pixels of the image at which pinhole pixels q (N, 2) are seen."""
        return self.pixels(self.rays(q, theta), theta) if self.distortion.any() else q

    def _scaled(self, xy: np.ndarray, theta: np.ndarray) -> np.ndarray:
        scale = np.exp(theta[0])
        u = self.K[0, 0] * scale * xy[..., 0] + self.K[0, 1] * xy[..., 1] + self.K[0, 2]
        return np.stack([u, self.K[1, 1] * scale * xy[..., 1] + self.K[1, 2]], axis=-1)


def ground_points(q: np.ndarray, theta: np.ndarray, lens: Lens) -> np.ndarray:
    """(N, 2) X, Y of the ground frame that pinhole pixels q (N, 2) show, m."""
    rays = lens.rays(q, theta) @ ground_axes(theta[1], theta[2])
    reach = np.exp(theta[3]) / np.maximum(-rays[:, 2], SMALLEST_DROP)
    return rays[:, :2] * reach[:, None]


def across_px(
    at: np.ndarray, across: np.ndarray, heading: np.ndarray, seen_at: np.ndarray, theta: np.ndarray, lens: Lens
) -> np.ndarray:
    """(N,) pixels between points on the ground and the nearest ones of straight lines, with the sign of `across`.

    Args:
        at: (N, 2) points, m. across: (N,) how far they are left of their lines, m. heading: (N,) of the lines, rad.
        seen_at: (N, 2) pinhole pixels of the points.
    """
    foot = at - across[:, None] * np.stack([-np.sin(heading), np.cos(heading)], axis=1)
    below = np.full(len(at), -np.exp(theta[3]))
    points = np.concatenate([foot, below[:, None]], axis=1) @ ground_axes(theta[1], theta[2]).T
    return np.copysign(np.linalg.norm(seen_at - lens.pinhole_pixels(points, theta), axis=1), across)


def boxes_of_vehicles(
    q: np.ndarray,
    log_size: np.ndarray,
    heading: np.ndarray,
    theta: np.ndarray,
    lens: Lens,
    corners: np.ndarray | None = None,
) -> np.ndarray:
    """(N, 4) boxes x1 y1 x2 y2 around vehicles, px.

    Args:
        q: (N, 2) pinhole pixels of the bottom centres. log_size: (N, 3) of h, w, l. heading: (N,) ground frame, rad.
        corners: (N, 4) which corners make the edges, see `edge_corners`; None finds them.
    """
    if corners is None:
        pixels = _corner_pixels(q, log_size, heading, theta, lens, np.arange(8))
        return np.concatenate([pixels.min(axis=1), pixels.max(axis=1)], axis=1)
    pixels = _corner_pixels(q, log_size, heading, theta, lens, corners)  # (N, 4, 2)
    return np.stack([pixels[:, 0, 0], pixels[:, 1, 1], pixels[:, 2, 0], pixels[:, 3, 1]], axis=1)


def edge_corners(q: np.ndarray, log_size: np.ndarray, heading: np.ndarray, theta: np.ndarray, lens: Lens) -> np.ndarray:
    """(N, 4) which of the eight corners make the left, upper, right and lower edge of `boxes_of_vehicles`."""
    pixels = _corner_pixels(q, log_size, heading, theta, lens, np.arange(8))
    return np.concatenate([pixels.argmin(axis=1), pixels.argmax(axis=1)], axis=1)


def _corner_pixels(
    q: np.ndarray, log_size: np.ndarray, heading: np.ndarray, theta: np.ndarray, lens: Lens, corners: np.ndarray
) -> np.ndarray:
    """(N, C, 2) pixels of corners (C,) of all boxes, or (N, C) of each."""
    h, w, l = np.exp(log_size).T[:, :, None]  # noqa: E741
    cos, sin = np.cos(heading)[:, None], np.sin(heading)[:, None]
    center = ground_points(q, theta, lens)
    ahead, left = l * _AHEAD[corners], w * _LEFT[corners]  # (N, C)
    points = np.stack(
        [
            center[:, :1] + cos * ahead - sin * left,
            center[:, 1:] + sin * ahead + cos * left,
            h * _UP[corners] - np.exp(theta[3]),
        ],
        axis=-1,
    )
    return lens.pixels(points @ ground_axes(theta[1], theta[2]).T, theta)
