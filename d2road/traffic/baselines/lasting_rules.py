"""Rules, second version: how far the rarest vehicle of a window goes beyond good traffic as dense, for some time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from d2road.traffic.baselines.baseline import digest_of, require_fit
from d2road.traffic.baselines.explanation import Explanation
from d2road.traffic.baselines.lasting_features import LASTING_FEATURES, compute_lasting_features
from d2road.traffic.baselines.rules import FEWEST, Tail
from d2road.traffic.baselines.usual_values import UsualValues
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.utils.errors import DataError
from d2road.utils.values import as_integer, as_list, as_number, field

VERSION = 2
MOST = 4000  # good windows that are kept to compare with, spread evenly over those that are given
DECIMALS = 3
# Deviations of a feature from its median are at least these, in its unit: what is always the same in good traffic must
# not become infinitely strict.
FLOORS = {
    "wrong_way": 0.25,
    "standing": 0.25,
    "slower": 0.5,
    "faster": 0.5,
    "speed": 0.5,
    "braking": 0.25,
    "accelerating": 0.25,
    "close": 0.1,
    "lane_changes": 0.25,
    "missing": 0.1,
}
SHORTEST_TAIL = 0.5  # mean deviations
WORDS = {
    "wrong_way": "drives the wrong way",
    "standing": "stands though the road ahead is clear",
    "slower": "is slower than those near it though the road ahead is clear",
    "faster": "is faster than those near it",
    "speed": "is fast",
    "braking": "brakes hard",
    "accelerating": "accelerates hard",
    "close": "follows closely",
    "lane_changes": "changes lanes often",
    "missing": "is not seen though it should be there",
}


@dataclass(frozen=True)
class DescribedWindows:
    """What the rules look at in N windows.

    features: (N, R), the highest of each window's vehicles; density: (N,), vehicles per km.
    """

    features: np.ndarray
    density: np.ndarray

    def __len__(self) -> int:
        return len(self.features)

    @classmethod
    def joined(cls, parts: Sequence["DescribedWindows"]) -> "DescribedWindows":
        """One after the other."""
        return cls(np.concatenate([p.features for p in parts]), np.concatenate([p.density for p in parts]))

    def part(self, places: np.ndarray) -> "DescribedWindows":
        """Some of them."""
        return DescribedWindows(self.features[places], self.density[places])


def describe_windows(windows: Iterable[TrafficWindow]) -> DescribedWindows:
    """Features and densities of windows, which are gone through once and not kept."""
    rows, densities = [], []
    for window in windows:
        table = compute_lasting_features(window).features
        rows.append(table.max(axis=0) if len(table) else np.zeros(len(LASTING_FEATURES)))
        densities.append(window_density(window))
    features = np.stack(rows) if rows else np.zeros((0, len(LASTING_FEATURES)))
    return DescribedWindows(features, np.array(densities, dtype=float))


def window_density(window: TrafficWindow) -> float:
    """Vehicles per km of a window, the mean over its instants."""
    frame = window.inside().frame
    if not len(frame):
        return 0.0
    return len(frame) / frame["t"].nunique() / (window.s1 - window.s0) * 1000


class LastingRules:
    """Rules on what a vehicle does for some seconds, relative to good traffic of the same density.

    A feature of a window is the highest of its vehicles. It is compared with good windows of nearest density
    (`UsualValues`), and how rare that deviation is among all good windows says an exponential tail. A window scores by
    its rarest rule: 2 is what one good window in a hundred reaches under one rule. No rule knows what it is to find.

    Args:
        seed: unused; the rules have nothing random.
    """

    def __init__(self, seed: int = 0):
        self.usual: UsualValues | None = None
        self.tails: list[Tail] = []

    @staticmethod
    def describe(windows: Iterable[TrafficWindow]) -> DescribedWindows:
        """What the rules look at in windows, for `fit_described` and `scores_described`."""
        return describe_windows(windows)

    def fit(self, windows: Iterable[TrafficWindow]) -> "LastingRules":
        """Fit on good windows, which are gone through once.

        Raises:
            DataError: fewer than 40 windows with vehicles.
        """
        return self.fit_described(describe_windows(windows))

    def fit_described(self, good: DescribedWindows) -> "LastingRules":
        """Fit on what `describe_windows` says of good windows; raises as `fit`."""
        good = good.part(good.density > 0)
        if len(good) < FEWEST:
            raise DataError(f"rules are set on {len(good)} good windows with vehicles; expected at least {FEWEST}")
        if len(good) > MOST:
            good = good.part(np.linspace(0, len(good) - 1, MOST).round().astype(int))
        density, features = np.round(good.density, DECIMALS), np.round(good.features, DECIMALS)
        self.usual = UsualValues(density, features, np.array([FLOORS[name] for name in LASTING_FEATURES]))
        deviations = self.usual.deviations(density, features)
        self.tails = [Tail.fit(column, SHORTEST_TAIL) for column in deviations.T]
        return self

    def scores(self, windows: Sequence[TrafficWindow]) -> np.ndarray:
        """(N,), see the class; 0 for an empty road."""
        return self.scores_described(describe_windows(windows))

    def scores_described(self, windows: DescribedWindows) -> np.ndarray:
        """(N,), from what `describe_windows` says of the windows."""
        return self.by_rule(windows).max(axis=1, initial=0.0)

    def by_rule(self, windows: DescribedWindows) -> np.ndarray:
        """Scores of every rule of LASTING_FEATURES: (N, R)."""
        usual = require_fit(self, self.usual)
        deviations = usual.deviations(windows.density, windows.features)
        scores = np.stack([tail.rarity(column) for tail, column in zip(self.tails, deviations.T)], axis=1)
        return np.where(windows.density[:, None] > 0, scores, 0.0)

    def explain(self, window: TrafficWindow) -> Explanation | None:
        """The rule that speaks for a window and the vehicle under it; None for an empty road."""
        found = compute_lasting_features(window)
        if not len(found.names):
            return None
        rule = int(self.by_rule(describe_windows([window]))[0].argmax())
        row = int(found.features[:, rule].argmax())
        name, value = LASTING_FEATURES[rule], float(found.features[row, rule])
        return Explanation(name, WORDS[name], str(found.names[row]), value, float(found.t[row]), float(found.s[row]))

    def to_json(self) -> dict[str, Any]:
        """The fitted rules, for `from_json`."""
        usual = require_fit(self, self.usual)
        return {
            "version": VERSION,
            "features": list(LASTING_FEATURES),
            "windows": np.column_stack([usual.density, usual.features]).tolist(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], source: str) -> "LastingRules":
        """Rules that `to_json` wrote.

        Args:
            source: where they stand, for messages.
        Raises:
            DataError: they are not such rules, or of another version.
        """
        version = field(values, "version", as_integer, source)
        names = field(values, "features", as_list, source)
        if version != VERSION or names != list(LASTING_FEATURES):
            raise DataError(f"{source} are of version {version}, expected {VERSION}: fit and calibrate them anew")
        rows = []
        for number, row in enumerate(field(values, "windows", as_list, source), 1):
            place = f"{source}: window {number}"
            numbers = [as_number(value, place) for value in as_list(row, place)]
            if len(numbers) != 1 + len(LASTING_FEATURES) or numbers[0] < 0:
                raise DataError(f"{place} is no window: expected a density and {len(LASTING_FEATURES)} features")
            rows.append(numbers)
        table = np.array(rows, dtype=float).reshape(len(rows), 1 + len(LASTING_FEATURES))
        return cls().fit_described(DescribedWindows(table[:, 1:], table[:, 0]))

    def digest(self) -> str:
        """Sixteen hexadecimal digits that tell fitted rules apart."""
        return digest_of(self.to_json())
