"""What each vehicle does for some time, as numbers: the features of the second version of the rules.

Single seconds and the edges of windows mislead: a lane change makes the gap of one second a few centimetres, and half
of what a vehicle does lies in the next window. So a feature holds for several seconds together, and a vehicle that is
in a window is watched as far as the road is seen while the window lasts.

Letters: V vehicles, N samples, M vehicle-seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

from d2road.traffic.baselines.vehicle_features import (
    LONGEST_TIME_GAP,
    MOVING,
    STOPPED,
    highest,
    missing_seconds,
    per_second,
)
from d2road.traffic.time_space.traffic_window import TrafficWindow

# Chosen on good hours and incidents of another seed than the test's, see docs/traffic_events.md.
FOLLOWING_S = 10  # of the same vehicle in the same lane
LASTING_S = 6  # of a difference of speed
NEAR_M = 200.0  # others that a speed is compared with
CLEAR_M = 20.0  # to the vehicle ahead: less explains why somebody stands
ROAD_TIME_GAP = 2.0  # s; who follows closer than that is held up by the vehicle ahead
CHANGING_S = 10  # that changes of lane are counted over
LASTING_FEATURES = (
    "wrong_way",  # m/s backwards, in the worst second
    "standing",  # seconds that it stands though the road ahead is clear
    "slower",  # m/s below those near it though the road ahead is clear, lasting
    "faster",  # m/s above those near it, lasting
    "speed",  # m/s, in the fastest second
    "braking",  # m/s^2, hardest from one second to the next
    "accelerating",  # m/s^2
    "close",  # 1 / s, one over the longest time gap to a vehicle that it follows, lasting
    "lane_changes",  # most within CHANGING_S
    "missing",  # seconds without it though it should be there
)


@dataclass(frozen=True)
class Seconds:
    """Vehicle-seconds (M,), sorted by vehicle and second: means of a second, and who is ahead in the lane.

    leader: number of that vehicle, -1 without one; gap: m to its rear, infinite without one; follows: whether the row
    before is the vehicle's second before.
    """

    vehicle: np.ndarray
    second: np.ndarray
    lane: np.ndarray
    s: np.ndarray
    speed: np.ndarray
    leader: np.ndarray
    gap: np.ndarray
    follows: np.ndarray


@dataclass(frozen=True)
class VehicleTable:
    """Features of the vehicles of a window: a row a vehicle, and where and when it is in the middle of what is watched.

    features: (V, len(LASTING_FEATURES)); names: (V,); t, s: (V,) seconds and metres.
    """

    features: np.ndarray
    names: np.ndarray
    t: np.ndarray
    s: np.ndarray


def compute_lasting_features(window: TrafficWindow) -> VehicleTable:
    """Features of the vehicles that are in a window, from all that its table holds of them while it lasts."""
    samples, names = sorted_samples(window)
    count = len(names)
    inside = ((samples["s"] >= window.s0) & (samples["s"] < window.s1)).to_numpy()
    if not inside.any():
        return VehicleTable(np.zeros((0, len(LASTING_FEATURES))), np.zeros(0, dtype=object), np.zeros(0), np.zeros(0))
    seconds = with_leaders(per_second(samples, window.t0))
    seen, vehicle = np.unique(samples["vehicle"].to_numpy()[inside], return_inverse=True)
    own = samples[inside].assign(vehicle=vehicle)
    features = {
        **lasting_speeds(seconds, count),
        "close": 1 / lasting_time_gaps(seconds, count),
        "lane_changes": lane_changes(seconds, count),
    }
    features = {name: values[seen] for name, values in features.items()}
    features["missing"] = missing_seconds(own, window, len(seen))
    codes = samples["vehicle"].to_numpy()
    middle = (np.searchsorted(codes, seen, "left") + np.searchsorted(codes, seen, "right") - 1) // 2
    table = np.stack([features[name] for name in LASTING_FEATURES], axis=1)
    return VehicleTable(table, names[seen], samples["t"].to_numpy()[middle], samples["s"].to_numpy()[middle])


def sorted_samples(window: TrafficWindow) -> tuple[pd.DataFrame, np.ndarray]:
    """All samples of a carriageway while a window lasts, by vehicle and time, and the vehicles' names (V,).

    Columns: vehicle, lane (numbers), t, s, speed, length.
    """
    frame = window.table.frame
    t = frame["t"].to_numpy()
    keep = (t >= window.t0) & (t < window.t1) & (frame["direction"].to_numpy() == window.direction)
    frame = frame[keep]
    codes, names = pd.factorize(frame["vehicle"])
    order = np.lexsort((frame["t"].to_numpy(), codes))
    columns = {name: frame[name].to_numpy(float)[order] for name in ("t", "s", "speed", "length")}
    lanes = pd.factorize(frame["lane"])[0][order]
    return pd.DataFrame({"vehicle": codes[order], "lane": lanes, **columns}), np.asarray(names, dtype=object)


def with_leaders(table: pd.DataFrame) -> Seconds:
    """Who is ahead of whom, from the means of seconds as `per_second` gives them."""
    vehicle, second, lane, s, speed, length = (
        table[name].to_numpy() for name in ("vehicle", "second", "lane", "s", "speed", "length")
    )
    order = np.lexsort((s, lane, second))
    behind, ahead = order[:-1], order[1:]
    same = (second[behind] == second[ahead]) & (lane[behind] == lane[ahead])
    behind, ahead = behind[same], ahead[same]
    leader, gap = np.full(len(s), -1), np.full(len(s), np.inf)
    leader[behind], gap[behind] = vehicle[ahead], s[ahead] - length[ahead] - s[behind]
    follows = (np.diff(vehicle, prepend=-1) == 0) & (np.diff(second, prepend=-2) == 1)
    return Seconds(vehicle, second, lane, s, speed, leader, gap, follows)


def lasting_speeds(seconds: Seconds, count: int) -> dict[str, np.ndarray]:
    """Features of speed, (V,) each."""
    vehicle, speed = seconds.vehicle, seconds.speed
    others = speed_of_near(seconds)
    # What the vehicle ahead leaves room for; who is held up by it is not slow.
    room = np.where(np.isfinite(seconds.gap), seconds.gap / ROAD_TIME_GAP, np.inf)
    below = np.minimum(others, room) - speed
    standing = (np.abs(speed) < STOPPED) & (seconds.gap > CLEAR_M)
    change = np.diff(speed, prepend=0.0)[seconds.follows]
    changing = vehicle[seconds.follows]
    runs = np.cumsum(~seconds.follows)
    return {
        "wrong_way": highest(-speed, vehicle, count),
        "standing": np.bincount(vehicle[standing], minlength=count).astype(float),
        "slower": highest_lasting(below, runs, vehicle, count, LASTING_S, np.min),
        "faster": highest_lasting(speed - others, runs, vehicle, count, LASTING_S, np.min),
        "speed": highest(speed, vehicle, count),
        "braking": highest(-change, changing, count),
        "accelerating": highest(change, changing, count),
    }


def lasting_time_gaps(seconds: Seconds, count: int) -> np.ndarray:
    """The longest time gap in FOLLOWING_S behind one vehicle in one lane, where it is shortest: (V,) s."""
    speed = seconds.speed
    gap = np.full(len(speed), LONGEST_TIME_GAP)
    np.divide(seconds.gap, speed, out=gap, where=speed > MOVING)
    gap = np.clip(gap, 0.1, LONGEST_TIME_GAP)
    same = seconds.follows & (np.diff(seconds.leader, prepend=-2) == 0) & (np.diff(seconds.lane, prepend=-1) == 0)
    runs = np.cumsum(~same)
    return -highest_lasting(-gap, runs, seconds.vehicle, count, FOLLOWING_S, np.min, -LONGEST_TIME_GAP)


def lane_changes(seconds: Seconds, count: int) -> np.ndarray:
    """Changes of lane from one second to the next, most within CHANGING_S: (V,)."""
    changed = seconds.follows & (np.diff(seconds.lane, prepend=-1) != 0)
    total = np.append(0, np.cumsum(changed))
    # Up to each row, of the rows of its vehicle that lie less than CHANGING_S before it.
    key = seconds.vehicle * (seconds.second.max() + CHANGING_S + 1) + seconds.second
    first = np.searchsorted(key, key - CHANGING_S + 1)
    return highest((total[1:] - total[first]).astype(float), seconds.vehicle, count)


def speed_of_near(seconds: Seconds) -> np.ndarray:
    """Mean speed of the other vehicles within NEAR_M in the same second, a vehicle's own where there are none: (M,)."""
    order = np.lexsort((seconds.s, seconds.second))
    # A second is far from the next one, so that one search finds those near in both.
    place = seconds.s[order] + 4 * (NEAR_M + np.ptp(seconds.s)) * seconds.second[order]
    low, high = np.searchsorted(place, place - NEAR_M, "left"), np.searchsorted(place, place + NEAR_M, "right")
    total = np.append(0.0, np.cumsum(seconds.speed[order]))
    number = high - low - 1
    others = np.empty(len(order))
    own = seconds.speed[order]
    others[order] = np.where(number > 0, (total[high] - total[low] - own) / np.maximum(number, 1), own)
    return others


def highest_lasting(
    values: np.ndarray,
    runs: np.ndarray,
    group: np.ndarray,
    count: int,
    length: int,
    reduce: Callable[..., np.ndarray],
    least: float = 0.0,
) -> np.ndarray:
    """Highest value of each group that lasts: `reduce` over `length` rows of one run, at least `least`; (count,).

    Args:
        values, runs, group: (M,); rows of a run stand together and are of one group.
    """
    if len(values) < length:
        return np.full(count, least)
    whole = runs[: len(runs) - length + 1] == runs[length - 1 :]
    lasting = reduce(sliding_window_view(values, length)[whole], axis=1)
    return highest(lasting, group[: len(whole)][whole], count, least)
