"""KITTI's greedy matching and its precision at 41 recall points, for all frames and all score thresholds at once.

Letters: G truths, D predictions, P pairs of a truth and a prediction of one frame that overlap, T score thresholds.

The published program goes frame by frame, threshold by threshold, truth by truth in the order of the file. Truths of
different frames do not affect each other, so here one step treats the k-th truth of every frame, for every threshold:

    frame 0   truth 0   truth 1   truth 2        step 0: truths 0 of all frames, T thresholds each
    frame 1   truth 0   truth 1                  step 1: truths 1, with what step 0 left free
    frame 2   truth 0   truth 1   truth 2        ...
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

RECALL_POINTS = 41
COUNTED, IGNORED, ABSENT = 0, 1, -1  # flags of truths and predictions


@dataclass(frozen=True)
class Pairs:
    """Pairs of one frame each that overlap: truth (P,) and prediction (P,) indices, overlap (P,) in (0, 1]."""

    truth: np.ndarray
    prediction: np.ndarray
    overlap: np.ndarray


@dataclass(frozen=True)
class Curve:
    """Precision of one class at one overlap.

    Args:
        num_truth: counted truths.
        thresholds: (T,) scores at which recall passes 0, 1/40, 2/40 ...; T <= 41, fewer where recall ends early.
        tp, fp, fn: (T,) numbers of predictions and truths.
        precision: (41,) highest precision at this recall or a higher one; 0 beyond the last threshold.
        similarity: (41,) the same of orientation similarity, or None.
    """

    num_truth: int
    thresholds: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    precision: np.ndarray
    similarity: np.ndarray | None = None


def interpolated_ap(points: np.ndarray | None, num_truth: int) -> dict[str, float]:
    """AP in percent from (41,) points: R40, the mean of points 1 to 40, and R11, of points 0, 4, ... 40.

    NaN without counted truths or without points.
    """
    if points is None or num_truth == 0:
        return {"R40": float("nan"), "R11": float("nan")}
    return {"R40": 100 * float(points[1:].mean()), "R11": 100 * float(points[::4].mean())}


def precision_curve(
    pairs: Pairs,
    min_overlap: float,
    scores: np.ndarray,
    truth_frame: np.ndarray,
    truth_flag: np.ndarray,
    prediction_flag: np.ndarray,
    excused: np.ndarray | None = None,
    similarity: np.ndarray | None = None,
) -> Curve:
    """Match and count as KITTI's program does.

    First the scores of all true positives are found (each truth takes the free prediction with the highest score), of
    them those at which recall comes nearest to 0, 1/40, 2/40 ... Then, at each of these thresholds, each truth takes
    the free prediction with the largest overlap, an ignored prediction only if there is no other.

    Args:
        pairs: may hold pairs below `min_overlap`, which do not count; a match has an overlap above it.
        scores: (D,).
        truth_frame: (G,) frame index.
        truth_flag: (G,) COUNTED; IGNORED: may be matched, but counts neither way; ABSENT.
        prediction_flag: (D,) COUNTED; IGNORED: no false positive, and a truth that takes it does not count; ABSENT.
        excused: (D,) bool: no false positive if it matches nothing, but a true positive if it does.
        similarity: (P,) orientation similarity of pairs.
    """
    work = _Matching(pairs, min_overlap, scores, truth_frame, truth_flag, prediction_flag)
    num_truth = int((truth_flag == COUNTED).sum())
    first = work.greedy(np.array([-np.inf]), by_score=True)[:, 0]
    thresholds = recall_thresholds(scores[work.prediction[first & work.counted]], num_truth)
    chosen = work.greedy(thresholds, by_score=False)

    judged = prediction_flag == COUNTED
    if excused is not None:
        judged = judged & ~excused
    above = np.searchsorted(np.sort(-scores[judged]), -thresholds, side="right")
    tp = chosen[work.counted].sum(axis=0)
    fp = above - chosen[judged[work.prediction]].sum(axis=0)
    fn = num_truth - chosen[truth_flag[work.truth] == COUNTED].sum(axis=0)
    total = np.maximum(tp + fp, 1)  # 0 of 0 is taken as precision 0
    aos = None
    if similarity is not None:
        alike = similarity[work.kept][work.counted] @ chosen[work.counted].astype(np.float64)
        aos = _monotone(alike / total)
    return Curve(num_truth, thresholds, tp, fp, fn, _monotone(tp / total), aos)


def best_score_matches(
    pairs: Pairs,
    min_overlap: float,
    scores: np.ndarray,
    truth_frame: np.ndarray,
    truth_flag: np.ndarray,
    prediction_flag: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The matches at all scores, each truth taking the free prediction with the highest score.

    Args:
        as in `precision_curve`.
    Returns:
        (M,) truths and (M,) predictions, ignored ones among them.
    """
    work = _Matching(pairs, min_overlap, scores, truth_frame, truth_flag, prediction_flag)
    chosen = work.greedy(np.array([-np.inf]), by_score=True)[:, 0]
    return work.truth[chosen], work.prediction[chosen]


