"""Likelihood of tracked vehicles under a camera: boxes in the image, straight parallel tracks, vehicles of usual sizes.

Unknowns, eliminated one after the other (Schur complement):
    row      pinhole pixel of the bottom centre (2)
    vehicle  log h, w, l; heading; offset of its straight track in heights of the camera; what its box and bottom
             centre are off by in all frames, in `SAME` deviations of one frame (11)
    camera   log focal, pitch, roll, log height (theta); common log error of sizes; common growth of boxes, px; by how
             much measured bottom centres lie too low, in heights of their boxes; heading of each direction of traffic

Letters: N rows, J vehicles, D directions, G = 7 + D numbers of the camera, R = 7 residuals of a row: four edges of the
box, two of the bottom centre, one across the track.
"""

from dataclasses import dataclass, replace

import numpy as np

from d2road.traffic.calibration.box_projection import Lens, across_px, boxes_of_vehicles, edge_corners, ground_points
from d2road.traffic.calibration.track_samples import TrackSamples

COMMON_SIZE, GROWTH, SINK, FIRST_DIRECTION = 4, 5, 6, 7  # positions after theta among the numbers of the camera
VEHICLE = 11  # numbers of a vehicle
OUTLIER = 8.0  # deviations at which a residual of boxes without gross errors counts half as much (Cauchy)
SAME = 0.8  # deviation of what a detector errs by in all frames of a vehicle, over that of one frame
STEP = 1e-6
OUTWARD = np.array([-1.0, -1.0, 1.0, 1.0])  # how edges move when boxes grow


@dataclass(frozen=True)
class Noise:
    """Standard deviations. edges (N, 4), bottom (N, 2), across (N,) of tracks: px; heading: rad, of vehicles."""

    edges: np.ndarray
    bottom: np.ndarray
    across: np.ndarray
    heading: float


@dataclass(frozen=True)
class TrackState:
    """Values of all unknowns: camera (G,), vehicles (J, VEHICLE), rows (N, 2)."""

    camera: np.ndarray
    vehicles: np.ndarray
    rows: np.ndarray

    @property
    def theta(self) -> np.ndarray:
        """(4,) log focal, pitch, roll, log height."""
        return self.camera[:4]


@dataclass(frozen=True)
class Reduced:
    """Normal equations of the camera, vehicle by vehicle: information (J, G, G), gradient (J, G), and cost."""

    information: np.ndarray
    gradient: np.ndarray
    cost: float


