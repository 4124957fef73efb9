"""Evidence of each vehicle in windows: what it did for some seconds, against the traffic near it and against forecasts.

A recording is gone through once; a window takes of each vehicle that is in it the highest value of every kind, over
stretches of seconds that lie in the window's time whole.

Letters: M vehicle-seconds, C kinds of evidence, V vehicles of a window, K places of windows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from d2road.traffic.baselines.driving_states import STATE_FEATURES, DrivingStates
from d2road.traffic.baselines.evidence_scale import ROAD, EvidenceScale
from d2road.traffic.baselines.forecaster import Surprise
from d2road.traffic.baselines.lasting_features import CLEAR_M, ROAD_TIME_GAP, Seconds
from d2road.traffic.baselines.vehicle_features import LONGEST_TIME_GAP, MOVING, STOPPED

FORECAST_S = ROAD.forecast_s  # that a difference from the forecast lasts
# What is seen without a forecast, as the rules see it.
PLAIN = ("wrong_way", "standing", "slower", "faster", "speed", "braking", "accelerating", "close", "lane_changes")
FORECAST = (
    "idm_above",  # m/s^2 more than the Intelligent Driver Model says, the mean of some seconds
    "idm_below",
    "above",  # m/s^2 more than the learned forecast
    "below",
    "unlikely",  # nats a second, of accelerations (heavy-tailed) and of changes of lane
)
EVIDENCE = (*PLAIN, *FORECAST)
DECADE = float(np.log(10.0))


@dataclass(frozen=True)
class TrackEvidence:
    """Evidence up to each vehicle-second.

    values: (M, C), minus infinity where it has not lasted; lengths: (C,) seconds that each kind lasts; t0: s, the
    beginning of second 0.
    """

    seconds: Seconds
    values: np.ndarray
    lengths: tuple[int, ...]
    t0: float

    def windows(
        self, t0: float, t1: float, places: Sequence[tuple[float, float]]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Of each place (s0, s1) the vehicles' numbers (V,) and their evidence (V, C), at least 0, from t0 to t1."""
        seconds = self.seconds
        first, last = np.ceil(t0 - self.t0 - 1e-3), np.floor(t1 - self.t0 + 1e-3)
        rows = np.flatnonzero((seconds.second >= first) & (seconds.second < last))
        values = self.values[rows]
        for length in set(self.lengths):
            columns = [i for i, one in enumerate(self.lengths) if one == length]
            values[np.ix_(seconds.second[rows] - length + 1 < first, columns)] = 0.0
        vehicle, s = seconds.vehicle[rows], seconds.s[rows]
        start = np.flatnonzero(np.diff(vehicle, prepend=-1))
        highest = np.maximum.reduceat(values, start, axis=0).clip(0) if len(rows) else values
        for low, high in places:
            if not len(rows):
                yield vehicle, highest
                continue
            inside = np.logical_or.reduceat((s >= low) & (s < high), start)
            yield vehicle[start][inside], highest[inside]


def lengths_of(scale: EvidenceScale) -> dict[str, int]:
    """Seconds that each kind of EVIDENCE lasts."""
    plain = {
        "wrong_way": 1,
        "standing": scale.standing_s,
        "slower": scale.lasting_s,
        "faster": scale.lasting_s,
        "speed": 1,
        "braking": 1,
        "accelerating": 1,
        "close": scale.following_s,
        "lane_changes": scale.changing_s,
    }
    return {name: plain.get(name, scale.forecast_s) for name in EVIDENCE}


def compute_track_evidence(states: DrivingStates, surprise: Surprise, scale: EvidenceScale = ROAD) -> TrackEvidence:
    """Evidence from the states of vehicles and from how they differ from the forecast; columns EVIDENCE."""
    seconds, lengths = states.seconds, lengths_of(scale)
    runs = np.cumsum(~seconds.follows)
    columns = {**_plain(states, runs, lengths), **_against_forecast(surprise, runs, lengths["above"])}
    values = np.stack([columns[name] for name in EVIDENCE], axis=1)
    return TrackEvidence(seconds, values, tuple(lengths.values()), states.t0)


def _plain(states: DrivingStates, runs: np.ndarray, lengths: Mapping[str, int]) -> dict[str, np.ndarray]:
    seconds = states.seconds
    speed, gap = seconds.speed, seconds.gap
    others = states.values[:, STATE_FEATURES.index("near_speed")].astype(float)
    room = np.where(np.isfinite(states.room), states.room / ROAD_TIME_GAP, np.inf)
    change = np.where(seconds.follows, np.diff(speed, prepend=0.0), 0.0)
    moved = seconds.follows & (np.diff(seconds.lane, prepend=-1) != 0)
    headway = np.full(len(speed), LONGEST_TIME_GAP)
    np.divide(gap, speed, out=headway, where=speed > MOVING)
    behind = ~seconds.follows | (np.diff(seconds.leader, prepend=-2) != 0) | (np.diff(seconds.lane, prepend=-1) != 0)
    return {
        "wrong_way": -speed,
        "standing": _sum((np.abs(speed) < STOPPED) & (states.room > CLEAR_M), runs, lengths["standing"]),
        "slower": _least(np.minimum(others, room) - speed, runs, lengths["slower"]),
        "faster": _least(speed - others, runs, lengths["faster"]),
        "speed": speed,
        "braking": -change,
        "accelerating": change,
        "close": _least(1 / headway.clip(0.1, LONGEST_TIME_GAP), np.cumsum(behind), lengths["close"]),
        "lane_changes": _sum(moved, runs, lengths["lane_changes"]),
    }


def _against_forecast(surprise: Surprise, runs: np.ndarray, length: int) -> dict[str, np.ndarray]:
    columns = {}
    for prefix, values in (("idm_", surprise.idm), ("", surprise.residual)):
        mean = _mean(values, runs, length)
        columns[f"{prefix}above"] = mean
        columns[f"{prefix}below"] = np.where(np.isfinite(mean), -mean, -np.inf)
    lost = np.log1p(surprise.errors**2) + DECADE * surprise.change
    return {**columns, "unlikely": _mean(lost, runs, length)}


def _sum(values: np.ndarray, runs: np.ndarray, length: int) -> np.ndarray:
    """Sum (M,) over the last rows of a run, of a short run all."""
    total = np.append(0.0, np.cumsum(values))
    row = np.arange(len(values))
    first = np.maximum(row - length + 1, np.searchsorted(runs, runs))
    return total[1:] - total[first]


def _mean(values: np.ndarray, runs: np.ndarray, length: int) -> np.ndarray:
    """Mean (M,) over the last rows of a run, minus infinity where it has too few."""
    lasted = np.arange(len(values)) - np.searchsorted(runs, runs) >= length - 1
    return np.where(lasted, _sum(values, runs, length) / length, -np.inf)


def _least(values: np.ndarray, runs: np.ndarray, length: int) -> np.ndarray:
    """Lowest (M,) of the last rows of a run, minus infinity where it has too few."""
    found = np.full(len(values), -np.inf)
    if len(values) >= length:
        whole = runs[: len(runs) - length + 1] == runs[length - 1 :]
        found[length - 1 :][whole] = sliding_window_view(values, length).min(axis=1)[whole]
    return found
