"""Scores relative to those of good traffic of the same density.

What a model finds hard to follow is first of all how much there is to see: a jam scores higher than an incident on an
empty road. So a window is compared with good windows that are about as full. Letters: N good windows, M windows.
"""

import numpy as np
import numpy.typing as npt

from d2road.utils.errors import DataError

LEAST = 20  # good windows that a window is compared with
# Of the spread of all good windows: below that, a difference says nothing.
LEAST_SPREAD = 1e-3


class RelativeScores:
    """Learns from good windows alone.

    Args:
        densities: (N,), vehicles per km and lane.
        scores: (N,), finite.
    Raises:
        ValueError: fewer than LEAST windows, another number of scores, or values that are not finite.
    """

    def __init__(self, densities: npt.ArrayLike, scores: npt.ArrayLike):
        density, score = _checked(densities, scores)
        if len(score) < LEAST:
            raise DataError(f"{len(score)} good windows: expected at least {LEAST} to compare others with")
        order = np.argsort(density, kind="stable")
        self.places, self.scores = _place(density[order]), score[order]
        # As many as the sample allows: with N the spread of their densities falls and their number grows.
        self.neighbours = min(max(LEAST, round(2.5 * len(score) ** 0.5)), len(score))
        self.floor = LEAST_SPREAD * float(np.abs(score - np.median(score)).mean()) or 1.0

    def __call__(self, densities: npt.ArrayLike, scores: npt.ArrayLike) -> np.ndarray:
        """(M,): mean absolute deviations above the median of the good windows that are nearest in density.

        Args:
            densities, scores: (M,) of windows.
        Raises:
            ValueError: numbers differ, or values are not finite.
        """
        density, score = _checked(densities, scores)
        near = np.stack([self._nearest(place) for place in _place(density)]) if len(score) else np.zeros((0, 1))
        usual = np.median(near, axis=1)
        spread = np.abs(near - usual[:, None]).mean(axis=1)
        return (score - usual) / np.maximum(spread, self.floor)

    def _nearest(self, place: float) -> np.ndarray:
        """Scores (neighbours,) of the windows nearest to a place, which are side by side in `places`."""
        count = self.neighbours
        first = int(np.searchsorted(self.places, place))
        starts = np.arange(max(first - count, 0), min(first, len(self.places) - count) + 1)
        reach = np.maximum(place - self.places[starts], self.places[starts + count - 1] - place)
        start = int(starts[np.argmin(reach)])
        return self.scores[start : start + count]


def _place(densities: np.ndarray) -> np.ndarray:
    """Where a density is on the scale that distances are taken on: that of ratios, but for nearly empty roads."""
    return np.log(densities + 1.0)


def _checked(densities: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    density, score = np.asarray(densities, float), np.asarray(scores, float)
    if density.shape != score.shape or density.ndim != 1:
        raise DataError(f"{density.size} densities and {score.size} scores: expected one of each a window")
    if not (np.isfinite(density).all() and np.isfinite(score).all() and (density >= 0).all()):
        raise DataError("densities and scores have to be finite, densities 0 or more")
    return density, score