class TrackModel:
    """The likelihood and its normal equations.

    Args:
        samples: rows of vehicles.
        lens: intrinsics and distortion.
        direction: (J,) which direction of traffic a vehicle belongs to, -1 for none.
        noise: standard deviations.
        outlier: deviations at which a residual counts half as much.
    """

    def __init__(
        self, samples: TrackSamples, lens: Lens, direction: np.ndarray, noise: Noise, outlier: float = OUTLIER
    ):
        self.samples, self.lens, self.direction, self.noise = samples, lens, direction, noise
        self.outlier = outlier
        self.measured = np.concatenate([samples.edges, np.isfinite(samples.bottom)], axis=1)  # (N, 6)
        self.starts = np.flatnonzero(np.diff(samples.vehicle, prepend=-1))

    def residuals(self, state: TrackState, corners: np.ndarray | None = None) -> np.ndarray:
        """(N, 7) in deviations; 0 where nothing was measured. `corners`: of `edge_corners`, where they are known."""
        s, vehicles, theta = self.samples, state.vehicles[self.samples.vehicle], state.theta
        heading = vehicles[:, 3]
        boxes = boxes_of_vehicles(state.rows, vehicles[:, :3], heading, theta, self.lens, corners)
        boxes = boxes + state.camera[GROWTH] * OUTWARD
        edges = np.where(s.edges, (boxes - s.boxes) / self.noise.edges, 0.0)
        low = np.outer(state.camera[SINK] * s.box_heights, [0.0, 1.0])
        bottom = (self.lens.seen(state.rows, theta) + low - s.bottom) / self.noise.bottom
        at = ground_points(state.rows, theta, self.lens)
        across = -np.sin(heading) * at[:, 0] + np.cos(heading) * at[:, 1] - vehicles[:, 4] * np.exp(theta[3])
        # In pixels: in metres, the smallest world would have the straightest tracks.
        across = across_px(at, across, heading, state.rows, theta, self.lens) / self.noise.across
        seen = np.concatenate([edges, np.nan_to_num(bottom)], axis=1)
        return np.concatenate([seen + SAME * vehicles[:, 5:] * self.measured, across[:, None]], axis=1)

    def corners(self, state: TrackState) -> np.ndarray:
        """(N, 4) see `edge_corners`."""
        vehicles = state.vehicles[self.samples.vehicle]
        return edge_corners(state.rows, vehicles[:, :3], vehicles[:, 3], state.theta, self.lens)

    def height_px(self, state: TrackState) -> np.ndarray:
        """(N,) how many pixels a height of the camera has across each track."""
        heading = state.vehicles[self.samples.vehicle, 3]
        at, step = ground_points(state.rows, state.theta, self.lens), np.full(len(heading), 0.01)
        return across_px(at, step, heading, state.rows, state.theta, self.lens) * np.exp(state.theta[3]) / 0.01

    def prior_residuals(self, state: TrackState) -> np.ndarray:
        """(J, 10) of sizes, heading and what is the same in all frames, in deviations."""
        size = (state.vehicles[:, :3] - self.samples.log_size - state.camera[COMMON_SIZE]) / self.samples.size_std
        return np.concatenate([size, self._turn(state)[:, None] / self.noise.heading, state.vehicles[:, 5:]], axis=1)

    def _turn(self, state: TrackState) -> np.ndarray:
        """(J,) heading against that of the direction, modulo half turns; 0 for vehicles of none."""
        nominal = state.camera[FIRST_DIRECTION + np.maximum(self.direction, 0)]
        turn = (state.vehicles[:, 3] - nominal + np.pi / 2) % np.pi - np.pi / 2
        return np.where(self.direction >= 0, turn, 0.0)

    def with_noise(self, noise: Noise) -> "TrackModel":
        """The same with other deviations."""
        return TrackModel(self.samples, self.lens, self.direction, noise, self.outlier)

    def cost(self, state: TrackState) -> float:
        """Half the robust sum of squares."""
        every = np.concatenate([self.residuals(state).ravel(), self.prior_residuals(state).ravel()])
        return float(self.outlier**2 / 2 * np.log1p((every / self.outlier) ** 2).sum())

    def linearise(self, state: TrackState) -> "Linearised":
        """Normal equations with rows and vehicles eliminated, and what leads back to them."""
        corners = self.corners(state)
        r = self.residuals(state, corners)
        G, N = len(state.camera), len(r)
        V = G + VEHICLE
        J = np.zeros((N, r.shape[1], V + 2))
        for column in (0, 1, 2, 3, GROWTH, SINK):
            step = STEP * np.eye(G)[column]
            J[:, :, column] = (self.residuals(replace(state, camera=state.camera + step), corners) - r) / STEP
        for k in range(5):
            moved = replace(state, vehicles=state.vehicles + STEP * np.eye(VEHICLE)[k])
            J[:, :, G + k] = (self.residuals(moved, corners) - r) / STEP
        J[:, range(6), range(G + 5, V)] = SAME * self.measured
        for k in range(2):
            step = 1e-4 * np.eye(2)[k]
            J[:, :, V + k] = (self.residuals(replace(state, rows=state.rows + step), corners) - r) / 1e-4
        w = 1 / (1 + (r / self.outlier) ** 2)
        weighted = (w[:, :, None] * J).transpose(0, 2, 1)
        A, b = weighted @ J, (weighted @ r[:, :, None])[..., 0]
        A[:, range(V, V + 2), range(V, V + 2)] += 1e-9
        A_u, b_u, back_rows = _eliminated(A, b, V)
        A_v, b_v = np.add.reduceat(A_u, self.starts), np.add.reduceat(b_u, self.starts)
        self._add_priors(state, A_v, b_v)
        A_v[:, range(G, V), range(G, V)] += 1e-9
        information, gradient, back = _eliminated(A_v, b_v, G)
        return Linearised(Reduced(information, gradient, self.cost(state)), back, back_rows, self.samples.vehicle)

    def _add_priors(self, state: TrackState, A: np.ndarray, b: np.ndarray) -> None:
        """Sizes and headings of vehicles, added to A (J, G + VEHICLE, G + VEHICLE) and b (J, G + VEHICLE)."""
        G, r = len(state.camera), self.prior_residuals(state)
        J = np.zeros((len(r), r.shape[1], G + VEHICLE))
        J[:, range(4, 10), range(G + 5, G + VEHICLE)] = 1.0
        inverse = 1 / self.samples.size_std
        J[:, [0, 1, 2], [G, G + 1, G + 2]] = inverse
        J[:, :3, COMMON_SIZE] = -inverse
        known = self.direction >= 0
        J[known, 3, G + 3] = 1 / self.noise.heading
        J[known, 3, FIRST_DIRECTION + self.direction[known]] = -1 / self.noise.heading
        w = 1 / (1 + (r / self.outlier) ** 2)
        A += np.einsum("nri,nr,nrj->nij", J, w, J, optimize=True)
        b += np.einsum("nri,nr->ni", J, w * r)


def _eliminated(A: np.ndarray, b: np.ndarray, kept: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Schur complement of normal equations A (N, P, P), b (N, P): those of the first numbers, and the way back.

    Returns:
        (N, kept, kept), (N, kept) and (N, P - kept, kept + 1): what the others follow the kept ones by, and their own.
    """
    right = np.concatenate([A[:, kept:, :kept], b[:, kept:, None]], axis=2)
    back = np.linalg.solve(A[:, kept:, kept:], right)
    cross = A[:, :kept, kept:]
    return A[:, :kept, :kept] - cross @ back[:, :, :-1], b[:, :kept] - (cross @ back[:, :, -1:])[..., 0], back


@dataclass(frozen=True)
class Linearised:
    """Normal equations of the camera, and what leads back to vehicles (J, 11, G + 1) and rows (N, 2, G + 12)."""

    reduced: Reduced
    back_vehicles: np.ndarray
    back_rows: np.ndarray
    vehicle: np.ndarray

    def stepped(self, state: TrackState, move: np.ndarray, damping: float = 1.0) -> TrackState:
        """The state after a step (G,) of the camera, with vehicles and rows where they then fit best."""
        vehicles = -damping * self.back_vehicles[:, :, -1] - self.back_vehicles[:, :, :-1] @ move
        whole = np.concatenate([np.broadcast_to(move, (len(self.vehicle), len(move))), vehicles[self.vehicle]], axis=1)
        rows = -damping * self.back_rows[:, :, -1] - np.einsum("nij,nj->ni", self.back_rows[:, :, :-1], whole)
        limit = 40.0  # px: a row that would leap further starts from a bad place
        rows = rows * np.minimum(1, limit / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9))
        return TrackState(state.camera + move, state.vehicles + vehicles, state.rows + rows)
