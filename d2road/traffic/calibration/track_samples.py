"""Samples of vehicle tracks for calibration: which tracks and rows serve, and what is known of each vehicle's size.

Letters: J vehicles, N rows of all of them.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from d2road.traffic.calibration.observations import BOX, NO_TRACK, SIZE, CalibrationObservations
from d2road.traffic.calibration.size_priors import prior_arrays

BORDER_PX = 2.0  # edges of boxes nearer to the border of the image are cut by it
PER_TRACK = 5  # rows of one vehicle: more repeat its errors, not its information, and the stated deviations shrink
MIN_HEIGHT_PX = 8.0
MIN_SCORE = 0.3


@dataclass(frozen=True)
class TrackSamples:
    """Rows of vehicles, by vehicle and then time.

    vehicle (N,): 0..J-1. boxes (N, 4): px. edges (N, 4): False for an edge that the image cuts. bottom (N, 2): measured
    bottom centres, px, NaN without. log_size (J, 3): log h, w, l; size_std (J, 3): of single vehicles. t (N,): s.
    width, height: of the image.
    """

    vehicle: np.ndarray
    boxes: np.ndarray
    edges: np.ndarray
    bottom: np.ndarray
    log_size: np.ndarray
    size_std: np.ndarray
    t: np.ndarray
    width: int
    height: int

    @property
    def vehicles(self) -> int:
        """How many vehicles there are."""
        return len(self.log_size)

    def of_vehicles(self, keep: np.ndarray) -> "TrackSamples":
        """Those of the vehicles with `keep` (J,) set, numbered anew."""
        rows = keep[self.vehicle]
        number = np.cumsum(keep) - 1
        return TrackSamples(
            number[self.vehicle[rows]], self.boxes[rows], self.edges[rows], self.bottom[rows], self.log_size[keep],
            self.size_std[keep], self.t[rows], self.width, self.height,
        )  # fmt: skip

    @property
    def box_heights(self) -> np.ndarray:
        """(N,) px."""
        return self.boxes[:, 3] - self.boxes[:, 1]


def sample_tracks(
    observations: CalibrationObservations, per_track: int = PER_TRACK, min_score: float = MIN_SCORE
) -> TrackSamples:
    """Choose from each track rows that are spread evenly over the time in which the vehicle was seen.

    Rows that belong to no track are vehicles of one row each. Boxes that the image cuts,
    small ones and classes without a known size are left out.
    """
    rows = observations.rows
    boxes = rows[list(BOX)].to_numpy()
    log_mean, spread = prior_arrays(rows["cls"].tolist())
    limit = np.array([observations.width, observations.height] * 2, dtype=np.float64)
    edges = (boxes > BORDER_PX) & (boxes < limit - BORDER_PX)
    good = edges.all(axis=1) & np.isfinite(spread[:, 0])
    good &= (boxes[:, 3] - boxes[:, 1] >= MIN_HEIGHT_PX) & (rows["score"].to_numpy() >= min_score)
    index = np.flatnonzero(good)
    track = rows["track"].to_numpy()[index]
    if (track != NO_TRACK).any():
        index = index[track != NO_TRACK]
        track = track[track != NO_TRACK]
    track = np.where(track == NO_TRACK, -2 - np.arange(len(track)), track)
    chosen = _spread_rows(track, per_track)
    index, (_, vehicle) = index[chosen], np.unique(track[chosen], return_inverse=True)
    order = np.argsort(vehicle, kind="stable")
    index, vehicle = index[order], vehicle[order]
    log_size, size_std = _sizes(rows.iloc[index], vehicle, log_mean[index], spread[index])
    bottom = rows[["bottom_u", "bottom_v"]].to_numpy()[index]
    t = rows["t"].to_numpy()[index]
    return TrackSamples(
        vehicle, boxes[index], edges[index], bottom, log_size, size_std, t, observations.width, observations.height
    )


def _spread_rows(track: np.ndarray, per_track: int) -> np.ndarray:
    """Sorted indices of at most `per_track` rows of each track, spread evenly in its order.

    Chosen by time, never by the size of the box: the smallest of many noisy boxes is too small.
    """
    chosen = []
    for rows in pd.Series(np.arange(len(track))).groupby(track).indices.values():
        if len(rows) > per_track:
            rows = rows[np.unique(np.linspace(0, len(rows) - 1, per_track).round().astype(int))]
        chosen.append(rows)
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, dtype=np.int64)


def _sizes(
    rows: pd.DataFrame, vehicle: np.ndarray, log_mean: np.ndarray, spread: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(J, 3) log sizes and deviations: the detector's own where it tells them, else the prior of the class."""
    said = rows[list(SIZE)].to_numpy()
    std = rows[["h_std", "w_std", "l_std"]].to_numpy() / said
    told = np.isfinite(said).all(axis=1) & np.isfinite(std).all(axis=1)
    log_row = np.where(told[:, None], np.log(np.where(told[:, None], said, 1.0)), log_mean)
    std_row = np.where(told[:, None], np.maximum(std, 1e-3), spread)
    # What a detector says of one vehicle in several frames is one measurement: their mean, no more certain than each.
    frame = pd.DataFrame(np.concatenate([log_row, std_row], axis=1)).groupby(vehicle).median()
    values = frame.to_numpy()
    return values[:, :3], values[:, 3:]
