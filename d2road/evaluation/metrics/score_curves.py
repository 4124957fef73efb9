"""Curves of scores: precision and recall, ROC, precision over thresholds, and reliability. Pure.

Equal scores share one threshold everywhere. Letters: N scores, T thresholds, B bins.
"""

from dataclasses import dataclass

import numpy as np

MOST_POINTS = 201  # of a curve that is drawn


@dataclass(frozen=True)
class ThresholdCounts:
    """What is found at each threshold, the highest first: what scores at least as much is taken.

    Args:
        thresholds: (T,) falling, the distinct scores.
        hits, misses: (T,) weight of right and of wrong ones from the threshold on.
    """

    thresholds: np.ndarray
    hits: np.ndarray
    misses: np.ndarray

    def precision(self) -> np.ndarray:
        """(T,) share of what is taken that is right."""
        return self.hits / np.maximum(self.hits + self.misses, 1e-300)

    def recall(self, total: float) -> np.ndarray:
        """(T,) share of what is to be found; `total` may be more than all hits."""
        return self.hits / total if total else np.full(len(self.hits), np.nan)

    def f1(self, total: float) -> np.ndarray:
        """(T,) harmonic mean of precision and recall."""
        return 2 * self.hits / np.maximum(self.hits + self.misses + total, 1e-300)


def threshold_counts(scores: np.ndarray, right: np.ndarray, weights: np.ndarray | None = None) -> ThresholdCounts:
    """Hits and misses at every distinct score.

    Args:
        scores: (N,) finite.
        right: (N,) bool.
        weights: (N,) what each counts; 1 if None.
    """
    scores, right = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    weights = np.ones(len(scores)) if weights is None else np.asarray(weights, dtype=np.float64)
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True]) if len(ordered) else np.zeros(0, dtype=int)
    hits = np.cumsum(np.where(right[order], weights[order], 0.0))[last]
    misses = np.cumsum(np.where(right[order], 0.0, weights[order]))[last]
    return ThresholdCounts(ordered[last], hits, misses)


def interpolated_precision(precision: np.ndarray, recall: np.ndarray, recalls: np.ndarray) -> np.ndarray:
    """The highest precision at each of `recalls` or a higher recall, 0 beyond the last, as COCO and PASCAL VOC have it.

    Args:
        precision, recall: (T,) with rising recall.
        recalls: at which.
    Source: Lin et al., COCO, ECCV 2014.
    """
    envelope = np.maximum.accumulate(np.asarray(precision)[::-1])[::-1]
    place = np.searchsorted(recall, recalls, side="left")
    return np.append(envelope, 0.0)[np.minimum(place, len(envelope))]


def roc_points(
    negatives: np.ndarray,
    positives: np.ndarray,
    negative_weights: np.ndarray | None = None,
    positive_weights: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """False- and true-positive rates of the ROC curve, from (0, 0) to (1, 1), a point for each distinct score.

    Args:
        negatives, positives: (N,) and (P,) finite scores.
        negative_weights, positive_weights: what each counts; 1 if None.
    Returns:
        two empty arrays if a side is empty.
    """
    low, high = np.asarray(negatives, dtype=np.float64), np.asarray(positives, dtype=np.float64)
    if not len(low) or not len(high):
        return np.zeros(0), np.zeros(0)
    given = (negative_weights, positive_weights)
    weights = np.concatenate([np.ones(len(s)) if w is None else w for s, w in zip((low, high), given)])
    is_positive = np.r_[np.zeros(len(low), dtype=bool), np.ones(len(high), dtype=bool)]
    counts = threshold_counts(np.concatenate([low, high]), is_positive, weights)
    return np.r_[0.0, counts.misses / counts.misses[-1]], np.r_[0.0, counts.hits / counts.hits[-1]]


def thinned(*columns: np.ndarray, most: int = MOST_POINTS) -> list[np.ndarray]:
    """At most `most` rows of columns of equal length, spread along the curve's way, both ends among them.

    The way is counted in rows and in what the columns do, so that a jump of a curve keeps its two ends.
    """
    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    count = len(arrays[0])
    if count <= most:
        return arrays
    way = np.linspace(0, 1, count)
    for column in arrays:
        steps = np.abs(np.diff(column, prepend=column[0]))
        total = np.nansum(steps)
        way = way + (np.nancumsum(steps) / total if total else 0.0)
    kept = np.unique(np.searchsorted(way, np.linspace(way[0], way[-1], most)).clip(0, count - 1))
    kept[0], kept[-1] = 0, count - 1
    return [column[kept] for column in arrays]


def bin_edges(values: np.ndarray, bins: int, at: float | None = None) -> np.ndarray:
    """Edges of about so many equal bins that hold all values; one of them lies at `at`, where that is given."""
    low, high = (float(np.min(values)), float(np.max(values))) if len(values) else (0.0, 1.0)
    if at is not None:
        low, high = min(low, at), max(high, at)
    width = (high - low) / bins or max(1e-6, 1e-3 * abs(low))
    start = low if at is None else at - np.ceil((at - low) / width - 1e-9) * width
    edges = start + width * np.arange(np.ceil((high - start) / width - 1e-9) + 1)
    edges[-1] = max(edges[-1], high)
    if len(edges) < 2:
        edges = np.array([start, start + width])
    if at is not None:
        edges[np.argmin(np.abs(edges - at))] = at  # despite rounding
    return edges


@dataclass(frozen=True)
class ReliabilityBins:
    """How often scores are right, by bins of equal width from 0 to 1.

    Args:
        edges: (B + 1,).
        scores, shares: (B,) mean score and share that is right; NaN in an empty bin.
        counts: (B,).
    """

    edges: np.ndarray
    scores: np.ndarray
    shares: np.ndarray
    counts: np.ndarray

    def expected_error(self) -> float:
        """Expected calibration error: mean of |share - score| over all scores; NaN without any.

        Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, Eq. 3.
        """
        known = self.counts > 0
        if not known.any():
            return float("nan")
        return float(np.average(np.abs(self.shares - self.scores)[known], weights=self.counts[known]))


def reliability_bins(scores: np.ndarray, right: np.ndarray, bins: int = 10) -> ReliabilityBins:
    """Bins of scores between 0 and 1; an edge belongs to the bin above it, 1 to the last.

    Args:
        scores: (N,) between 0 and 1.
        right: (N,) bool.
    Raises:
        ValueError: a score outside.
    """
    scores, right = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    if len(scores) and not (scores.min() >= 0 and scores.max() <= 1):
        raise ValueError(f"reliability needs scores between 0 and 1, got {scores.min():g} to {scores.max():g}")
    edges = np.linspace(0, 1, bins + 1)
    place = np.searchsorted(edges[1:-1], scores, side="right")
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        means, shares = (np.bincount(place, weights=w, minlength=bins) / counts for w in (scores, right.astype(float)))
    return ReliabilityBins(edges, means, shares, counts)
