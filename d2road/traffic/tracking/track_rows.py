"""Rows of `ground_tracks` from the states of tracks."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from d2road.traffic.tracking.frame_detections import HEADING, IMAGE_BOX, SCORE
from d2road.traffic.tracking.ground_tracks import COLUMNS, GroundTracks
from d2road.traffic.tracking.motion_state import is_moving, is_standing, speed_and_course
from d2road.traffic.tracking.track_attributes import FrontEstimate
from d2road.traffic.tracking.track_history import Step, Track

NOTHING = GroundTracks.empty()


def live_rows(tracks: Sequence[Track]) -> GroundTracks:
    """The newest filtered state of each track."""
    if not tracks:
        return NOTHING
    tracks = sorted(tracks, key=lambda track: track.id)
    means = np.stack([track.last.mean for track in tracks])
    covariances = np.stack([track.last.covariance for track in tracks])
    axes = np.array([track.live_front.axis for track in tracks])
    signs = np.array([track.live_front.sign for track in tracks])
    sides = np.array([track.live_side for track in tracks])
    columns = state_columns(means, covariances, axes, signs, sides) | step_columns([track.last for track in tracks])
    columns["track"] = np.array([track.id for track in tracks])
    columns |= vehicle_columns(tracks, [1] * len(tracks)) | {"acceleration": np.full(len(tracks), np.nan)}
    return _table(columns)


def smoothed_rows(track: Track, until: float = np.inf) -> GroundTracks:
    """The smoothed rows of a track up to and including an instant; its front estimate takes them in."""
    means, covariances = track.smoothed()
    acceleration = acceleration_along(np.array([step.t for step in track.steps]), means[:, 2:4])
    count = sum(step.t <= until for step in track.steps)
    steps, means, covariances = track.steps[:count], means[:count], covariances[:count]
    if not steps:
        return NOTHING
    axes, sides = follow_front(track.front, steps, means, covariances)
    columns = state_columns(means, covariances, axes, np.full(count, track.front.sign), sides) | step_columns(steps)
    columns |= {"track": np.full(count, track.id), "acceleration": acceleration[:count]}
    columns |= vehicle_columns([track], [count])
    return _table(columns)


def follow_front(
    front: FrontEstimate, steps: Sequence[Step], means: np.ndarray, covariances: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Let a front estimate follow steps: its axis (T,), rad, and the side (T,), 1 or -1, to which the motion goes."""
    speed, _, course, _ = speed_and_course(means[:, 2:4], covariances[:, 2:4, 2:4])
    moving = is_moving(means[:, 2:4], covariances[:, 2:4, 2:4])
    axes, sides = np.empty(len(steps)), np.ones(len(steps))
    before = steps[0].t
    for k, step in enumerate(steps):
        dt, before = step.t - before, step.t
        if moving[k]:
            sides[k] = front.moved(course[k], speed[k], dt)
        front.seen(step.numbers[HEADING], dt)
        axes[k] = front.axis
    return axes, sides


def state_columns(
    means: np.ndarray, covariances: np.ndarray, axes: np.ndarray, signs: np.ndarray, sides: np.ndarray
) -> dict[str, np.ndarray]:
    """Columns of position, speed, course, heading and motion.

    Args:
        means: (N, 6). covariances: (N, 6, 6).
        axes: (N,) rad, direction along the vehicle. signs: (N,) 1 where it points to the front, else -1.
        sides: (N,) 1 where the motion goes along the axis, else -1.
    """
    velocity, spread = means[:, 2:4], covariances[:, 2:4, 2:4]
    speed, speed_sd, course, course_sd = speed_and_course(velocity, spread)
    moving = is_moving(velocity, spread)
    motion = np.where(is_standing(velocity, spread), "standing", "unknown").astype(object)
    motion[moving] = np.where(sides * signs < 0, "reversing", "moving")[moving]
    heading = axes + np.where(signs < 0, np.pi, 0)
    return {
        "x": means[:, 0],
        "y": means[:, 1],
        "var_x": covariances[:, 0, 0],
        "cov_xy": covariances[:, 0, 1],
        "var_y": covariances[:, 1, 1],
        "heading": (heading + np.pi) % (2 * np.pi) - np.pi,
        "speed": speed,
        "speed_sd": speed_sd,
        "course": np.where(moving, course, np.nan),
        "course_sd": np.where(moving, course_sd, np.nan),
        "motion": motion,
    }


def acceleration_along(t: np.ndarray, velocity: np.ndarray) -> np.ndarray:
    """(T,) m/s^2 along velocities (T, 2) at times (T,), by central differences; NaN for a single instant."""
    if len(t) < 2:
        return np.full(len(t), np.nan)
    change = np.gradient(velocity, t, axis=0)
    speed = np.linalg.norm(velocity, axis=1)
    return (change * velocity).sum(1) / np.maximum(speed, 1e-9)


def step_columns(steps: Sequence[Step]) -> dict[str, np.ndarray]:
    """Columns of frame, time and what a detection says of it; score 0 where there is none."""
    numbers = np.stack([step.numbers for step in steps])
    seen = np.isfinite(numbers[:, SCORE])
    columns = {
        "frame": np.array([step.frame for step in steps]),
        "t": np.array([step.t for step in steps]),
        "score": np.where(seen, numbers[:, SCORE], 0.0),
        "seen": seen,
    }
    return columns | dict(zip(("x1", "y1", "x2", "y2"), numbers[:, IMAGE_BOX].T))


def vehicle_columns(tracks: Sequence[Track], counts: Sequence[int]) -> dict[str, np.ndarray]:
    """Columns of class and sizes, each track's `counts` times."""
    sizes = np.repeat(np.array([track.vehicle.lengths for track in tracks]), counts, axis=0)
    cls = np.repeat(np.array([track.vehicle.cls for track in tracks], dtype=object), counts)
    return {"cls": cls, "length": sizes[:, 0], "width": sizes[:, 1], "height": sizes[:, 2]}


def _table(columns: dict[str, np.ndarray]) -> GroundTracks:
    """A table whose columns need no check: a tracker asks for one in each frame."""
    return GroundTracks(pd.DataFrame({name: columns[name] for name in COLUMNS}))
