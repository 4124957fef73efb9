"""Vehicles that drive on the ground, and what a detector would say of them."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from d2road.traffic.tracking.ground_detections import COLUMNS, GroundDetections
from d2road.traffic.tracking.ground_tracks import GroundTracks
from d2road.traffic.tracking.tracker import Tracker

NOTHING = GroundDetections.empty()
SIGMA = 0.3  # m, of each of x and y


def detection(frame: int, t: float, x: float, y: float, **other: object) -> dict[str, object]:
    """One row: a car that faces +y, found with confidence."""
    row = dict.fromkeys(COLUMNS, np.nan) | {
        **{"frame": frame, "t": t, "cls": "car", "score": 0.9, "x": x, "y": y, "heading": np.pi / 2},
        **{"var_x": SIGMA**2, "cov_xy": 0.0, "var_y": SIGMA**2, "length": 4.5, "width": 1.8, "height": 1.5},
    }
    return row | other


def detections(rows: Sequence[dict[str, object]]) -> GroundDetections:
    """A table of rows; an empty one of none."""
    return GroundDetections.from_frame(pd.DataFrame(rows)) if rows else GroundDetections.empty()


def drive(
    times: np.ndarray,
    path: Callable[[float], tuple[float, float]],
    rng: np.random.Generator | None = None,
    hidden: tuple[float, float] = (np.inf, np.inf),
    **other: object,
) -> list[dict[str, object]]:
    """Rows of one vehicle at times (T,), frame k at times[k]; none from hidden[0] to before hidden[1]."""
    rows = []
    for frame, t in enumerate(times):
        if hidden[0] <= t < hidden[1]:
            continue
        noise = rng.normal(0, SIGMA, 2) if rng is not None else (0.0, 0.0)
        x, y = path(float(t))
        rows.append(detection(frame, float(t), x + noise[0], y + noise[1], **other))
    return rows


def run(
    tracker: Tracker, times: np.ndarray, rows: Sequence[dict[str, object]]
) -> tuple[list[GroundTracks], GroundTracks]:
    """Pass all frames, also those without detections, through a tracker: its live tables and the smoothed one."""
    found = frames(rows)
    live = [tracker.update(found.get(k, NOTHING), float(t), k) for k, t in enumerate(times)]
    return live, tracker.finish()


def frames(rows: Sequence[dict[str, object]]) -> dict[int, GroundDetections]:
    """The rows of each frame that has some."""
    return {frame: found for frame, _, found in detections(rows).by_frame()}
