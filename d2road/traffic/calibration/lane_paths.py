"""Lane paths: where vehicles drive in the view of a camera that stands right, and what a turn of it would do to them.

Lanes are the peaks of the lateral places of vehicles, whose mean
offset at each station is the path. What single vehicles deviate by is one covariance for all lanes: it holds where they
drive within their lanes, how they wander, and the errors of detector and tracker, which last as long as a passage.

Letters: S stations, L lanes, V passages.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from d2road.structures.roadside_camera import RoadsideCamera
from d2road.traffic.calibration.camera_turn import turned_ground
from d2road.traffic.calibration.passages import Passages, Stations, check_tracks, near_rows
from d2road.utils.errors import DataError

LEAST_PASSAGES, LEAST_IN_LANE = 60, 10
ROUNDS = 3
PEAK_M, GRID_M = 0.4, 0.05  # width of the kernel that finds lanes
LEAST_PEAK = 0.05  # of the highest one
BESIDE_M, ASTRAY_M = 1.75, 1.0  # a passage farther from all lanes, or that leaves its path by as much, is astray
USUAL, NOTHING = 1.5, 3.0  # root mean squared deviations from which on a passage counts less, and not at all
STEP_DEG = 0.05  # of numeric derivatives
SHRINK = 0.02  # of the covariance towards its diagonal


@dataclass(frozen=True)
class TurnEvidence:
    """Of passages (V,): times; gradient (V, 3) and information (V, 3, 3) of a turn in degrees; which are astray."""

    t: np.ndarray
    gradient: np.ndarray
    information: np.ndarray
    astray: np.ndarray

    def __len__(self) -> int:
        return len(self.t)


@dataclass(frozen=True)
class LanePaths:
    """What a camera's own good hours say.

    stations: along the road. paths (L, S): offsets, m. covariance (S, S): of single vehicles, m^2. derivatives
    (L, S, 3): metres of offset for a degree of yaw, pitch, roll. astray: share of passages that follow no path.
    passages: how many were used. information (3, 3): of their mean turn, 1 / deg^2.
    view: width and height of the camera's images, px.
    """

    stations: Stations
    paths: np.ndarray
    covariance: np.ndarray
    derivatives: np.ndarray
    astray: float
    passages: int
    information: np.ndarray
    view: tuple[int, int]

    @classmethod
    def fit(cls, rows: pd.DataFrame, camera: RoadsideCamera) -> LanePaths:
        """From good tracks.

        Args:
            rows: t, track, x, y, as `GroundTracks.rows` has them. camera: that they were lifted with.
        Raises:
            DataError: fewer than LEAST_PASSAGES passages, or no lanes: too little to compare with.
        """
        rows = near_rows(check_tracks(rows))
        stations = Stations.of(rows, camera)
        return cls.of_passages(stations.passages(rows), stations, camera)

    @classmethod
    def of_passages(cls, found: Passages, stations: Stations, camera: RoadsideCamera) -> LanePaths:
        """The same of passages by stations."""
        if len(found) < LEAST_PASSAGES:
            raise DataError(
                f"good tracks hold {len(found)} vehicles that pass through the view, expected {LEAST_PASSAGES} or "
                "more to tell where they usually drive: give more of them"
            )
        lanes = find_lanes(np.nanmean(found.offsets, axis=1))
        paths = lanes[:, None] + np.zeros(stations.count)
        for _ in range(ROUNDS):
            number, off = follow(found.offsets, paths)
            paths = np.array([_path(found.offsets[(number == k) & ~off], lane) for k, lane in enumerate(lanes)])
        number, off = follow(found.offsets, paths)
        counts = np.bincount(number[~off], minlength=len(lanes))
        paths = paths[counts >= LEAST_IN_LANE]
        if not len(paths) or (~off).sum() < LEAST_PASSAGES / 2:
            raise DataError("vehicles of the good tracks follow no common paths: give good tracks of one road")
        number, off = follow(found.offsets, paths)
        covariance = _covariance((found.offsets - paths[number])[~off])
        derivatives = np.stack([_derivatives(camera, stations, path) for path in paths])
        size = (camera.width, camera.height)
        bare = cls(stations, paths, covariance, derivatives, float(off.mean()), len(found), np.eye(3), size)
        evidence = bare.evidence(found)
        return replace(bare, astray=float(evidence.astray.mean()), information=evidence.information.sum(axis=0))

    def evidence(self, passages: Passages) -> TurnEvidence:
        """What each passage says of a turn."""
        number, astray = follow(passages.offsets, self.paths)
        residual = passages.offsets - self.paths[number]
        gradient, information = np.zeros((len(passages), 3)), np.zeros((len(passages), 3, 3))
        seen = np.isfinite(residual)
        patterns, which = np.unique(seen, axis=0, return_inverse=True)
        for place, pattern in enumerate(patterns):
            rows = np.flatnonzero((which.reshape(-1) == place) & ~astray)
            if not len(rows):
                continue
            inverse = np.linalg.inv(self.covariance[np.ix_(pattern, pattern)])
            r, J = residual[rows][:, pattern], self.derivatives[number[rows]][:, pattern]
            distance = np.einsum("vs,st,vt->v", r, inverse, r)
            # Who drives as nobody else does, as who begins to change lanes, counts less, and then not at all.
            far = np.sqrt(distance / pattern.sum())
            weight = np.clip((NOTHING - far) / (NOTHING - USUAL), 0.0, 1.0)
            astray[rows] = far >= NOTHING
            gradient[rows] = weight[:, None] * np.einsum("vsk,st,vt->vk", J, inverse, r)
            information[rows] = weight[:, None, None] * np.einsum("vsk,st,vtl->vkl", J, inverse, J)
        return TurnEvidence(passages.t, gradient, information, astray)


def find_lanes(middle: np.ndarray) -> np.ndarray:
    """(L,) peaks of the density of lateral places (V,), m."""
    grid = np.arange(middle.min() - 1, middle.max() + 1, GRID_M)
    used = middle[:: max(1, len(middle) // 2000)]
    density = np.exp(-0.5 * ((grid[:, None] - used) / PEAK_M) ** 2).sum(axis=1)
    inner = density[1:-1]
    peak = (inner > density[:-2]) & (inner >= density[2:]) & (inner > LEAST_PEAK * density.max())
    return grid[1:-1][peak]


def follow(offsets: np.ndarray, paths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The path (V,) that each passage (V, S) is nearest to, and whether it is astray: beside all, or leaves it."""
    residual = offsets[:, None, :] - paths
    number = np.abs(np.nanmean(residual, axis=2)).argmin(axis=1)
    own = residual[np.arange(len(offsets)), number]
    level = np.nanmean(own, axis=1)
    spread = np.nanmax(np.abs(own - level[:, None]), axis=1) if len(own) else np.zeros(0)
    return number, (np.abs(level) > BESIDE_M) | (spread > ASTRAY_M)


