"""Tracks of single vehicles before the small camera of `tracked_video`, for tests of the search; exact."""

import numpy as np
import pandas as pd

from d2road.traffic.tracking.ground_tracks import GroundTracks
from tests.factories.tracked_video import small_camera

RIGHT_X, LEFT_X = 1.75, -1.75  # the middles of its two lanes
STEP_S = 0.1


def driven(track: int, times, x, y, cls: str = "car", length: float = 4.5) -> pd.DataFrame:
    """Rows of a vehicle that is at x and y (numbers or arrays, m) at times (s)."""
    times = np.asarray(times, dtype=float)
    x, y = (np.broadcast_to(np.asarray(value, dtype=float), times.shape) for value in (x, y))
    speed = np.hypot(np.gradient(x, times), np.gradient(y, times))
    moves = speed > 0.5
    height, width = (3.0, 2.5) if length > 6 else (1.5, 1.8)
    return pd.DataFrame({
        "frame": np.round(times / STEP_S).astype(int), "t": times, "track": track, "cls": cls, "score": 0.9, "x": x,
        "y": y, "var_x": 0.01, "cov_xy": 0.0, "var_y": 0.01,
        "heading": np.where(moves, np.arctan2(np.gradient(y, times), np.gradient(x, times)), np.pi / 2),
        "length": length, "width": width, "height": height, "x1": np.nan, "y1": np.nan, "x2": np.nan, "y2": np.nan,
        "speed": speed, "speed_sd": 0.05, "acceleration": 0.0, "course": np.where(moves, np.pi / 2, np.nan),
        "course_sd": np.where(moves, 0.1, np.nan), "motion": np.where(moves, "moving", "standing"), "seen": True,
    })  # fmt: skip


def seconds(start: float, end: float) -> np.ndarray:
    """Times from start to end, s, STEP_S apart."""
    return np.round(np.arange(start, end + STEP_S / 2, STEP_S), 3)


def tracks_of(*vehicles: pd.DataFrame) -> GroundTracks:
    """One table of vehicles."""
    return GroundTracks.from_frame(pd.concat(vehicles, ignore_index=True))


def street() -> GroundTracks:
    """Half a minute: 1, a car at 10 m/s, right; 2, a truck that stands from 5 s to 29 s, right; 3, a car that goes from
    the right lane to the left one at 12 s and passes the truck; 4, a bus that stands for 4 s, left."""
    t = seconds(0, 30)
    change = seconds(8, 18)
    return tracks_of(
        driven(1, seconds(0, 4), RIGHT_X, 15 + 10 * seconds(0, 4)),
        driven(2, t, RIGHT_X, np.interp(t, [0, 5, 29, 30], [15, 40, 40, 45]), "truck", 8.0),
        driven(3, change, np.interp(change, [11, 13], [RIGHT_X, LEFT_X]), 12 + 4 * (change - 8), "car"),
        driven(4, seconds(20, 28), LEFT_X, np.interp(seconds(20, 28), [20, 22, 26, 28], [20, 30, 30, 40]), "bus", 11.0),
    )


def street_camera():
    """The camera of the street, with its road."""
    return small_camera((320, 192))
