"""What each vehicle does in a window, as numbers: the features of the rules and of the forest.

Samples are averaged over whole seconds first, so that noise in single positions and missing samples weigh little.

Letters: V vehicles, N samples, M vehicle-seconds.
"""

import numpy as np
import pandas as pd

from d2road.traffic.time_space.traffic_window import TrafficWindow

MOVING = 5.0  # m/s; below it a time gap says little
USUAL_STEP_S = 0.1  # between samples, of SUMO and of videos
COARSE_STEP_S = 0.3  # beyond it the step itself would look like a gap
STOPPED = 0.5  # m/s
LONGEST_TIME_GAP = 10.0  # s; longer ones, and none at all, count as this
FEATURES = (
    "wrong_way",  # m/s backwards, in the worst second
    "stopped",  # seconds that it stands while the others move
    "slower",  # m/s below the others, lasting
    "faster",  # m/s above the others, lasting
    "speed",  # m/s, highest
    "braking",  # m/s^2, hardest from one second to the next
    "accelerating",  # m/s^2
    "close",  # 1 / s, one over the shortest time gap to the vehicle ahead while moving
    "lane_changes",
    "missing",  # seconds without it though it should be there
)


def compute_vehicle_features(window: TrafficWindow) -> pd.DataFrame:
    """Features of the vehicles of a window.

    Returns:
        a row a vehicle (V), its name as index, the columns FEATURES; all finite. Without vehicles no row.
    """
    frame = window.inside().frame
    if not len(frame):
        return pd.DataFrame(columns=list(FEATURES), dtype=float)
    codes, names = pd.factorize(frame["vehicle"])
    order = np.lexsort((frame["t"].to_numpy(), codes))
    columns = {name: frame[name].to_numpy(float)[order] for name in ("t", "s", "speed", "length")}
    samples = pd.DataFrame({"vehicle": codes[order], "lane": pd.factorize(frame["lane"])[0][order], **columns})
    seconds = per_second(samples, window.t0)
    count = len(names)
    features = {
        **speed_features(seconds, count),
        "close": 1 / shortest_time_gaps(seconds, count),
        "lane_changes": lane_changes(samples, count),
        "missing": missing_seconds(samples, window, count),
    }
    return pd.DataFrame({name: features[name] for name in FEATURES}, index=pd.Index(names, name="vehicle"))


def per_second(samples: pd.DataFrame, t0: float) -> pd.DataFrame:
    """Means over the seconds since t0: (M,) rows sorted by vehicle and second, lane is the last one."""
    second = np.floor(samples["t"].to_numpy() - t0 + 1e-6).astype(int)
    key = samples["vehicle"].to_numpy() * (second.max() + 2) + second
    first = np.flatnonzero(np.diff(key, prepend=-1))
    counts = np.diff(np.append(first, len(key)))
    last = first + counts - 1
    means = {name: np.add.reduceat(samples[name].to_numpy(), first) / counts for name in ("s", "speed", "length")}
    return pd.DataFrame(
        {
            "vehicle": samples["vehicle"].to_numpy()[first],
            "second": second[first],
            "lane": samples["lane"].to_numpy()[last],
            **means,
        }
    )


def speed_features(seconds: pd.DataFrame, count: int) -> dict[str, np.ndarray]:
    """Features of speed and its change, (V,) each."""
    vehicle, speed = seconds["vehicle"].to_numpy(), seconds["speed"].to_numpy()
    others = speed_of_others(seconds)
    below = others - speed
    # The smaller of neighbouring seconds, so that a difference has to last.
    consecutive = (np.diff(vehicle) == 0) & (np.diff(seconds["second"]) == 1)
    low, high = (np.minimum(sign * below[:-1], sign * below[1:])[consecutive] for sign in (1, -1))
    change, pair = np.diff(speed)[consecutive], vehicle[:-1][consecutive]
    standing = (np.abs(speed) < STOPPED) & (others > MOVING)
    return {
        "wrong_way": highest(-speed, vehicle, count),
        "stopped": np.bincount(vehicle[standing], minlength=count).astype(float),
        "slower": highest(low, pair, count),
        "faster": highest(high, pair, count),
        "speed": highest(speed, vehicle, count),
        "braking": highest(-change, pair, count),
        "accelerating": highest(change, pair, count),
    }


