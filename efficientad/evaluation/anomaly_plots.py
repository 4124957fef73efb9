"""Figures and examples of anomaly detection: ROC, scores with the threshold, verdicts, heat maps."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from d2road.evaluation.metrics.roc import auroc
from d2road.evaluation.metrics.score_curves import bin_edges, roc_points, thinned, threshold_counts
from d2road.evaluation.plot_data import BEST, SHOWN, WORST, Example, Heat, PlotData
from d2road.visualization.figure_data import Figure, Histogram, Lines, Mark, Matrix, Series
from efficientad.evaluation.anomaly_protocol import anomaly_kinds
from efficientad.evaluation.image_scores import GOOD, ImageScores
from efficientad.evaluation.ranking_metrics import Ranking, curve_area
from efficientad.evaluation.weighted_scores import pool

UNIT = (-0.01, 1.02)
BINS = 30
MOST_KINDS = 6  # curves of their own in the ROC
FALSE, TRUE = "false-positive rate", "true-positive rate"


@dataclass(frozen=True)
class ShownImage:
    """What is kept of an image for a drawing: its file, the files of its masks, and its map made small."""

    file: str
    masks: Sequence[str]
    heat: Heat


def anomaly_plots(
    images: Sequence[ImageScores],
    shown: Mapping[str, ShownImage],
    threshold: float | None,
    map_threshold: float | None = None,
) -> PlotData:
    """What an evaluation of anomaly maps has to show.

    Args:
        images: of the test set.
        shown: by name of the image.
        threshold: of the scores, as `anomaly_protocol.evaluate` takes it; None where there is none.
        map_threshold: of the values of the maps, drawn in examples.
    """
    good = np.array([image.score for image in images if not image.anomalous])
    bad = np.array([image.score for image in images if image.anomalous])
    figures: dict[str, Figure] = {}
    if len(good) and len(bad):
        figures["roc"] = roc_figure(images, good, bad)
        figures["precision_recall"] = precision_recall_figure(good, bad)
    if any(len(image.positives) for image in images):
        figures["pixel_roc"] = pixel_figure(images)
    figures["scores"] = score_figure(good, bad, threshold)
    if threshold is not None:
        figures["verdicts"] = verdict_figure(images, threshold)
    return PlotData(figures, anomaly_examples(images, shown, threshold, map_threshold))


def roc_figure(images: Sequence[ImageScores], good: np.ndarray, bad: np.ndarray) -> Lines:
    """ROC of images: all anomalies, and each kind where there are few."""
    kinds = anomaly_kinds(images)
    by_kind = {kind: np.array([i.score for i in images if i.kind == kind]) for kind in kinds}
    curves = {"all anomalies": bad, **(by_kind if 1 < len(kinds) <= MOST_KINDS else {})}
    series = [
        Series(f"{name} (AUROC {auroc(good, scores):.3f})", *thinned(*roc_points(good, scores)))
        for name, scores in curves.items()
    ]
    title = f"ROC of images: {len(good)} good, {len(bad)} anomalous"
    return Lines(title, FALSE, TRUE, series, UNIT, UNIT, "by chance")


def precision_recall_figure(good: np.ndarray, bad: np.ndarray) -> Lines:
    """Precision and recall of images that are called anomalous."""
    counts = threshold_counts(np.r_[good, bad], np.r_[np.zeros(len(good)), np.ones(len(bad))])
    series = [Series("images", *thinned(counts.recall(len(bad)), counts.precision()))]
    return Lines("Precision and recall of anomalous images", "recall", "precision", series, UNIT, UNIT)


def pixel_figure(images: Sequence[ImageScores]) -> Lines:
    """ROC of pixels, and the overlap with each labelled region (PRO) over the same false positives."""
    negatives = pool(image.negatives for image in images)
    series = []
    for name, positives, area in (
        ("pixels", pool(image.positives for image in images), "AUROC"),
        ("regions, each weighing 1 (PRO)", pool(image.regions for image in images), "area"),
    ):
        value = curve_area(Ranking(negatives), positives)
        points = roc_points(negatives.scores, positives.scores, negatives.weights, positives.weights)
        series.append(Series(f"{name} ({area} {value:.3f})", *thinned(*points)))
    return Lines("ROC of pixels", f"{FALSE} of pixels", "share found", series, UNIT, UNIT, "by chance")


def score_figure(good: np.ndarray, bad: np.ndarray, threshold: float | None) -> Histogram:
    """Scores of good and of anomalous images, with the threshold."""
    edges = bin_edges(np.r_[good, bad], BINS, threshold)
    counts = {name: np.histogram(s, edges)[0].astype(float) for name, s in (("good", good), ("anomalous", bad))}
    marks = [] if threshold is None else [Mark(f"threshold {threshold:.4g}", threshold)]
    return Histogram("Scores of the test images", "anomaly score", "images", edges, counts, marks)


def verdict_figure(images: Sequence[ImageScores], threshold: float) -> Matrix:
    """What each kind of image was called."""
    kinds = [GOOD, *anomaly_kinds(images)]
    alarms = [sum(i.score > threshold for i in images if i.kind == kind) for kind in kinds]
    totals = [sum(i.kind == kind for i in images) for kind in kinds]
    rows = [[float(n) for n in alarms], [float(t - n) for t, n in zip(totals, alarms)]]
    title = f"Verdicts at the threshold {threshold:.4g}"
    return Matrix(title, "the image", "called", kinds, ("anomalous", "good"), rows)


def anomaly_examples(
    images: Sequence[ImageScores],
    shown: Mapping[str, ShownImage],
    threshold: float | None,
    map_threshold: float | None,
) -> list[Example]:
    """The images whose scores are the most on the wrong side and the most on the right one, half of either kind."""
    if not images or not shown:
        return []
    ranked = sorted((image for image in images if image.name in shown), key=lambda image: (image.score, image.name))
    good = [image for image in ranked if not image.anomalous]
    bad = [image for image in ranked if image.anomalous]
    half = SHOWN // 2
    worst = [*good[::-1][:half], *bad[:half]]
    chosen = {image.name for image in worst}
    best = [*bad[::-1][:half], *good[:half]]
    best = [image for image in best if image.name not in chosen]
    # The calm colours up to what a good image reaches, so that its noise does not look like a finding.
    middle = float(np.median([shown[i.name].heat.high for i in good])) if good else None
    top = max(shown[i.name].heat.high for i in (*worst, *best))
    low = min(shown[i.name].heat.low for i in (*worst, *best)) if middle is None else middle
    limits = (low, top) if top > low else None
    drawn = None if map_threshold is None or not math.isfinite(map_threshold) else map_threshold
    examples = []
    for group, rows in ((WORST, worst), (BEST, best)):
        for image in rows:
            verdict = "" if threshold is None else f", called {'anomalous' if image.score > threshold else GOOD}"
            one = shown[image.name]
            caption = f"{image.name} ({image.kind}): score {image.score:.4g}{verdict}"
            examples.append(
                Example(one.file, group, caption, heat=one.heat, heat_range=limits, heat_threshold=drawn,
                        mask_files=list(one.masks))
            )  # fmt: skip
    return examples