def recall_thresholds(hit_scores: np.ndarray, num_truth: int) -> np.ndarray:
    """Scores of true positives at which recall is nearest to 0, 1/40, 2/40 ...

    Args:
        hit_scores: (M,) scores of all true positives, any order.
    Returns:
        (T,) descending, T <= 41.
    """
    ordered = -np.sort(-hit_scores)
    left = np.arange(1, len(ordered) + 1) / max(num_truth, 1)
    right = np.arange(2, len(ordered) + 2) / max(num_truth, 1)
    picked: list[float] = []
    recall, start = 0.0, 0
    while start < len(ordered) and len(picked) < RECALL_POINTS:
        # The next score would come nearer to the wanted recall; the last score has no next.
        nearer = (right[start:-1] - recall) < (recall - left[start:-1])
        position = start + (int(np.argmin(nearer)) if not nearer.all() else len(nearer))
        picked.append(ordered[position])
        recall += 1 / (RECALL_POINTS - 1)
        start = position + 1
    return np.array(picked, dtype=np.float64)


def _monotone(values: np.ndarray) -> np.ndarray:
    """(41,): at each point the highest value there or behind, 0 beyond the given ones."""
    points = np.zeros(RECALL_POINTS)
    points[: len(values)] = np.maximum.accumulate(values[::-1])[::-1]
    return points


class _Matching:
    """The pairs that may match, grouped by the rank of the truth in its frame."""

    def __init__(
        self,
        pairs: Pairs,
        min_overlap: float,
        scores: np.ndarray,
        truth_frame: np.ndarray,
        truth_flag: np.ndarray,
        prediction_flag: np.ndarray,
    ) -> None:
        self.kept = np.flatnonzero(
            (pairs.overlap > min_overlap)
            & (truth_flag[pairs.truth] != ABSENT)
            & (prediction_flag[pairs.prediction] != ABSENT)
        )
        self.truth, self.prediction = pairs.truth[self.kept], pairs.prediction[self.kept]
        self.overlap = pairs.overlap[self.kept]
        self.scores = scores
        self.ignored = prediction_flag[self.prediction] == IGNORED
        self.counted = (truth_flag[self.truth] == COUNTED) & ~self.ignored  # (P,) a match is a true positive
        self.rank = _rank_in_frame(self.truth, truth_frame)

    def greedy(self, thresholds: np.ndarray, by_score: bool) -> np.ndarray:
        """(P, T) whether a pair is matched when predictions below the threshold are left out."""
        if by_score:
            preference = (-self.scores[self.prediction], np.zeros(len(self.prediction)))
        else:  # the first ignored prediction of the file, whatever its overlap, if no other is free
            preference = (self.ignored, np.where(self.ignored, 0.0, -self.overlap))
        order = np.lexsort((self.prediction, preference[1], preference[0], self.truth, self.rank))
        truth, prediction, rank = self.truth[order], self.prediction[order], self.rank[order]
        taken = np.zeros((len(self.scores), len(thresholds)), dtype=bool)
        matched = np.zeros((len(order), len(thresholds)), dtype=bool)
        bounds = np.searchsorted(rank, np.arange(rank[-1] + 2 if len(rank) else 1))
        for low, high in pairwise(bounds):
            # Truths of one rank are of different frames, so no prediction comes twice here.
            mine = prediction[low:high]
            free = (self.scores[mine, None] >= thresholds) & ~taken[mine]
            first = _first_of_group(free, truth[low:high])
            taken[mine] |= first
            matched[low:high] = first
        result = np.empty_like(matched)
        result[order] = matched
        return result


def _first_of_group(free: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(p, T): the first true row of each group of rows, column by column."""
    count = np.cumsum(free, axis=0, dtype=np.int32)
    starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    before = count[starts] - free[starts]
    lengths = np.diff(np.r_[starts, len(group)])
    return free & (count - np.repeat(before, lengths, axis=0) == 1)


def _rank_in_frame(truth: np.ndarray, truth_frame: np.ndarray) -> np.ndarray:
    """(P,) how many other truths with pairs come before a pair's truth in its frame."""
    present = np.unique(truth)
    ordered = present[np.argsort(truth_frame[present], kind="stable")]
    frames = truth_frame[ordered]
    starts = np.flatnonzero(np.r_[True, frames[1:] != frames[:-1]]) if len(frames) else np.zeros(0, dtype=np.int64)
    rank_of = np.zeros(len(truth_frame), dtype=np.int64)
    rank_of[ordered] = np.arange(len(ordered)) - np.repeat(starts, np.diff(np.r_[starts, len(ordered)]))
    return rank_of[truth]
