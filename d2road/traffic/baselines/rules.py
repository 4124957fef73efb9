"""Kinematic rules: how far the worst vehicle of a window goes beyond what good traffic does, rule by rule."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from d2road.traffic.baselines.baseline import require_fit
from d2road.traffic.baselines.vehicle_features import FEATURES, compute_vehicle_features
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.utils.errors import DataError

TAIL = 0.05  # share of good windows whose excesses a tail is fitted to
FEWEST = 40
# A rule's tail is at least this long, in its unit: good traffic without any excess must not make it infinitely strict.
SHORTEST_TAIL = {
    "wrong_way": 0.5,
    "stopped": 0.5,
    "slower": 0.5,
    "faster": 0.5,
    "speed": 0.5,
    "braking": 0.25,
    "accelerating": 0.25,
    "close": 0.1,
    "lane_changes": 0.25,
    "missing": 0.25,
}


@dataclass(frozen=True)
class Tail:
    """The upper end of a distribution: empirical below `start`, exponential with mean excess `length` above."""

    ordered: np.ndarray
    start: float
    length: float

    @classmethod
    def fit(cls, values: np.ndarray, shortest: float) -> "Tail":
        """From the values of good windows, each the highest of its vehicles."""
        ordered = np.sort(values)
        start = float(np.quantile(ordered, 1 - TAIL))
        excess = ordered[ordered > start] - start
        return cls(ordered, start, max(float(excess.mean()) if len(excess) else 0.0, shortest))

    def rarity(self, values: np.ndarray) -> np.ndarray:
        """Minus the decimal logarithm of the share of good windows that reach a value."""
        count = len(self.ordered)
        above = count - np.searchsorted(self.ordered, values, side="left")
        usual = -np.log10(np.maximum(above, 1) / count)
        tail = -np.log10(TAIL) + (values - self.start) / self.length / np.log(10)
        return np.where(values > self.start, tail, np.minimum(usual, -np.log10(TAIL)))


class KinematicRules:
    """Kinematic rules, one a vehicle feature: wrong way, standing, slow, fast, braking, close, changing lanes, lost.

    A window scores by its rarest vehicle under its rarest rule: 2 is what one good window in a hundred reaches under
    one rule. Thresholds come from good windows alone; no rule knows what it is to find.

    Args:
        seed: unused; the rules have nothing random.
    """

    def __init__(self, seed: int = 0):
        self.tails: dict[str, Tail] | None = None

    def fit(self, windows: Sequence[TrafficWindow]) -> "KinematicRules":
        """Fit a tail a rule.

        Raises:
            ValueError: fewer than 40 windows.
        """
        if len(windows) < FEWEST:
            raise DataError(f"rules are set on {len(windows)} good windows; expected at least {FEWEST}")
        table = self.worst(windows)
        self.tails = {name: Tail.fit(table[:, i], SHORTEST_TAIL[name]) for i, name in enumerate(FEATURES)}
        return self

    def scores(self, windows: Sequence[TrafficWindow]) -> np.ndarray:
        """(N,), see the class."""
        return self.by_rule(windows).max(axis=1, initial=0.0)

    def by_rule(self, windows: Sequence[TrafficWindow]) -> np.ndarray:
        """Scores of every rule of FEATURES: (N, len(FEATURES))."""
        tails = require_fit(self, self.tails)
        table = self.worst(windows)
        return np.stack([tails[name].rarity(table[:, i]) for i, name in enumerate(FEATURES)], axis=1)

    def reasons(self, windows: Sequence[TrafficWindow]) -> list[str]:
        """The rule that speaks for each window."""
        return [FEATURES[i] for i in self.by_rule(windows).argmax(axis=1)]

    @staticmethod
    def worst(windows: Sequence[TrafficWindow]) -> np.ndarray:
        """Highest feature of each window's vehicles; the lowest possible for an empty road."""
        rows = [compute_vehicle_features(window).to_numpy() for window in windows]
        empty = np.zeros(len(FEATURES))
        return np.stack([row.max(axis=0) if len(row) else empty for row in rows]) if rows else np.zeros((0, len(empty)))
