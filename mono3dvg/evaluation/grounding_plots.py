"""Figures and examples of grounding: boxes over their scores, sentences that mean something or nothing, 3D errors."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from d2road.evaluation.metrics.roc import auroc
from d2road.evaluation.metrics.score_curves import (
    bin_edges,
    reliability_bins,
    roc_points,
    thinned,
    threshold_counts,
)
from d2road.evaluation.plot_data import BEST, SHOWN, WORST, Boxes, Example, PlotData
from d2road.evaluation.range_plots import BoxErrors, range_figures
from d2road.structures.upright_boxes import box_corners, wrap_angle
from d2road.visualization.figure_data import Figure, Histogram, Lines, Mark, Matrix, Reliability, Series
from mono3dvg.evaluation import grounding_metrics as metrics
from mono3dvg.evaluation.prediction_files import Answer
from mono3dvg.schema import Expression, GroundingData

UNIT = (-0.01, 1.02)
BINS = 30
MEANS = ("means something", "means nothing")
RELIABILITY_IOU = 0.5


@dataclass(frozen=True)
class Answers:
    """What was answered to each sentence: boxes with scores, their overlaps (K, G) with the targets."""

    data: GroundingData
    expressions: Sequence[Expression]
    given: Sequence[Answer]
    tables: Sequence[np.ndarray]
    threshold: float

    @property
    def best_scores(self) -> np.ndarray:
        """Of each sentence, 0 where it has no box."""
        return np.array([max(answer.scores, default=0.0) for answer in self.given])

    @property
    def is_meant(self) -> np.ndarray:
        """Whether each sentence means something."""
        return np.array([bool(e.target_ids) for e in self.expressions])


def grounding_plots(answers: Answers, files: Mapping[Any, str]) -> PlotData:
    """What an evaluation of grounding has to show.

    Args:
        files: path of each image by its id; images without one are no examples.
    """
    figures: dict[str, Figure] = {"precision_recall": precision_recall_figure(answers)}
    figures["presence_roc"] = presence_figure(answers)
    figures["presence_scores"] = score_figure(answers)
    figures["presence_confusion"] = confusion_figure(answers)
    scores, hits = box_hits(answers, RELIABILITY_IOU)
    if len(scores) and scores.min() >= 0 and scores.max() <= 1:
        bins = reliability_bins(scores, hits)
        title = f"Reliability of scores, 3D IoU {RELIABILITY_IOU:g}: expected calibration error"
        figures["reliability"] = Reliability(
            f"{title} {bins.expected_error():.3f}", "score", "share that is right", bins.edges, bins.scores,
            bins.shares, bins.counts.astype(float),
        )  # fmt: skip
    figures |= range_figures(top_errors(answers), "best box, its centre seen in the labelled 2D box")
    return PlotData(figures, grounding_examples(answers, files))


def box_hits(answers: Answers, overlap: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores of all boxes of all sentences, and which are right: the best first, each takes the free target it
    overlaps most, from `overlap` on."""
    scores, hits = [np.zeros(0)], [np.zeros(0, dtype=bool)]
    for answer, table in zip(answers.given, answers.tables):
        hit = np.zeros(len(answer.scores), dtype=bool)
        free = np.ones(table.shape[1], dtype=bool)
        for i in np.argsort(-answer.scores, kind="stable") if free.any() else ():
            left = np.where(free, table[i], -1.0)
            best = int(np.argmax(left))
            if left[best] >= overlap:
                hit[i], free[best] = True, False
        scores.append(np.asarray(answer.scores, dtype=np.float64))
        hits.append(hit)
    return np.concatenate(scores), np.concatenate(hits)


def precision_recall_figure(answers: Answers) -> Lines:
    """Precision and recall of all boxes of all sentences, by 3D IoU, with the place of the score threshold."""
    targets = float(sum(table.shape[1] for table in answers.tables))
    series, chosen = [], []
    for overlap in metrics.ACC_OVERLAPS:
        counts = threshold_counts(*box_hits(answers, overlap))
        precision, recall = counts.precision(), counts.recall(targets)
        series.append(Series(f"3D IoU {overlap:g}", *thinned(recall, precision)))
        kept = np.flatnonzero(counts.thresholds >= answers.threshold)
        if len(kept):
            name = f"threshold {answers.threshold:.2f}, IoU {overlap:g}"
            chosen.append(Series(name, [recall[kept[-1]]], [precision[kept[-1]]]))
    title = "Precision and recall of boxes over all sentences"
    return Lines(title, "recall", "precision", [*series, *chosen], UNIT, UNIT)


def presence_figure(answers: Answers) -> Lines:
    """ROC of the best score as the sign that a sentence means something."""
    low, high = answers.best_scores[~answers.is_meant], answers.best_scores[answers.is_meant]
    x, y = thinned(*roc_points(low, high))
    title = f"Does a sentence mean anything? ROC of its best score, AUROC {auroc(low, high):.3f}"
    return Lines(
        title, "answered among sentences that mean nothing (1 - N-acc)",
        "answered among those that mean something (T-acc)", [Series("best score", x, y)], UNIT, UNIT, "by chance",
    )  # fmt: skip


