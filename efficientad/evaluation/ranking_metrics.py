"""Areas under ranking curves and F1 of weighted scores. Equal scores share one threshold everywhere.

Letters: P positive weighted scores, K thresholds, R draws.
"""

import numpy as np

from d2road.utils.errors import DataError
from efficientad.evaluation.weighted_scores import WeightedScores


class Ranking:
    """WeightedScores in order, to ask how much weight lies above a score."""

    def __init__(self, weighted: WeightedScores):
        ordered = weighted.ascending()
        self.scores, self.total = ordered.scores, ordered.total
        self._below = None if ordered.weights is None else np.concatenate([[0.0], np.cumsum(ordered.weights)])
        if self._below is not None:
            self.total = float(self._below[-1])

    def above(self, scores: np.ndarray) -> np.ndarray:
        """Weight of what scores higher."""
        return self.total - self._weight_below(np.searchsorted(self.scores, scores, side="right"))

    def at_or_above(self, scores: np.ndarray) -> np.ndarray:
        """Weight of what scores as high or higher."""
        return self.total - self._weight_below(np.searchsorted(self.scores, scores, side="left"))

    def _weight_below(self, position: np.ndarray) -> np.ndarray:
        return position.astype(np.float64) if self._below is None else self._below[position]


def curve_area(negatives: Ranking, positives: WeightedScores, limit: float = 1.0) -> float:
    """Area under the curve of the positive weight found over the false-positive rate, from 0 to `limit`, over `limit`.

    With a weight of 1 each it is the tie-aware AUROC (Mann-Whitney); with weights 1 / area of their region it is the
    area under the per-region overlap (AU-PRO); with the weights of `spro.defect_scores` the one under the saturated
    overlap (sPRO). The curve is piecewise linear between thresholds, and so is the last piece, which the limit cuts.

    Each positive point adds its weight times the part of the axis that lies beyond the false-positive rate at which it
    is found, so that no curve has to be stored and no thresholds have to be chosen.

    Returns:
        0 to 1; NaN without negatives or without positives.
    Raises:
        ValueError: a limit outside (0, 1].
    """
    if not 0 < limit <= 1:
        raise DataError(f"limit of the false-positive rate is {limit}, expected above 0 and at most 1")
    if negatives.total == 0 or len(positives) == 0:
        return float("nan")
    positives = positives.ascending()  # sorted needles are found much faster
    start = negatives.above(positives.scores) / negatives.total
    end = negatives.at_or_above(positives.scores) / negatives.total
    beyond = axis_beyond(start, end, limit)
    gained = beyond.sum() if positives.weights is None else (positives.weights * beyond).sum()
    return float(gained / positives.total / limit)


def axis_beyond(start: np.ndarray, end: np.ndarray, limit: float) -> np.ndarray:
    """Integral from 0 to `limit` of a ramp that is 0 up to `start` and 1 from `end` on."""
    whole = limit - 0.5 * (start + end)
    with np.errstate(divide="ignore", invalid="ignore"):
        cut = 0.5 * (limit - start) ** 2 / (end - start)
    return np.where(end <= limit, whole, np.where(start < limit, cut, 0.0))


def f1_max(negatives: Ranking, positives: Ranking) -> tuple[float, float]:
    """The best F1 over all thresholds, and the lowest score called anomalous there; NaN without positives.

    Optimistic: the threshold is chosen with the labels of the test images.
    """
    if positives.total == 0:
        return float("nan"), float("nan")
    # Between two positives a lower threshold only adds false alarms, so the best one is the score of a positive.
    thresholds = np.unique(positives.scores)
    values = _f1(positives.at_or_above(thresholds), negatives.at_or_above(thresholds), positives.total)
    best = int(np.argmax(values))
    return float(values[best]), float(thresholds[best])


def f1_above(negatives: Ranking, positives: Ranking, threshold: float) -> float:
    """F1 if what scores above `threshold` is called anomalous; NaN without positives."""
    if positives.total == 0:
        return float("nan")
    at = np.array([threshold])
    return float(_f1(positives.above(at), negatives.above(at), positives.total)[0])


def _f1(found: np.ndarray, false: np.ndarray, total: float | np.ndarray) -> np.ndarray:
    return 2 * found / (found + false + total)


def histogram_areas(negatives: np.ndarray, positives: np.ndarray, limit: float = 1.0) -> np.ndarray:
    """`curve_area` of many weightings of the same weighted scores at once.

    Args:
        negatives, positives: (R, K) weights by threshold, the highest first.
    Returns:
        (R,); NaN where one side has no weight.
    """
    end = np.cumsum(negatives, axis=1)
    total = end[:, -1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        end = end / total
        beyond = axis_beyond(end - negatives / total, end, limit)
        areas = (positives * beyond).sum(axis=1) / positives.sum(axis=1) / limit
    return np.where(total[:, 0] > 0, areas, np.nan)


def histogram_f1_max(negatives: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """The best F1 of many weightings of the same weighted scores, (R, K) each, highest threshold first; (R,)."""
    found, false = np.cumsum(positives, axis=1), np.cumsum(negatives, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _f1(found, false, found[:, -1:]).max(axis=1)
