"""What a driver reacts to in each second: own speed, the vehicles ahead and behind, the traffic near and ahead.

Letters: M vehicle-seconds, F features.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from d2road.traffic.baselines.evidence_scale import ROAD, EvidenceScale
from d2road.traffic.baselines.lasting_features import NEAR_M, Seconds, with_leaders
from d2road.traffic.baselines.vehicle_features import per_second

FAR_M = 300.0  # gaps are cut off here; none at all counts as this
OVERLAP_M = -20.0
AHEAD_M = 300.0  # of the traffic that a driver sees coming
STATE_FEATURES = (
    "speed",  # m/s
    "length",  # m, of the vehicle
    "gap",  # m to the rear of the vehicle ahead in the lane
    "closing",  # m/s by which that one is slower
    "second_gap",  # m to the front of the vehicle ahead of that one
    "second_closing",  # m/s
    "rear_gap",  # m from the front of the vehicle behind
    "rear_closing",  # m/s by which it is faster
    "near_speed",  # m/s, mean of the others within NEAR_M, all lanes
    "near_count",  # how many these are
    "ahead_speed",  # m/s, mean of those within AHEAD_M ahead, all lanes
)


@dataclass(frozen=True)
class DrivingStates:
    """Vehicle-seconds with what their drivers react to, and what they did next.

    seconds: (M,) rows, see `Seconds`; values: (M, F), see STATE_FEATURES; acceleration: (M,) m/s^2, to the next
    second, NaN where there is none; changes: (M,) whether the vehicle is in another lane then; room: (M,) m that are
    known to be free ahead in the lane, infinite without an end; names: of the vehicles; t0: s, beginning of second 0.
    """

    seconds: Seconds
    values: np.ndarray
    acceleration: np.ndarray
    changes: np.ndarray
    room: np.ndarray
    names: np.ndarray
    t0: float

    @property
    def known(self) -> np.ndarray:
        """(M,), where the next second is known."""
        return np.isfinite(self.acceleration)


def compute_driving_states(
    samples: pd.DataFrame, names: np.ndarray, t0: float, scale: EvidenceScale = ROAD, s_end: float = np.inf
) -> DrivingStates:
    """The states of all vehicles of a carriageway for some time, a window's or a whole recording's.

    Args:
        samples, names: as `sorted_samples` gives them. t0: s, the beginning of second 0.
        scale: what speeds are compared with. s_end: m, where what is seen ends, for a scale that has ends.
    """
    if not len(samples):
        none, number = np.zeros(0), np.zeros(0, dtype=int)
        seconds = Seconds(number, number, number, none, none, number, none, number.astype(bool))
        values = np.zeros((0, len(STATE_FEATURES)))
        return DrivingStates(seconds, values, none, number.astype(bool), none, names, t0)
    table = per_second(samples, t0)
    seconds = with_leaders(table)
    goes_on = np.append(seconds.follows[1:], False)
    acceleration, changes = np.full(len(goes_on), np.nan), np.zeros(len(goes_on), dtype=bool)
    acceleration[:-1], changes[:-1] = np.diff(seconds.speed), np.diff(seconds.lane) != 0
    acceleration[~goes_on] = np.nan
    values = np.stack(list(_states(seconds, table["length"].to_numpy(), scale).values()), axis=1).astype(np.float32)
    room = np.minimum(seconds.gap, (s_end - seconds.s).clip(0)) if scale.ends else seconds.gap
    return DrivingStates(seconds, values, acceleration, changes & goes_on, room, names, t0)


def _states(seconds: Seconds, length: np.ndarray, scale: EvidenceScale) -> dict[str, np.ndarray]:
    """Columns of STATE_FEATURES, (M,) each."""
    s, speed = seconds.s, seconds.speed
    ahead, behind = _rows_in_lane(seconds)
    second = np.where(ahead >= 0, ahead[ahead], -1)
    near, count, coming = _near(seconds)
    if scale.memory_s:
        near, count = _near_in_time(seconds, scale.memory_s)

    def gap(row: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.where(row >= 0, values, FAR_M).clip(OVERLAP_M, FAR_M)

    def slower(row: np.ndarray) -> np.ndarray:
        return np.where(row >= 0, speed - speed[row], 0.0)

    columns = (
        speed, length, gap(ahead, s[ahead] - length[ahead] - s), slower(ahead), gap(second, s[second] - s),
        slower(second), gap(behind, s - length - s[behind]), -slower(behind), near, count, coming,
    )  # fmt: skip
    return dict(zip(STATE_FEATURES, columns))


def _rows_in_lane(seconds: Seconds) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the next vehicles ahead and behind in the lane in the same second, -1 for none: (M,) each."""
    order = np.lexsort((seconds.s, seconds.lane, seconds.second))
    back, front = order[:-1], order[1:]
    same = (seconds.second[back] == seconds.second[front]) & (seconds.lane[back] == seconds.lane[front])
    ahead, behind = np.full(len(order), -1), np.full(len(order), -1)
    ahead[back[same]], behind[front[same]] = front[same], back[same]
    return ahead, behind


def _near(seconds: Seconds) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean speed and number of the others within NEAR_M, and mean speed of those ahead; own speed for none."""
    order = np.lexsort((seconds.s, seconds.second))
    own = seconds.speed[order]
    # A second is far from the next one, so that one search finds those near in both.
    place = seconds.s[order] + 4 * (NEAR_M + AHEAD_M + np.ptp(seconds.s)) * seconds.second[order]
    total = np.append(0.0, np.cumsum(own))
    low, high = np.searchsorted(place, place - NEAR_M, "left"), np.searchsorted(place, place + NEAR_M, "right")
    first, last = np.arange(1, len(order) + 1), np.searchsorted(place, place + AHEAD_M, "right")
    count, coming = high - low - 1, last - first
    columns = (
        np.where(count > 0, (total[high] - total[low] - own) / np.maximum(count, 1), own),
        count.astype(float),
        np.where(coming > 0, (total[last] - total[first]) / np.maximum(coming, 1), own),
    )
    found = np.empty((3, len(order)))
    found[:, order] = columns
    return found[0], found[1], found[2]


def _near_in_time(seconds: Seconds, memory_s: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean speed of the other vehicles' seconds within `memory_s` of each, and their number a second: (M,) each."""
    count = int(seconds.second.max()) + 1
    low = (seconds.second - memory_s).clip(0)
    high = (seconds.second + memory_s + 1).clip(max=count)
    totals = [np.append(0.0, np.cumsum(np.bincount(seconds.second, w, count))) for w in (None, seconds.speed)]
    number, speed = (total[high] - total[low] for total in totals)
    # Rows of a vehicle stand together in order of time: its own are a stretch of them.
    key = seconds.vehicle * (count + 2 * memory_s + 1) + seconds.second
    first, last = np.searchsorted(key, key - memory_s), np.searchsorted(key, key + memory_s, side="right")
    own = np.append(0.0, np.cumsum(seconds.speed))
    others = number - (last - first)
    mean = (speed - (own[last] - own[first])) / np.maximum(others, 1)
    return np.where(others > 0, mean, seconds.speed), others / (high - low)
