"""Truth of the conditions of a query for every row of tracks, from 0 to 1; a condition holds from 0.5 on.

Words are vague, and have these borders: those in the middle of the margins of `mono3dvg/language` where that has them.

    large, small      from 7 m, to 6 m of length
    slow, fast        below 0.6, above 1.2 times the usual speed: the median of all that moves in the recording
    braking           loses at least 1 m/s^2, over 2 s; accelerating: gains as much
    about             within a tenth
    near, far         to 24 m, from 46 m of the point below the camera
    left, right       the middle of the box in the left, right 39 % of the image; middle: in the middle 24 %
    toward, away      within 45 degrees of the line of sight; left, right: as the camera sees it
    change of lanes   from 1.5 s before the middle of the vehicle crosses the border of lanes to 1.5 s after it
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import ndtr

from d2road.traffic.search.query import Condition
from d2road.traffic.search.track_scene import TrackScene
from d2road.traffic.search.vehicle_pairs import overtaking_times, relation_truth
from d2road.utils.errors import ConfigError

LARGE_M, SMALL_M = 7.0, 6.0
SLOW, FAST = 0.6, 1.2
TREND = 1.0  # m/s^2
ABOUT = 0.1
NEAR_M, FAR_M = 24.0, 46.0
SIDE, MIDDLE = 0.39, 0.12  # of the width of the image
EVENT_S = 1.5  # before and after the instant of a manoeuvre
SETTLED_S = 1.0  # in the new lane, for a change of lanes
LEAST_SD = 0.1  # m/s, of a speed
_TURN_DEG = {"away": 0.0, "right": 90.0, "toward": 180.0, "left": -90.0}


def truth_of(condition: Condition, scene: TrackScene) -> np.ndarray:
    """(N,) truth for each row.

    Raises:
        DataError: about lanes that the camera does not know. ConfigError: a lane that the road has not.
    """
    truth = _TRUTHS[condition.kind](scene, condition.value)
    return 1.0 - truth if condition.negated else truth


def _class(scene: TrackScene, names: tuple[str, ...]) -> np.ndarray:
    return scene.is_class(names).astype(float)


def _size(scene: TrackScene, size: str) -> np.ndarray:
    return (scene.length >= LARGE_M if size == "large" else scene.length <= SMALL_M).astype(float)


def _lane(scene: TrackScene, lane: tuple[str, int]) -> np.ndarray:
    return _is_lane(scene, lane).astype(float)


def _is_lane(scene: TrackScene, lane: tuple[str, int]) -> np.ndarray:
    name, number = lane
    rank, last = scene.from_right, scene.lane_count - 1
    if number > max(np.bincount(scene.road.directions + 1)):
        raise ConfigError(f"lane {number} {name.replace('_', ' ')}: the road has no direction with so many lanes")
    on_road = rank >= 0
    if number:
        return on_road & (rank == (number - 1 if name == "from_right" else last - (number - 1)))
    if name == "middle":
        return on_road & (rank > 0) & (rank < last)
    return on_road & (last > 0) & (rank == (0 if name == "right" else last))


def _motion(scene: TrackScene, motion: str) -> np.ndarray:
    return (scene.motion == motion).astype(float)


def _pace(scene: TrackScene, pace: str) -> np.ndarray:
    limit = (SLOW if pace == "slow" else FAST) * scene.usual_speed
    moves = scene.motion != "standing"
    return np.where(moves, _speed(scene, ("under" if pace == "slow" else "over", limit)), 0.0)


def _trend(scene: TrackScene, trend: str) -> np.ndarray:
    return ((scene.trend if trend == "accelerating" else -scene.trend) >= TREND).astype(float)


def _speed(scene: TrackScene, limit: tuple[str, float]) -> np.ndarray:
    """Probability by the standard deviation of the speed."""
    op, value = limit
    above = _above(scene.speed, scene.speed_sd, value)
    if op == "about":
        low, high = value * (1 - ABOUT), value * (1 + ABOUT)
        return np.minimum(_above(scene.speed, scene.speed_sd, low), 1 - _above(scene.speed, scene.speed_sd, high))
    return above if op == "over" else 1 - above


def _above(value: np.ndarray, deviation: np.ndarray, limit: float) -> np.ndarray:
    return ndtr((value - limit) / np.maximum(deviation, LEAST_SD))


def _heading(scene: TrackScene, way: str) -> np.ndarray:
    turn = np.degrees(np.arctan2(scene.y, scene.x) - scene.heading)  # to the right of the line of sight
    off = np.abs((turn - _TURN_DEG[way] + 180) % 360 - 180)
    return (off <= 45).astype(float)  # unknown headings have no way


def _place(scene: TrackScene, place: str) -> np.ndarray:
    u = scene.boxes[:, [0, 2]].mean(axis=1) / scene.camera.width
    inside = (scene.boxes[:, 2] > 0) & (scene.boxes[:, 0] < scene.camera.width)
    if place == "middle":
        return (inside & (np.abs(u - 0.5) <= MIDDLE)).astype(float)
    return (inside & (u <= SIDE if place == "left" else u >= 1 - SIDE)).astype(float)


def _range(scene: TrackScene, name: str) -> np.ndarray:
    return (scene.distance <= NEAR_M if name == "near" else scene.distance >= FAR_M).astype(float)


def _distance(scene: TrackScene, limit: tuple[str, float]) -> np.ndarray:
    op, value = limit
    if op == "about":
        return (np.abs(scene.distance - value) <= ABOUT * value).astype(float)
    return (scene.distance > value if op == "over" else scene.distance < value).astype(float)


def _change(scene: TrackScene, change: Any) -> np.ndarray:
    """Around the instants at which a track goes from one lane of its direction to another, and stays for SETTLED_S."""
    rank, times = scene.from_right, []
    starts, ends = (None, None) if isinstance(change, str) else change
    fits_start = np.ones(len(scene), bool) if starts is None else _is_lane(scene, starts)
    fits_end = np.ones(len(scene), bool) if ends is None else _is_lane(scene, ends)
    for rows in scene.stretches:
        for before, after in _settled_changes(rank[rows], scene.t[rows]):
            before, after = before + rows.start, after + rows.start
            side = "left" if rank[after] > rank[before] else "right"
            if fits_start[before] and fits_end[after] and change in ("any", side, (starts, ends)):
                times.append((int(scene.track[before]), (scene.t[before] + scene.t[after]) / 2))
    return _around(scene, times)


def _settled_changes(rank: np.ndarray, t: np.ndarray) -> list[tuple[int, int]]:
    """Indices of the last row in the old lane and the first one in the new, of a stretch of a track."""
    found = []
    on_road = np.flatnonzero(rank >= 0)
    current = None
    for index in on_road:
        if current is None or rank[index] == rank[current]:
            current = index
            continue
        stays = (t >= t[index]) & (t <= t[index] + SETTLED_S)
        if t[-1] >= t[index] + SETTLED_S and (rank[stays] == rank[index]).all():
            found.append((int(current), int(index)))
            current = index
    return found


def _overtaking(scene: TrackScene, _: tuple) -> np.ndarray:
    return _around(scene, overtaking_times(scene))


def _around(scene: TrackScene, times: list[tuple[int, float]]) -> np.ndarray:
    """1 within EVENT_S of instants of tracks."""
    truth = np.zeros(len(scene))
    for track, instant in times:
        truth[(scene.track == track) & (np.abs(scene.t - instant) <= EVENT_S)] = 1.0
    return truth


_TRUTHS: dict[str, Callable[[TrackScene, Any], np.ndarray]] = {
    "class": _class,
    "size": _size,
    "lane": _lane,
    "motion": _motion,
    "pace": _pace,
    "trend": _trend,
    "speed": _speed,
    "heading": _heading,
    "place": _place,
    "range": _range,
    "distance": _distance,
    "change": _change,
    "overtaking": _overtaking,
    "relation": relation_truth,
}
