"""Measures of grounding on plain arrays: top-1 accuracy, F1 one sentence at a time and pooled, empty answers, recall.

K boxes were answered to a sentence that means G targets. Tables are their overlaps (K, G), see
`overlaps.overlap_tables`. All results are percentages; NaN where there is nothing to measure.
"""

import math
from collections.abc import Sequence

import numpy as np

from d2road.evaluation.metrics.roc import auroc
from d2road.utils.errors import DataError

ACC_OVERLAPS = (0.25, 0.5)
MICRO_OVERLAPS = (0.25, 0.5, 0.7)
NAN = float("nan")


def top1(table: np.ndarray, scores: np.ndarray) -> float:
    """Overlap of the box of best score (the first of equal ones) with the one target; 0 without a box."""
    return float(table[int(np.argmax(scores)), 0]) if len(scores) else 0.0


def accuracy(overlaps: Sequence[float]) -> dict[str, float]:
    """Share of top-1 overlaps above 0.25 and 0.5, as Mono3DVG strictly above, and their mean.

    Source: Zhan et al., Mono3DVG, AAAI 2024, and its evaluation.
    """
    values = np.asarray(overlaps, dtype=np.float64)
    shares = {f"{t:g}": _percent((values > t).sum(), len(values)) for t in ACC_OVERLAPS}
    return {**shares, "miou": 100 * float(values.mean()) if len(values) else NAN}


def matched_overlaps(table: np.ndarray) -> np.ndarray:
    """(G,) overlap of each target with the box that it is given, 0 for those that get none.

    Boxes and targets are paired one to one so that the sum of overlaps is largest (Hungarian method).
    """
    from scipy.optimize import linear_sum_assignment  # scipy.optimize takes half a second

    found = np.zeros(table.shape[1])
    if table.size:
        rows, columns = linear_sum_assignment(table, maximize=True)
        found[columns] = table[rows, columns]
    return found


def f1_of(matched: np.ndarray, num_boxes: int, overlap: float) -> float:
    """F1 of one sentence: 2 TP / (K + G); without a target 1 if nothing was answered, else 0.

    Args:
        matched: (G,) of `matched_overlaps`; a pair counts from `overlap` on.
    Source: Zhang et al., Multi3DRefer, ICCV 2023, as M3DRef-CLIP evaluates it.
    """
    if not len(matched):
        return float(num_boxes == 0)
    return 2 * float((matched >= overlap).sum()) / (num_boxes + len(matched))


def mean_f1(matched: Sequence[np.ndarray], num_boxes: Sequence[int], overlap: float) -> float:
    """Mean of `f1_of` over sentences."""
    values = [f1_of(m, k, overlap) for m, k in zip(matched, num_boxes)]
    return 100 * float(np.mean(values)) if values else NAN


def exact_share(matched: Sequence[np.ndarray], num_boxes: Sequence[int], overlap: float) -> float:
    """Share of sentences whose F1 is 1: all targets, nothing else."""
    values = [f1_of(m, k, overlap) == 1 for m, k in zip(matched, num_boxes)]
    return _percent(sum(values), len(values))


def micro(matched: Sequence[np.ndarray], num_boxes: Sequence[int], overlap: float) -> dict[str, float]:
    """Precision, recall and F1 of all boxes of all sentences together, matched one to one."""
    hits, answered = sum(int((m >= overlap).sum()) for m in matched), sum(num_boxes)
    wanted = sum(len(m) for m in matched)
    return {
        "precision": _percent(hits, answered),
        "recall": _percent(hits, wanted),
        "f1": _percent(2 * hits, answered + wanted),
    }


def empty_accuracy(num_targets: Sequence[int], num_boxes: Sequence[int]) -> tuple[float, float]:
    """N-acc and T-acc: shares of zero-target sentences answered by nothing, and of the others answered by something.

    Source: Liu et al., GRES, CVPR 2023.
    """
    empty = [k == 0 for g, k in zip(num_targets, num_boxes) if g == 0]
    given = [k > 0 for g, k in zip(num_targets, num_boxes) if g > 0]
    return _percent(sum(empty), len(empty)), _percent(sum(given), len(given))


