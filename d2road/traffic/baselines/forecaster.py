"""Trajectory forecaster: what drivers do in the next second, from what they react to, learned on good traffic.

Own acceleration is no input: somebody who follows too closely or crawls does so evenly, and a forecast from what was
before would agree. Letters: M vehicle-seconds, F features.
"""

from dataclasses import dataclass

import numpy as np

from d2road.traffic.baselines.baseline import require_fit
from d2road.traffic.baselines.car_following import CarFollowing
from d2road.utils.errors import DataError

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


class MotionForecaster:
    """Gradient boosted trees for the mean acceleration, its typical error and the probability of a change of lane.

    Args:
        seed: of the choice of seconds and of the trees.
        most: seconds to fit on at most, drawn at random.
    Raises:
        ImportError: scikit-learn is not installed; the extra `traffic` has it.
    """

    def __init__(self, seed: int = 0, most: int = 300_000):
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        common = {"early_stopping": False, "random_state": seed}
        self.seed, self.most = seed, most
        self.mean = HistGradientBoostingRegressor(max_iter=120, max_leaf_nodes=31, min_samples_leaf=100, **common)
        self.scale = HistGradientBoostingRegressor(max_iter=60, max_leaf_nodes=15, min_samples_leaf=200, **common)
        self.change = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15, min_samples_leaf=200, **common)
        self.following: CarFollowing | None = None

    def fit(self, states: np.ndarray, acceleration: np.ndarray, changes: np.ndarray) -> "MotionForecaster":
        """Fit on seconds of good driving, all of which have a next one.

        Args:
            states: (M, F). acceleration: (M,) m/s^2. changes: (M,) bool.
        Raises:
            DataError: fewer than 1000 seconds.
        """
        if len(states) < FEWEST:
            raise DataError(
                f"the forecaster is fitted on {len(states)} seconds of good driving; expected {FEWEST} or more"
            )
        if len(states) > self.most:
            chosen = np.random.default_rng(self.seed).choice(len(states), self.most, replace=False)
            states, acceleration, changes = states[chosen], acceleration[chosen], changes[chosen]
        following = CarFollowing.fit(states, acceleration, self.seed)
        self.mean.fit(states, acceleration)
        self.scale.fit(states, np.log(np.abs(acceleration - self.mean.predict(states)) + LEAST_ERROR))
        if changes.any() and not changes.all():
            self.change.fit(states, changes)
        self.following, self.changing = following, float(changes.mean())
        return self

    def surprise(self, states: np.ndarray, acceleration: np.ndarray, changes: np.ndarray) -> Surprise:
        """How seconds differ from the forecast; acceleration is NaN where the next second is not known."""
        following = require_fit(self, self.following)
        if not len(states):
            return Surprise(*np.zeros((4, 0)))
        residual = np.nan_to_num(acceleration - self.mean.predict(states))
        errors = (residual / np.exp(self.scale.predict(states))).clip(-MOST_ERRORS, MOST_ERRORS)
        rare, rows = np.zeros(len(states)), np.flatnonzero(changes)
        if len(rows):
            rare[rows] = -np.log10(np.clip(self._probability(states[rows]), RAREST, 1.0))
        return Surprise(np.nan_to_num(acceleration - following.predict(states)), residual, errors, rare)

    def _probability(self, states: np.ndarray) -> np.ndarray:
        if not 0 < self.changing < 1:
            return np.full(len(states), self.changing)
        return self.change.predict_proba(states)[:, 1]