def speed_of_others(seconds: pd.DataFrame) -> np.ndarray:
    """Mean speed of the other vehicles in the same second, a vehicle's own where there are none: (M,)."""
    second, speed = seconds["second"].to_numpy(), seconds["speed"].to_numpy()
    number, total = np.bincount(second), np.bincount(second, speed)
    alone = number[second] == 1
    return np.where(alone, speed, (total[second] - speed) / np.maximum(number[second] - 1, 1))


def shortest_time_gaps(seconds: pd.DataFrame, count: int) -> np.ndarray:
    """Seconds to the rear of the vehicle ahead in the lane, shortest while moving: (V,) up to LONGEST_TIME_GAP."""
    second, lane, s = (seconds[name].to_numpy() for name in ("second", "lane", "s"))
    order = np.lexsort((s, lane, second))
    behind, ahead = order[:-1], order[1:]
    follows = (second[behind] == second[ahead]) & (lane[behind] == lane[ahead])
    speed = seconds["speed"].to_numpy()[behind]
    keep = follows & (speed > MOVING)
    gap = (s[ahead] - seconds["length"].to_numpy()[ahead] - s[behind])[keep] / speed[keep]
    # Noise can make vehicles touch; a tenth of a second is as close as it gets.
    gap = np.clip(gap, 0.1, LONGEST_TIME_GAP)
    return -highest(-gap, seconds["vehicle"].to_numpy()[behind][keep], count, -LONGEST_TIME_GAP)


def lane_changes(samples: pd.DataFrame, count: int) -> np.ndarray:
    """How often each vehicle is in another lane than in its sample before: (V,)."""
    vehicle = samples["vehicle"].to_numpy()
    changed = (np.diff(vehicle) == 0) & (np.diff(samples["lane"]) != 0)
    return np.bincount(vehicle[:-1][changed], minlength=count).astype(float)


def sampling_delay(t: np.ndarray, same: np.ndarray) -> float:
    """Seconds by which samples come later than every USUAL_STEP_S, where that is much: coarse sources miss nobody.

    Args:
        t: (N,) seconds of samples, sorted by vehicle and time.
        same: (N - 1,) bool, whether a sample and the next one are of one vehicle.
    """
    step = float(np.median(np.diff(t)[same])) if same.any() else 0.0
    return step - USUAL_STEP_S if step > COARSE_STEP_S else 0.0


def missing_seconds(samples: pd.DataFrame, window: TrafficWindow, count: int) -> np.ndarray:
    """The longest time for which a vehicle is not there though it should be: (V,) seconds.

    Between two samples; and before the first and behind the last one as long as a vehicle of its speed would be in
    what is seen of the window.
    """
    low, high = window.stretch
    vehicle, t, s, speed = (samples[name].to_numpy() for name in ("vehicle", "t", "s", "speed"))
    same = np.diff(vehicle) == 0
    delay = sampling_delay(t, same)
    between = highest(np.diff(t)[same], vehicle[:-1][same], count)
    first = np.flatnonzero(np.diff(vehicle, prepend=-1))
    last = np.append(first[1:], len(vehicle)) - 1
    entered = t[first] - _travel(s[first] - low, high - s[first], speed[first])
    left = t[last] + _travel(high - s[last], s[last] - low, speed[last])
    before = t[first] - np.maximum(entered, window.t0)
    behind = np.minimum(left, window.t1) - t[last]
    return (np.maximum(between, np.maximum(before, behind)) - delay).clip(0)


def _travel(ahead: np.ndarray, back: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """Seconds to the edge of the window: `ahead` m away forwards, `back` m backwards."""
    distance = np.where(speed >= 0, ahead, back)
    return distance / np.maximum(np.abs(speed), STOPPED)


def highest(values: np.ndarray, group: np.ndarray, count: int, least: float = 0.0) -> np.ndarray:
    """Highest value of each group, at least `least`: (count,)."""
    result = np.full(count, least, dtype=float)
    np.maximum.at(result, group, values)
    return result