def score_figure(answers: Answers) -> Histogram:
    """Best scores of the sentences that mean something and of those that mean nothing."""
    best = answers.best_scores
    edges = bin_edges(best, BINS, answers.threshold)
    counts = {
        name: np.histogram(best[chosen], edges)[0].astype(float)
        for name, chosen in zip(MEANS, (answers.is_meant, ~answers.is_meant))
    }
    mark = Mark(f"threshold {answers.threshold:.3g}", answers.threshold)
    return Histogram("Best score of each sentence", "best score", "sentences", edges, counts, (mark,))


def confusion_figure(answers: Answers) -> Matrix:
    """Whether sentences that mean something were answered."""
    answered = np.array([bool((a.scores >= answers.threshold).any()) for a in answers.given])
    counts = [
        [float((chosen & side).sum()) for side in (answers.is_meant, ~answers.is_meant)]
        for chosen in (answered, ~answered)
    ]
    title = f"Answers at the score threshold {answers.threshold:.3g}"
    return Matrix(title, "the sentence", "the answer", MEANS, ("some boxes", "nothing"), counts)


def top_errors(answers: Answers) -> dict[str, BoxErrors]:
    """Errors by class of the best box of single-target sentences, where its centre is seen within the target's 2D box.

    So the right object counts, however far off in depth it was placed.
    """
    rows: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for expression, answer in zip(answers.expressions, answers.given):
        if len(expression.target_ids) != 1 or not len(answer.scores):
            continue
        target = answers.data.objects[expression.target_ids[0]]
        box = answer.boxes[int(np.argmax(answer.scores))]
        frame = answers.data.frame_of(expression.image_id)
        up = np.array([0.0, -box[3] / 2, 0.0])
        camera = answers.data.images[expression.image_id].camera
        pixel, depth = camera.project(box[:3] + (up if frame is None else frame @ up))
        left, top, right, bottom = target.bbox
        if depth > 0 and left <= pixel[0] <= right and top <= pixel[1] <= bottom:
            name = answers.data.categories[target.category_id]
            rows.setdefault(name, []).append((np.array(target.row), box))
    found = {}
    for name, pairs in rows.items():
        true, box = (np.stack([pair[i] for pair in pairs]) for i in (0, 1))
        sizes, yaw = box[:, 3:6] / true[:, 3:6] - 1, wrap_angle(box[:, 6] - true[:, 6])
        found[name] = BoxErrors(np.hypot(true[:, 0], true[:, 2]), box[:, 2] - true[:, 2], sizes, yaw)
    return found


def grounding_examples(answers: Answers, files: Mapping[Any, str]) -> list[Example]:
    """Sentences with the lowest and with the highest F1 at IoU 0.25, one an image; of equal ones the fullest."""
    ranked = []
    for i, (expression, answer, table) in enumerate(zip(answers.expressions, answers.given, answers.tables)):
        kept = answer.scores >= answers.threshold
        hits = int((metrics.matched_overlaps(table[kept]) >= metrics.ACC_OVERLAPS[0]).sum())
        boxes, targets = int(kept.sum()), len(expression.target_ids)
        f1 = 2 * hits / (boxes + targets) if boxes + targets else 1.0
        if expression.image_id in files:
            ranked.append((f1, boxes + targets - 2 * hits, hits, i))
    worst = _first_of_images(sorted((r for r in ranked if r[1]), key=lambda r: (r[0], -r[1], r[3])), answers)
    best = _first_of_images(sorted((r for r in ranked if r[2]), key=lambda r: (-r[0], -r[2], r[3])), answers)
    return [
        _example(answers, i, group, f1, files) for group, rows in ((WORST, worst), (BEST, best)) for f1, _, _, i in rows
    ]


def _first_of_images(ranked: Sequence[tuple], answers: Answers) -> list[tuple]:
    chosen: dict[Any, tuple] = {}
    for row in ranked:
        chosen.setdefault(answers.expressions[row[3]].image_id, row)
    return list(chosen.values())[:SHOWN]


def _example(answers: Answers, i: int, group: str, f1: float, files: Mapping[Any, str]) -> Example:
    expression, answer = answers.expressions[i], answers.given[i]
    kept = answer.scores >= answers.threshold
    image, frame = answers.data.images[expression.image_id], answers.data.frame_of(expression.image_id)
    caption = f"F1 {f1:.2f}: {int(kept.sum())} boxes for {len(expression.target_ids)} objects meant"
    plane = image.camera.ground
    return Example(
        os.path.abspath(files[expression.image_id]), group, caption, ("meant", "answer"),
        _boxes(answers.data.target_rows(expression), frame, 0),
        _boxes(answer.boxes[kept], frame, 1, answer.scores[kept].tolist()),
        image.camera.P.tolist(), None if plane is None else plane.tolist(), expression.text,
    )  # fmt: skip


def _boxes(rows: np.ndarray, frame: np.ndarray | None, kind: int, scores: list[float] | None = None) -> Boxes:
    corners = box_corners(rows[:, :3], rows[:, 3:6], rows[:, 6], frame) if len(rows) else np.zeros((0, 8, 3))
    return Boxes([kind] * len(rows), [[0.0] * 4] * len(rows), scores, np.asarray(corners).tolist())
