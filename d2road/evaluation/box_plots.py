"""Figures and examples of box detection: precision and recall, thresholds, reliability of scores, confusion."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from d2road.evaluation.metrics.box_ap import OVERLAPS, RECALLS, BoxPrecision, BoxTruth
from d2road.evaluation.metrics.box_matches import OVERLAP, BoxMatches, confusion_matrix, match_boxes
from d2road.evaluation.metrics.score_curves import reliability_bins, thinned, threshold_counts
from d2road.evaluation.plot_data import BEST, SHOWN, WORST, Boxes, Example, PlotData
from d2road.visualization.figure_data import Figure, Lines, Matrix, Reliability, Series

MIN_SCORE = 0.3  # of what counts in the confusion matrix and in examples; never chosen on the data
MOST_CLASSES = 8  # curves of their own in a figure
MOST_NAMES = 20  # rows of a confusion matrix; the rarest classes are taken together
UNIT = (-0.01, 1.02)


def box_plots(
    truth: BoxTruth,
    found: Sequence[Mapping[str, Any]],
    precision: BoxPrecision,
    class_names: Sequence[str],
    files: Mapping[Any, str],
) -> PlotData:
    """What an evaluation of boxes has to show.

    Args:
        truth, found: as `coco_precision` compares them.
        precision: what it gave.
        class_names: of the categories of the truth, in their order.
        files: path of each image by its id; images without one are no examples.
    """
    matches = match_boxes(truth, found)
    figures: dict[str, Figure] = {
        "precision_recall": precision_recall_figure(precision, class_names),
        "thresholds": threshold_figure(matches),
    }
    if len(matches.score) and matches.score.min() >= 0 and matches.score.max() <= 1:
        figures["reliability"] = reliability_figure(matches)
    figures["confusion"] = confusion_figure(truth, found, class_names)
    return PlotData(figures, box_examples(truth, found, matches, class_names, files))


def precision_recall_figure(precision: BoxPrecision, class_names: Sequence[str]) -> Lines:
    """COCO's precision at 101 recalls: the mean of the classes at three overlaps, and the classes at 0.5."""
    table = np.where(precision.precision[..., 0] < 0, np.nan, precision.precision[..., 0])  # (T, R, K)
    known = np.isfinite(table).any(axis=(0, 1))
    series = []
    for overlap in (0.5, 0.75):
        mean = mean_curve(table[np.isclose(OVERLAPS, overlap)][0])
        series.append(named_curve(f"all classes, IoU {overlap:g}", mean))
    series.append(
        named_curve("all classes, IoU 0.5 to 0.95", mean_curve(table.transpose(1, 0, 2).reshape(len(RECALLS), -1)))
    )
    if 1 < known.sum() <= MOST_CLASSES:
        series += [named_curve(f"{class_names[k]}, IoU 0.5", table[0, :, k]) for k in np.flatnonzero(known).tolist()]
    title = "Precision and recall of boxes (COCO's protocol)"
    return Lines(title, "recall", "precision", series, UNIT, UNIT)


def named_curve(name: str, values: np.ndarray, recalls: Sequence[float] | np.ndarray = RECALLS) -> Series:
    """A curve of precision over recalls, with its area in the name where it is whole."""
    area = f" (AP {100 * np.mean(values):.1f})" if np.isfinite(values).all() else ""
    return Series(name + area, recalls, values)


def mean_curve(values: np.ndarray) -> np.ndarray:
    """(R,) mean over the columns that are known; NaN where none is."""
    kept = values[:, np.isfinite(values).all(axis=0)]
    return kept.mean(axis=1) if kept.size else np.full(len(values), np.nan)


def threshold_figure(matches: BoxMatches) -> Lines:
    """Precision, recall and F1 of what scores at least a threshold, all classes together."""
    counts, total = threshold_counts(matches.score, matches.hit), float(matches.objects.sum())
    columns = thinned(counts.thresholds, counts.precision(), counts.recall(total), counts.f1(total))
    series = [Series(name, columns[0], column) for name, column in zip(("precision", "recall", "F1"), columns[1:])]
    title = f"Precision, recall and F1 over the score threshold, IoU {OVERLAP:g}, all classes"
    return Lines(title, "score threshold", "share", series, None, UNIT)


