"""Evidence on a camera beside its traffic: wide priors, known lengths on the road, and results of other ways.

Each gives information (G, G), gradient (G,) and cost at the numbers of a camera, the first four of which are theta: log
focal, pitch, roll, log height. What is independent is added, which is fusion by inverse variance.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from d2road.structures.roadside_camera import ground_axes
from d2road.traffic.calibration.box_projection import Lens, ground_points
from d2road.traffic.calibration.size_priors import COMMON_STD
from d2road.traffic.calibration.track_model import COMMON_SIZE, FIRST_DIRECTION, GROWTH, SINK

# Of cameras on poles, gantries and buildings. Wide: they decide only what nothing else tells, and say so by the result.
PITCH_DEG, ROLL_DEG, HEIGHT_M = (12.0, 10.0), (0.0, 2.5), (7.0, 0.5)  # mean and deviation; that of the height's log
GROWTH_PX = 0.5  # boxes of a detector may all be so much too large or too small
Normal = tuple[np.ndarray, np.ndarray, float]


class Evidence(Protocol):
    """Something that is known of a camera."""

    def normal_equations(self, camera: np.ndarray) -> Normal:
        """Information (G, G), gradient (G,) of the cost, and cost at the camera (G,)."""
        ...


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution of the first numbers of a camera: mean (P,), information (P, P)."""

    mean: np.ndarray
    information: np.ndarray

    def normal_equations(self, camera: np.ndarray) -> Normal:
        """See `Evidence`."""
        G, P = len(camera), len(self.mean)
        A, b = np.zeros((G, G)), np.zeros(G)
        off = camera[:P] - self.mean
        A[:P, :P], b[:P] = self.information, self.information @ off
        return A, b, float(off @ self.information @ off / 2)


def wide_prior(focal_std: float) -> Gaussian:
    """What is likely of any roadside camera, of sizes of vehicles in common and of the growth of boxes.

    Bottom centres are taken to lie where they are: what they may be too low by is considered with the deviations.

    Args:
        focal_std: of the log of the focal length in K.
    """
    mean = np.zeros(FIRST_DIRECTION)
    mean[1:4] = np.deg2rad(PITCH_DEG[0]), np.deg2rad(ROLL_DEG[0]), np.log(HEIGHT_M[0])
    std = np.ones(FIRST_DIRECTION)
    std[:4] = max(focal_std, 1e-6), np.deg2rad(PITCH_DEG[1]), np.deg2rad(ROLL_DEG[1]), HEIGHT_M[1]
    std[COMMON_SIZE], std[GROWTH], std[SINK] = COMMON_STD, GROWTH_PX, 1e-6
    return Gaussian(mean, np.diag(std**-2.0))


@dataclass(frozen=True)
class KnownLengths:
    """Distances on the road between points of the image, such as the ends of a marking or the sides of a lane.

    start, end: (L, 2) pinhole pixels. length_m, length_std_m: (L,). pixel_std: px, of each coordinate.
    """

    start: np.ndarray
    end: np.ndarray
    length_m: np.ndarray
    length_std_m: np.ndarray
    lens: Lens
    pixel_std: float = 1.0

    def normal_equations(self, camera: np.ndarray) -> Normal:
        """See `Evidence`."""
        theta = camera[:4]
        start, end = np.asarray(self.start, dtype=np.float64), np.asarray(self.end, dtype=np.float64)

        def length(t: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return np.linalg.norm(ground_points(a, t, self.lens) - ground_points(b, t, self.lens), axis=1)

        J_pixels = [
            (length(theta, start + step, end) - length(theta, start - step, end)) / 2e-3 for step in 1e-3 * np.eye(2)
        ] + [(length(theta, start, end + step) - length(theta, start, end - step)) / 2e-3 for step in 1e-3 * np.eye(2)]
        std = np.sqrt(self.length_std_m**2 + ((self.pixel_std * np.stack(J_pixels)) ** 2).sum(axis=0))
        J = jacobian(lambda t: length(t, start, end), theta) / std[:, None]
        r = (length(theta, start, end) - self.length_m) / std
        A, b = np.zeros((len(camera), len(camera))), np.zeros(len(camera))
        A[:4, :4], b[:4] = J.T @ J, J.T @ r
        return A, b, float(r @ r / 2)


@dataclass(frozen=True)
class HorizonPoint:
    """A point of the image through which the horizon runs, such as a vanishing point of the road.

    pixel: (2,) of the pinhole image. std_px: across the horizon.
    """

    pixel: np.ndarray
    std_px: float
    lens: Lens

    def normal_equations(self, camera: np.ndarray) -> Normal:
        """See `Evidence`."""
        theta, point = camera[:4], np.asarray(self.pixel, dtype=np.float64)[None]

        def above_px(t: np.ndarray) -> np.ndarray:
            up = ground_axes(t[1], t[2])[:, 2]
            ray = self.lens.rays(point, t)[0]
            # The ray's rise over the change of it by a pixel down: distance from the horizon, px.
            return np.array([ray @ up / (up[1] / (self.lens.K[1, 1] * np.exp(t[0])))])

        r, J = above_px(theta) / self.std_px, jacobian(above_px, theta) / self.std_px
        A, b = np.zeros((len(camera), len(camera))), np.zeros(len(camera))
        A[:4, :4], b[:4] = J.T @ J, J.T @ r
        return A, b, float(r @ r / 2)


def total(evidence: Sequence[Evidence], camera: np.ndarray) -> Normal:
    """The sum of independent evidence."""
    A, b, cost = np.zeros((len(camera), len(camera))), np.zeros(len(camera)), 0.0
    for one in evidence:
        more_A, more_b, more = one.normal_equations(camera)
        A, b, cost = A + more_A, b + more_b, cost + more
    return A, b, cost


def jacobian(function: Callable[[np.ndarray], np.ndarray], theta: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """(L, 4) central differences of (L,) values by theta."""
    moves = step * np.eye(len(theta))
    return np.stack([(function(theta + m) - function(theta - m)) / (2 * step) for m in moves], axis=1)
