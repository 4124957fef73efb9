"""Area under the ROC curve (AUROC) of two sets of scores: the Mann-Whitney statistic."""

import numpy as np


def auroc(negatives: np.ndarray, positives: np.ndarray) -> float:
    """Area under the ROC curve: probability that a positive scores higher than a negative, ties counting half.

    Args:
        negatives, positives: (N,) and (P,) scores; infinite ones have their place, NaN has none.
    Returns:
        0 to 1; NaN if one side is empty or holds a NaN.
    Source: Hanley & McNeil, Radiology 1982, by midranks.
    """
    from scipy.stats import rankdata  # scipy.stats takes half a second

    low, high = np.asarray(negatives), np.asarray(positives)
    if not len(low) or not len(high):
        return float("nan")
    ranks = rankdata(np.concatenate([low, high]))[len(low) :]
    return float((ranks.sum() - len(high) * (len(high) + 1) / 2) / (len(low) * len(high)))