def reliability_figure(matches: BoxMatches) -> Reliability:
    """How often boxes of a score are right."""
    bins = reliability_bins(matches.score, matches.hit)
    title = f"Reliability of scores, IoU {OVERLAP:g}: expected calibration error {bins.expected_error():.3f}"
    return Reliability(
        title, "score", "share that is right", bins.edges, bins.scores, bins.shares, bins.counts.astype(float)
    )


def confusion_figure(truth: BoxTruth, found: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> Matrix:
    """Confusion of classes, the background among them."""
    counts, names = shortened(confusion_matrix(truth, found, MIN_SCORE), [*class_names, "background"])
    title = f"Confusion of classes, IoU above {OVERLAP:g}, scores from {MIN_SCORE:g} on"
    return Matrix(title, "labelled", "predicted", names, names, counts.astype(float).tolist())


def shortened(counts: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """A confusion matrix of at most so many rows: the rarest classes in one, before the background at the end."""
    if len(names) <= MOST_NAMES:
        return counts, list(names)
    weight = counts.sum(axis=0) + counts.sum(axis=1)
    kept = np.sort(np.argsort(-weight[:-1], kind="stable")[: MOST_NAMES - 2])
    group = np.full(len(names), len(kept))
    group[kept], group[-1] = np.arange(len(kept)), len(kept) + 1
    small = np.zeros((len(kept) + 2, len(kept) + 2), dtype=counts.dtype)
    np.add.at(small, (group[:, None], group[None]), counts)
    return small, [*(names[k] for k in kept), f"{len(names) - 1 - len(kept)} others", names[-1]]


def box_examples(
    truth: BoxTruth,
    found: Sequence[Mapping[str, Any]],
    matches: BoxMatches,
    class_names: Sequence[str],
    files: Mapping[Any, str],
) -> list[Example]:
    """The images with the lowest and with the highest F1; of equal ones those with most mistakes, or most objects."""
    shown = matches.score >= MIN_SCORE
    count = len(truth.images)
    hits = np.bincount(matches.image[shown & matches.hit], minlength=count)
    wrong = np.bincount(matches.image[shown & ~matches.hit], minlength=count)
    objects = matches.objects.sum(axis=1)
    f1 = 2 * hits / np.maximum(hits + wrong + objects, 1)
    usable = [i for i, image in enumerate(truth.images) if image in files and objects[i] + wrong[i]]
    mistakes = wrong + objects - hits
    worst = sorted((i for i in usable if mistakes[i]), key=lambda i: (f1[i], -mistakes[i], i))[:SHOWN]
    best = sorted((i for i in usable if i not in worst and hits[i]), key=lambda i: (-f1[i], -hits[i], i))[:SHOWN]
    position = {category: k for k, category in enumerate(truth.categories)}
    wanted = {truth.images[i] for i in (*worst, *best)}
    labels: dict[Any, list] = defaultdict(list)
    predictions: dict[Any, list] = defaultdict(list)
    for rows, by_image in ((truth.annotations, labels), (found, predictions)):
        for row in rows:
            if row["image_id"] in wanted and row.get("score", 1.0) >= MIN_SCORE and not row.get("iscrowd", 0):
                by_image[row["image_id"]].append(row)
    examples = []
    for group, chosen in ((WORST, worst), (BEST, best)):
        for i in chosen:
            image = truth.images[i]
            caption = f"F1 {f1[i]:.2f}: {hits[i]} of {objects[i]} objects found, {wrong[i]} wrong boxes"
            mine, theirs = (_boxes(rows, position) for rows in (labels[image], predictions[image]))
            path = os.path.abspath(files[image])
            examples.append(Example(path, group, caption, list(class_names), mine, theirs))
    return examples


def _boxes(rows: Sequence[Mapping[str, Any]], position: Mapping[Any, int]) -> Boxes:
    xyxy = [[x, y, x + w, y + h] for x, y, w, h in (row["bbox"] for row in rows)]
    scores = [float(row["score"]) for row in rows] if rows and "score" in rows[0] else None
    return Boxes([position[row["category_id"]] for row in rows], xyxy, scores)
