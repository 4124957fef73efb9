"""Lines of what moves, as evidence on a camera: where its horizon is, and how far it is turned.

Where most traffic drives straight on along one road, in whichever sense, its paths run to one point of the horizon, and
the edges of vehicles that lie across the road, such as bumpers and windscreens, are level and at a right angle to it.
Both depend on no boxes, sizes or classes, and say nothing of the height.
"""

from dataclasses import dataclass

import numpy as np

from d2road.structures.lens_distortion import undistort
from d2road.structures.roadside_camera import ground_axes
from d2road.traffic.calibration.box_projection import Lens
from d2road.traffic.calibration.evidence import HorizonPoint, Normal, jacobian
from d2road.traffic.calibration.vanishing_points import vanishing_point

FEWEST, MOST_EDGES = 100, 1500  # pieces of paths, or edges; more edges tell no more
PATH_PX, AGREES_RAD = 0.5, np.deg2rad(2.0)
LEAST_AGREEING = 0.6  # share of the paths that run to the point
# Deviations, however many lines there are, for no road is flatter and no body straighter: chosen on rendered clips.
HORIZON_PX, TURN_RAD = 1.5, np.deg2rad(0.35)
WINDOW_RAD, SCALE_RAD = np.deg2rad(12.0), np.deg2rad(1.0)  # of edges that may lie across the road


@dataclass(frozen=True)
class CrossingEdges:
    """Edges of vehicles, some of which lie across the road.

    edges: (E, 4), pixels of the pinhole image. road: (2,) vanishing point of the road.
    """

    edges: np.ndarray
    road: np.ndarray
    lens: Lens

    def turns(self, theta: np.ndarray) -> np.ndarray:
        """(E,) angles, rad, between edges and level lines across the road, modulo half turns."""
        axes, K = ground_axes(theta[1], theta[2]), self.lens.K * np.exp([[theta[0], 0, 0], [0, theta[0], 0], [0] * 3])
        along = self.lens.rays(np.asarray(self.road)[None], theta)[0] @ axes
        across = K @ axes @ np.array([-along[1], along[0], 0.0])
        toward = across[:2] - across[2] * (self.edges[:, :2] + self.edges[:, 2:]) / 2
        edge = self.edges[:, 2:] - self.edges[:, :2]
        off = np.arctan2(edge[:, 1], edge[:, 0]) - np.arctan2(toward[:, 1], toward[:, 0])
        return (off + np.pi / 2) % np.pi - np.pi / 2

    def mode(self, theta: np.ndarray) -> float:
        """Most frequent angle of edges, rad, by length: an M-estimate, as few edges lie across the road."""
        off, length = self.turns(theta), np.linalg.norm(self.edges[:, 2:] - self.edges[:, :2], axis=1)
        near = np.abs(off) < WINDOW_RAD
        off, length, middle = off[near], length[near], 0.0
        for scale in (4 * SCALE_RAD, 2 * SCALE_RAD, *[SCALE_RAD] * 8):
            weight = length / (1 + ((off - middle) / scale) ** 2) ** 2
            middle = float(weight @ off / max(weight.sum(), 1e-9))
        return middle

    def normal_equations(self, camera: np.ndarray) -> Normal:
        """See `Evidence`."""
        theta = camera[:4]
        r = np.array([self.mode(theta)]) / TURN_RAD
        J = jacobian(lambda t: np.array([self.mode(t)]), theta) / TURN_RAD
        A, b = np.zeros((len(camera), len(camera))), np.zeros(len(camera))
        A[:4, :4], b[:4] = J.T @ J, J.T @ r
        return A, b, float(r @ r / 2)


MotionEvidence = HorizonPoint | CrossingEdges


def evidence_of_motion(paths: np.ndarray, edges: np.ndarray, lens: Lens, width: int) -> list[MotionEvidence]:
    """What lines of what moves tell; nothing where they are few, or where paths run to no common point.

    Args:
        paths: (S, 4), edges: (E, 4): x1 y1 x2 y2, pixels of the image as it is. width: of the image.
    """
    if len(paths) < FEWEST:
        return []
    straight = _in_pinhole(paths, lens)
    found = vanishing_point(straight, lens.K[:2, 2], float(width), PATH_PX)
    toward, along = found.pixel - (straight[:, :2] + straight[:, 2:]) / 2, straight[:, 2:] - straight[:, :2]
    sine = toward[:, 0] * along[:, 1] - toward[:, 1] * along[:, 0]
    sine = np.abs(sine) / np.maximum(np.linalg.norm(toward, axis=1) * np.linalg.norm(along, axis=1), 1e-9)
    if np.mean(sine < np.sin(AGREES_RAD)) < LEAST_AGREEING:
        return []
    std = max(HORIZON_PX, float(np.sqrt(found.pixel_covariance[1, 1])))
    told: list[MotionEvidence] = [HorizonPoint(found.pixel, std, lens)]
    if len(edges) < FEWEST:
        return told
    chosen = edges[np.unique(np.linspace(0, len(edges) - 1, MOST_EDGES).astype(int))]
    return [*told, CrossingEdges(_in_pinhole(chosen, lens), found.pixel, lens)]


def _in_pinhole(segments: np.ndarray, lens: Lens) -> np.ndarray:
    """(S, 4) ends of segments without distortion."""
    if not lens.distortion.any():
        return segments
    K, ends = lens.K, segments.reshape(-1, 2)
    y = (ends[:, 1] - K[1, 2]) / K[1, 1]
    x = (ends[:, 0] - K[0, 2] - K[0, 1] * y) / K[0, 0]
    x, y = undistort(np.stack([x, y], axis=1), lens.distortion).T
    return np.stack([K[0, 0] * x + K[0, 1] * y + K[0, 2], K[1, 1] * y + K[1, 2]], axis=1).reshape(-1, 4)
