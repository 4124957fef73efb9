"""Scores of good images: their histogram with some scores and a threshold marked, and the ROC curve against others."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from d2road.evaluation.metrics.roc import auroc
from d2road.evaluation.metrics.score_curves import roc_points

MARKED = 16  # scores that get a line of their own


def draw_histogram(good: Sequence[float], scores: Sequence[float], threshold: float | None) -> np.ndarray:
    """(H, W, 3) uint8 RGB.

    Args:
        good: (n,) finite, n >= 1. scores: of the images at hand; the first MARKED of them are marked.
        threshold: None where there is none.
    """
    canvas, axes = _axes(6.4, 3.2)
    axes.hist(list(good), bins=min(30, max(5, round(len(good) ** 0.5))), color="tab:gray", label=f"{len(good)} good")
    if threshold is not None:
        axes.axvline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.4g}")
    for number, score in enumerate(scores[:MARKED]):
        color = "tab:red" if threshold is not None and score > threshold else "tab:blue"
        axes.axvline(score, color=color, label="these images" if number == 0 else None)
    axes.set_xlabel("anomaly score")
    axes.set_ylabel("images")
    axes.legend()
    return _pixels(canvas)


def draw_roc(good: Sequence[float], anomalous: Sequence[float], threshold: float | None) -> np.ndarray:
    """(H, W, 3) uint8 RGB: the ROC curve of scores, with the place of a threshold on it.

    Args:
        good, anomalous: (n,), (m,) finite scores, n, m >= 1. threshold: None where there is none.
    """
    low, high = np.asarray(good, dtype=np.float64), np.asarray(anomalous, dtype=np.float64)
    canvas, axes = _axes(4.2, 4.0)
    axes.plot(*roc_points(low, high), color="tab:blue", label=f"AUROC {auroc(low, high):.3f}")
    if threshold is not None:
        rates = float((low > threshold).mean()), float((high > threshold).mean())
        axes.plot(*rates, "o", color="black", label=f"threshold: {rates[1]:.0%} found")
    axes.set_xlabel(f"share of {len(low)} good images above a score")
    axes.set_ylabel(f"share of {len(high)} anomalous images above it")
    axes.legend(loc="lower right")
    return _pixels(canvas)


def _axes(width_in: float, height_in: float) -> tuple[Any, Any]:
    """Canvas and axes without pyplot, which keeps figures of all threads in one place."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), dpi=100, layout="constrained")
    return FigureCanvasAgg(figure), figure.add_subplot()


def _pixels(canvas: Any) -> np.ndarray:
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
