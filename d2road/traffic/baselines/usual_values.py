"""What is usual in traffic of the same density: features of windows in units of what good windows like them differ by.

Braking at 3 m/s^2 is common where traffic is dense and rare where it is free. So a window is compared with the good
windows whose density is nearest to its own, feature by feature (`relative_scores` does so with the score of all).

Letters: N good windows, M windows, R features, K neighbours.
"""

import numpy as np
from scipy.spatial import cKDTree

LEAST_NEIGHBOURS = 20


class UsualValues:
    """Median and mean absolute deviation of each feature among the good windows of nearest density.

    Args:
        density: (N,) vehicles per km.
        features: (N, R), finite.
        floors: (R,), the least deviation of each feature, positive.
    """

    def __init__(self, density: np.ndarray, features: np.ndarray, floors: np.ndarray):
        self.density, self.features, self.floors = density, features, floors
        self.tree = cKDTree(_place(density))
        # As many as the sample allows: with N their densities come nearer and their number grows.
        self.neighbours = min(max(LEAST_NEIGHBOURS, round(2.5 * len(features) ** 0.5)), len(features))

    def deviations(self, density: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Features (M, R) of windows in mean absolute deviations above the median of their neighbours, (M, R)."""
        if not len(features):
            return np.zeros_like(features)
        usual, spread = self.at(density)
        return (features - usual) / spread

    def at(self, density: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Median and mean absolute deviation, at least the floors, of the neighbours of densities (M,): (M, R) each."""
        near = self._near(density)
        usual = np.median(near, axis=1)
        spread = np.abs(near - usual[:, None]).mean(axis=1)
        return usual, np.maximum(spread, self.floors)

    def ranks(self, density: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Share of their neighbours that features (M, R) of windows lie above, those that are equal by half, (M, R)."""
        near = self._near(density)
        return (near < features[:, None]).mean(axis=1) + 0.5 * (near == features[:, None]).mean(axis=1)

    def _near(self, density: np.ndarray) -> np.ndarray:
        """Features of the good windows of nearest density, (M, K, R)."""
        _, near = self.tree.query(_place(density), self.neighbours)
        return self.features[near.reshape(len(density), -1)]


def _place(density: np.ndarray) -> np.ndarray:
    """Places (N, 1) on the scale that distances are taken on, that of ratios but for nearly empty roads."""
    return np.log(density + 3.0)[:, None]