def _path(offsets: np.ndarray, lane: float) -> np.ndarray:
    """(S,) mean offsets at stations, without the farthest quarter; those of the lane where nobody was seen."""
    path = np.full(offsets.shape[1], lane)
    for place, values in enumerate(offsets.T):
        values = values[np.isfinite(values)]
        if len(values):
            path[place] = stats.trim_mean(values, 1 / 8)
    return path


def _covariance(residuals: np.ndarray) -> np.ndarray:
    """(S, S) of residuals with gaps (V, S), positive definite; larger for few, whose inverse is biased upwards."""
    count, stations = residuals.shape
    pairs = pd.DataFrame(residuals).cov(min_periods=8).to_numpy().copy()
    usual = np.nanmean(np.diag(pairs))
    pairs[np.diag_indices(len(pairs))] = np.where(np.isfinite(np.diag(pairs)), np.diag(pairs), usual)
    pairs = (1 - SHRINK) * np.where(np.isfinite(pairs), pairs, 0.0) + SHRINK * np.diag(np.diag(pairs))
    values, vectors = np.linalg.eigh(pairs)
    few = (count - 1) / max(count - stations - 2, 1)
    return np.asarray((vectors * np.maximum(values, 1e-3 * values.max())) @ vectors.T) * few


def _derivatives(camera: RoadsideCamera, stations: Stations, path: np.ndarray) -> np.ndarray:
    """(S, 3) offset at fixed stations for a degree of each angle, m."""
    axis, middle = stations.axis, stations.middle
    points, slope = axis.to_ground(np.stack([middle, path], axis=1)), np.gradient(path, middle)
    columns = []
    for step in STEP_DEG * np.eye(3):
        moved = axis.along_across(turned_ground(camera, points, step) - turned_ground(camera, points, -step))
        columns.append((moved[:, 1] - slope * moved[:, 0]) / (2 * STEP_DEG))
    return np.nan_to_num(np.stack(columns, axis=1))
