"""IsolationForest on features of vehicles."""

from collections.abc import Sequence

import numpy as np

from d2road.traffic.baselines.baseline import require_fit
from d2road.traffic.baselines.vehicle_features import FEATURES, compute_vehicle_features
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.utils.errors import DataError

FEWEST = 100
EMPTY_ROAD = 0.0  # score of a window without vehicles: below that of any vehicle


class VehicleForest:
    """Isolation forest on vehicle features; a window scores as its most isolated vehicle, 0 to 1.

    Args:
        seed: of the trees and of the choice of vehicles.
        trees, samples: of the forest, samples of each tree.
        most: vehicles to fit on at most, drawn at random.
    Raises:
        ImportError: scikit-learn is not installed; the extra `traffic` has it.
    """

    def __init__(self, seed: int = 0, trees: int = 200, samples: int = 512, most: int = 50_000):
        from sklearn.ensemble import IsolationForest

        self.seed, self.samples, self.most = seed, samples, most
        self._make = lambda count: IsolationForest(
            n_estimators=trees, max_samples=min(samples, count), random_state=seed
        )
        self.forest: IsolationForest | None = None

    def fit(self, windows: Sequence[TrafficWindow]) -> "VehicleForest":
        """Fit on the vehicles of good windows.

        Raises:
            ValueError: fewer than 100 vehicles.
        """
        vehicles = np.concatenate(
            [np.zeros((0, len(FEATURES))), *(compute_vehicle_features(w).to_numpy() for w in windows)]
        )
        if len(vehicles) < FEWEST:
            raise DataError(
                f"the forest is fitted on {len(vehicles)} vehicles of good traffic; expected {FEWEST} or more"
            )
        if len(vehicles) > self.most:
            vehicles = vehicles[np.random.default_rng(self.seed).choice(len(vehicles), self.most, replace=False)]
        self.forest = self._make(len(vehicles)).fit(vehicles)
        return self

    def scores(self, windows: Sequence[TrafficWindow]) -> np.ndarray:
        """(N,), all windows in one pass through the trees."""
        forest = require_fit(self, self.forest)
        rows = [compute_vehicle_features(window).to_numpy() for window in windows]
        counts = [len(row) for row in rows]
        result = np.full(len(rows), EMPTY_ROAD)
        if sum(counts):
            isolated = -forest.score_samples(np.concatenate(rows))
            np.maximum.at(result, np.repeat(np.arange(len(rows)), counts), isolated)
        return result
