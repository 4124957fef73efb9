"""Trajectory forecaster: what drivers do in the next second, from what they react to, learned on good traffic.

Own acceleration is no input: somebody who follows too closely or crawls does so evenly, and a forecast from what was
before would agree. Letters: M vehicle-seconds, F features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from d2road.traffic.baselines.baseline import require_fit
from d2road.traffic.baselines.boosted_trees import BoostedTrees
from d2road.traffic.baselines.car_following import CarFollowing
from d2road.traffic.baselines.driving_states import STATE_FEATURES
from d2road.utils.errors import ConfigError, DataError
from d2road.utils.values import as_number, as_object, field

FEWEST = 1000
LEAST_ERROR = 0.03  # m/s^2, that the noise of positions and speeds leaves in the mean of a second
MOST_ERRORS = 8.0  # typical ones; a second cannot say more
RAREST = 1e-5  # probability of a change of lane; less is not known from some hours


@dataclass(frozen=True)
class Surprise:
    """How vehicle-seconds differ from the forecast, (M,) each; 0 where the next second is not known.

    idm: m/s^2 above what the Intelligent Driver Model says; residual: above what is learned; errors: the same in
    typical errors of such a state; change: decades of improbability of a change of lane, 0 where there is none.
    """

    idm: np.ndarray
    residual: np.ndarray
    errors: np.ndarray
    change: np.ndarray


@dataclass(frozen=True)
class FittedForecast:
    """What a forecaster has learned.

    mean: of the acceleration, m/s^2; scale: of the logarithm of its typical error; change: of the logit of a change of
    lane, None where all seconds or none had one; changing: their share; following: a driver by equations.
    """

    mean: BoostedTrees
    scale: BoostedTrees
    change: BoostedTrees | None
    changing: float
    following: CarFollowing

    def change_probability(self, states: np.ndarray) -> np.ndarray:
        """(M,), of a change of lane to the next second."""
        if self.change is None:
            return np.full(len(states), self.changing)
        return expit(self.change.predict(states))


class MotionForecaster:
    """Gradient boosted trees for the mean acceleration, its typical error and the probability of a change of lane.

    They are fitted by scikit-learn and kept as numbers: a forecaster that was fitted elsewhere does without it.

    Args:
        seed: of the choice of seconds and of the trees.
        most: seconds to fit on at most, drawn at random.
    """

    def __init__(self, seed: int = 0, most: int = 300_000):
        self.seed, self.most = seed, most
        self.fitted: FittedForecast | None = None

    def fit(self, states: np.ndarray, acceleration: np.ndarray, changes: np.ndarray) -> "MotionForecaster":
        """Fit on seconds of good driving, all of which have a next one.

        Args:
            states: (M, F). acceleration: (M,) m/s^2. changes: (M,) bool.
        Raises:
            ConfigError: scikit-learn is not installed.
            DataError: fewer than 1000 seconds.
        """
        try:
            from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
        except ImportError as error:
            raise ConfigError(
                'the forecaster is fitted by scikit-learn, which is not installed: pip install "d2road[traffic]", or '
                "give a calibration that was written elsewhere"
            ) from error
        if len(states) < FEWEST:
            raise DataError(
                f"the forecaster is fitted on {len(states)} seconds of good driving; expected {FEWEST} or more"
            )
        if len(states) > self.most:
            chosen = np.random.default_rng(self.seed).choice(len(states), self.most, replace=False)
            states, acceleration, changes = states[chosen], acceleration[chosen], changes[chosen]
        common = {"early_stopping": False, "random_state": self.seed}
        small = {"max_iter": 60, "max_leaf_nodes": 15, "min_samples_leaf": 200, **common}
        following = CarFollowing.fit(states, acceleration, self.seed)
        model = HistGradientBoostingRegressor(max_iter=120, max_leaf_nodes=31, min_samples_leaf=100, **common)
        mean = BoostedTrees.of(model.fit(states, acceleration))
        errors = np.log(np.abs(acceleration - mean.predict(states)) + LEAST_ERROR)
        scale = BoostedTrees.of(HistGradientBoostingRegressor(**small).fit(states, errors))
        both = changes.any() and not changes.all()
        change = BoostedTrees.of(HistGradientBoostingClassifier(**small).fit(states, changes)) if both else None
        self.fitted = FittedForecast(mean, scale, change, float(changes.mean()), following)
        return self

    def surprise(self, states: np.ndarray, acceleration: np.ndarray, changes: np.ndarray) -> Surprise:
        """How seconds differ from the forecast; acceleration is NaN where the next second is not known."""
        fitted = require_fit(self, self.fitted)
        if not len(states):
            return Surprise(*np.zeros((4, 0)))
        residual = np.nan_to_num(acceleration - fitted.mean.predict(states))
        errors = (residual / np.exp(fitted.scale.predict(states))).clip(-MOST_ERRORS, MOST_ERRORS)
        rare, rows = np.zeros(len(states)), np.flatnonzero(changes)
        if len(rows):
            rare[rows] = -np.log10(np.clip(fitted.change_probability(states[rows]), RAREST, 1.0))
        return Surprise(np.nan_to_num(acceleration - fitted.following.predict(states)), residual, errors, rare)

    def to_json(self) -> dict[str, Any]:
        """What was fitted, for `from_json`."""
        fitted = require_fit(self, self.fitted)
        return {
            "mean": fitted.mean.to_json(),
            "scale": fitted.scale.to_json(),
            "change": None if fitted.change is None else fitted.change.to_json(),
            "changing": fitted.changing,
            "following": fitted.following.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], source: str) -> "MotionForecaster":
        """A forecaster that `to_json` wrote.

        Args:
            source: where it stands, for messages.
        Raises:
            DataError: it is no such forecaster.
        """

        def trees(name: str) -> BoostedTrees:
            record = field(values, name, as_object, source)
            return BoostedTrees.from_json(record, len(STATE_FEATURES), f"{source}: {name!r}")

        changing = field(values, "changing", as_number, source, 0, 1)
        known = changing in (0, 1) and values.get("change") is None
        forecaster = cls()
        forecaster.fitted = FittedForecast(
            trees("mean"), trees("scale"), None if known else trees("change"), changing,
            CarFollowing.from_json(field(values, "following", as_object, source), f"{source}: 'following'"),
        )  # fmt: skip
        return forecaster
