"""Weighted scores of pixels, and a short form of them that keeps ranks.

Letters: N weighted scores, B bins.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

# Bins of equal rank; where the score is high they get finer, see `summarize`.
BINS = 8192
FINE = 512


@dataclass(frozen=True)
class WeightedScores:
    """Scores with weights: how many pixels, or what share of a region, a point stands for.

    scores (N,), any floating type; weights (N,) float64, or None where each is 1.
    """

    scores: np.ndarray
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def total(self) -> float:
        """The sum of the weights."""
        return float(len(self.scores)) if self.weights is None else float(self.weights.sum())

    def ascending(self) -> "WeightedScores":
        """The same weighted scores, lowest score first."""
        if self.weights is None:
            return WeightedScores(np.sort(self.scores))
        order = np.argsort(self.scores, kind="stable")
        return WeightedScores(self.scores[order], self.weights[order])


NO_SCORES = WeightedScores(np.zeros(0, dtype=np.float32))


def pool(parts: Iterable[WeightedScores]) -> WeightedScores:
    """All weighted scores together."""
    parts = [part for part in parts if len(part)]
    if not parts:
        return NO_SCORES
    scores = np.concatenate([part.scores for part in parts])
    if all(part.weights is None for part in parts):
        return WeightedScores(scores)
    return WeightedScores(scores, np.concatenate([np.ones(len(p)) if p.weights is None else p.weights for p in parts]))


def summarize(scores: np.ndarray, weight: float = 1.0, bins: int | None = BINS) -> WeightedScores:
    """WeightedScores that stand for all `scores`, each of the same weight.

    Scores are ranked and cut into bins of ranks, and a bin becomes a point at its median. So the number of scores above
    any threshold is right to half a bin, whatever the distribution of the scores is: no range has to be known, and an
    outlier or a large offset costs nothing. Bins hold at most 1 / `bins` of the scores, and at most 1 / 512 of the
    scores above them, since metrics with a limit on the false-positive rate look at the top; the top 512 scores and
    bins of equal scores are exact.

    Args:
        scores: (N,) in any order.
        weight: of each score.
        bins: None keeps every score.
    """
    if bins is None:
        # A copy: whoever made the map may use its memory for the next one.
        return WeightedScores(scores.copy(), None if weight == 1 else np.full(len(scores), weight))
    edges = rank_edges(len(scores), bins)
    ranked = np.sort(scores)[::-1]
    counts = np.diff(edges)
    return WeightedScores(ranked[edges[:-1] + counts // 2], counts * float(weight))


def rank_edges(count: int, bins: int) -> np.ndarray:
    """Ranks (B + 1,), increasing from 0 to `count`, at which the bins of `summarize` begin and end."""
    step = max(1.0, count / bins)
    coarse = min(float(count), FINE * step)  # from this rank on, bins are of equal size
    steps = int(np.ceil(np.log(max(coarse / FINE, 1.0)) / np.log1p(1 / FINE)))
    ranks = [
        np.arange(min(count, FINE)),
        np.geomspace(FINE, coarse, steps + 1) if coarse > FINE else [],
        np.arange(coarse, count, step),
        [count],
    ]
    return np.unique(np.concatenate(ranks).astype(np.int64))