def presence_auroc(num_targets: Sequence[int], best_scores: Sequence[float]) -> float:
    """Area under the ROC curve of the best score as the sign that a sentence means anything: T-acc against 1 - N-acc
    over all thresholds.

    Args:
        best_scores: of each sentence, -inf where it has no box.
    """
    there, scores = np.asarray(num_targets) > 0, np.asarray(best_scores)
    return 100 * auroc(scores[~there], scores[there])


def recall_by_distance(
    matched: Sequence[np.ndarray], distances_m: Sequence[np.ndarray], edges_m: Sequence[float]
) -> dict[str, dict[str, float]]:
    """Share of targets found, by their distance.

    Args:
        matched: of each sentence, (G,).
        distances_m: likewise.
        edges_m: rising; a bin holds its lower edge, the last bin is open.
    Returns:
        {"0-15": {"0.25": ..., "0.5": ..., "targets": count}, ..., "60-": ...}.
    """
    overlaps = np.concatenate([np.zeros(0), *matched])
    distances = np.concatenate([np.zeros(0), *distances_m])
    bins = {}
    for low, high in zip(edges_m, [*edges_m[1:], math.inf]):
        inside = overlaps[(distances >= low) & (distances < high)]
        shares: dict[str, float] = {f"{t:g}": _percent((inside >= t).sum(), len(inside)) for t in ACC_OVERLAPS}
        bins[f"{low:g}-{high:g}" if math.isfinite(high) else f"{low:g}-"] = {**shares, "targets": len(inside)}
    return bins


def best_threshold(
    tables: Sequence[np.ndarray], scores: Sequence[np.ndarray], overlap: float = 0.25, steps: int = 200
) -> tuple[float, float]:
    """The score threshold of the best mean F1, to be fixed on validation data and used on other data.

    Args:
        tables: overlaps of all boxes of each sentence.
        scores: their scores.
        steps: at most so many thresholds are tried: quantiles of the scores, and one above all of them.
    Returns:
        (threshold, mean F1 in percent); of equal ones the middle of the longest run.
    """
    pooled = np.concatenate([np.zeros(0), *scores])
    if not len(pooled):
        return 0.5, mean_f1([np.zeros(t.shape[1]) for t in tables], [0] * len(tables), overlap)
    tried = np.unique(np.quantile(pooled, np.linspace(0, 1, steps), method="lower"))
    tried = np.append(tried, np.nextafter(pooled.max(), np.inf))
    values = []
    for threshold in tried:
        kept = [score >= threshold for score in scores]
        values.append(
            mean_f1([matched_overlaps(t[k]) for t, k in zip(tables, kept)], [int(k.sum()) for k in kept], overlap)
        )
    best = np.isclose(values, max(values), rtol=0, atol=1e-9)
    runs = np.split(np.arange(len(tried)), np.flatnonzero(np.diff(best.astype(int))) + 1)
    longest = max((run for run in runs if best[run[0]]), key=len)
    return float(tried[longest[len(longest) // 2]]), float(max(values))


def threshold_of_t_acc(best_scores: Sequence[float], t_acc: float) -> float:
    """The highest score threshold that answers at least `t_acc` percent of the sentences that mean something.

    Args:
        best_scores: of each of these, -inf where it has no box.
    Raises:
        DataError: no threshold does.
    """
    needed = math.ceil(len(best_scores) * t_acc / 100 - 1e-9)
    if not 0 < needed <= len(best_scores):
        raise DataError(f"T-acc {t_acc:g} % of {len(best_scores)} sentences that mean something: there is no threshold")
    threshold = float(np.sort(best_scores)[-needed])
    if not math.isfinite(threshold):
        share = 100 * float(np.mean(np.isfinite(best_scores)))
        raise DataError(f"T-acc is {share:.1f} % with every box as an answer, expected {t_acc:g} % or more")
    return threshold


def _percent(part: float, whole: float) -> float:
    return 100 * float(part) / whole if whole else NAN
