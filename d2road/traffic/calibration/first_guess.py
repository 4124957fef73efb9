"""First guess of a camera from its traffic: depths of vehicles by their height, a plane through them, their directions.

Letters: N rows, J vehicles, D directions of traffic.
"""

import numpy as np

from d2road.structures.camera import normalize_plane
from d2road.structures.roadside_camera import angles_of_plane
from d2road.traffic.calibration.box_projection import Lens, ground_points
from d2road.traffic.calibration.track_model import FIRST_DIRECTION, VEHICLE, TrackState
from d2road.traffic.calibration.track_samples import TrackSamples

MAX_DIRECTIONS = 3
APART_RAD = np.deg2rad(12.0)  # directions of traffic closer than this are one
SMALLEST_SHARE = 0.12  # of vehicles, for a direction of its own
SHORTEST_TRACK_M = 3.0
IMPLAUSIBLE = 4.0


def first_plane(samples: TrackSamples, lens: Lens, log_focal: float) -> np.ndarray | None:
    """(4,) theta of a robust plane through vehicles at the depths that their heights tell; None without."""
    theta = np.array([log_focal, 0.0, 0.0, 0.0])
    foot = starting_pixels(samples)
    rays = lens.rays(foot, theta)
    # The box of a vehicle seen from above is higher than its face: its length adds about a third.
    height = np.exp(samples.log_size[samples.vehicle, 0])
    depth = lens.K[1, 1] * np.exp(log_focal) * height * 1.15 / samples.box_heights
    points = rays * depth[:, None]
    design = np.stack([np.ones(len(points)), points[:, 2], points[:, 0]], axis=1)
    # y = h + slope z + tilt x, where pitch is near 12 and roll near 0 degrees; relative errors grow with depth.
    prior, strength = np.array([7.0, -0.21, 0.0]), np.diag([0.05, 1.0, 200.0])
    weight = 1 / depth**2
    found = prior
    for _ in range(15):
        A = design.T @ (weight[:, None] * design) * (100 / len(points)) * 100 + strength
        b = design.T @ (weight * points[:, 1]) * (100 / len(points)) * 100 + strength @ prior
        found = np.linalg.solve(A, b)
        off = np.abs(design @ found - points[:, 1]) / depth
        scale = max(1.4826 * float(np.median(off)), 1e-4)
        weight = 1 / depth**2 / (1 + (off / (2 * scale)) ** 2)
    plane = normalize_plane(np.array([found[2], -1.0, found[1], found[0]]))
    if plane[3] < 1.0:
        return None
    pitch, roll = angles_of_plane(plane)
    return np.array([log_focal, pitch, roll, np.log(plane[3])])


def starting_pixels(samples: TrackSamples) -> np.ndarray:
    """(N, 2) bottom centres: measured ones, else a little above the middle of the box's lower edge."""
    middle = (samples.boxes[:, 0] + samples.boxes[:, 2]) / 2
    low = samples.boxes[:, 3] - 0.15 * samples.box_heights
    return np.where(np.isfinite(samples.bottom), samples.bottom, np.stack([middle, low], axis=1))


def start_state(samples: TrackSamples, lens: Lens, theta: np.ndarray) -> tuple[TrackState, np.ndarray]:
    """The state to begin with at a camera, and (J,) the direction of traffic of each vehicle, -1 for none."""
    rows = starting_pixels(samples)
    at = ground_points(rows, theta, lens)
    headings, lengths = _track_headings(at, samples)
    moving = lengths > SHORTEST_TRACK_M
    modes = directions_of_traffic(headings[moving], lengths[moving])
    turn = np.abs((headings[:, None] - modes + np.pi / 2) % np.pi - np.pi / 2)
    direction = np.where(moving & (turn.min(axis=1) > APART_RAD), -1, turn.argmin(axis=1))
    headings = np.where(moving, headings, modes[np.maximum(direction, 0)])
    heading = headings[samples.vehicle]
    across = (-np.sin(heading) * at[:, 0] + np.cos(heading) * at[:, 1]) / np.exp(theta[3])
    offset = np.bincount(samples.vehicle, across) / np.bincount(samples.vehicle)
    vehicles = np.concatenate(
        [samples.log_size, headings[:, None], offset[:, None], np.zeros((len(offset), VEHICLE - 5))], axis=1
    )
    camera = np.concatenate([theta, np.zeros(FIRST_DIRECTION - 4), modes])
    return TrackState(camera, vehicles, rows), direction


def directions_of_traffic(headings: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(D,) most frequent headings modulo half turns, the most frequent first; straight ahead where there are none."""
    found: list[float] = []
    left: np.ndarray = np.ones(len(headings), dtype=bool)
    total = max(float(weights.sum()), 1e-9)
    for _ in range(MAX_DIRECTIONS):
        if not left.any():
            break
        apart = np.abs((headings[:, None] - headings[left] + np.pi / 2) % np.pi - np.pi / 2)  # (N, candidates)
        support = (weights[:, None] * left[:, None] * (apart < APART_RAD / 2)).sum(axis=0)
        center = headings[left][support.argmax()]
        if found and support.max() < SMALLEST_SHARE * total:
            break
        off = (headings - center + np.pi / 2) % np.pi - np.pi / 2
        near = left & (np.abs(off) < APART_RAD)
        found.append(float(center + np.median(off[near])))
        left &= ~near
    return np.array(found or [np.pi / 2])


def _track_headings(at: np.ndarray, samples: TrackSamples) -> tuple[np.ndarray, np.ndarray]:
    """(J,) headings of the longest axis of each track on the ground, in its driving direction, and (J,) its lengths."""
    J = samples.vehicles
    count = np.bincount(samples.vehicle, minlength=J)
    mean = np.stack([np.bincount(samples.vehicle, at[:, k], J) / count for k in range(2)], axis=1)
    off = at - mean[samples.vehicle]
    xx, xy, yy = (np.bincount(samples.vehicle, off[:, i] * off[:, k], J) for i, k in ((0, 0), (0, 1), (1, 1)))
    heading = np.arctan2(2 * xy, xx - yy) / 2
    time = samples.t - (np.bincount(samples.vehicle, samples.t, J) / count)[samples.vehicle]
    along = np.cos(heading)[samples.vehicle] * off[:, 0] + np.sin(heading)[samples.vehicle] * off[:, 1]
    backwards = np.bincount(samples.vehicle, along * time, J) < 0
    spread = np.zeros(J)
    np.maximum.at(spread, samples.vehicle, np.abs(along))
    return heading + np.pi * backwards, 2 * spread
