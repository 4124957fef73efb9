"""Histogram of the scores of good images, with some scores and a threshold marked."""

from collections.abc import Sequence

import numpy as np

MARKED = 16  # scores that get a line of their own


def draw_histogram(good: Sequence[float], scores: Sequence[float], threshold: float | None) -> np.ndarray:
    """(H, W, 3) uint8 RGB.

    Args:
        good: (n,) finite, n >= 1. scores: of the images at hand; the first MARKED of them are marked.
        threshold: None where there is none.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.2), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)  # no pyplot: it keeps figures of all threads in one place
    axes = figure.add_subplot()
    axes.hist(list(good), bins=min(30, max(5, round(len(good) ** 0.5))), color="tab:gray", label=f"{len(good)} good")
    if threshold is not None:
        axes.axvline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.4g}")
    for number, score in enumerate(scores[:MARKED]):
        color = "tab:red" if threshold is not None and score > threshold else "tab:blue"
        axes.axvline(score, color=color, label="these images" if number == 0 else None)
    axes.set_xlabel("anomaly score")
    axes.set_ylabel("images")
    axes.legend()
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
