"""Overfit check of 3D pose on a few KITTI frames: trains and counts on the same ones. It shows that geometry, losses
and decoding work together on real images; it says nothing about other images.

python -m benchmarks.diffusion_det.pose_overfit --data FOLDER  KITTI's layout: image_2, label_2, calib (or
    training/image_2, ...)

KITTI's AP is of no use here: its 40 recall points need 41 cars. Instead cars are counted, with the score threshold
fixed beforehand; see `count_cars`.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from benchmarks.common.overfit import OverfitCheck, run_overfit_check
from d2road.data.catalog import class_names_of
from d2road.evaluation.kitti_text_evaluator import ground_truth_table
from d2road.evaluation.metrics.kitti_objects import ObjectTable, read_predictions_folder
from d2road.evaluation.metrics.kitti_protocol import DIFFICULTIES, Difficulty
from d2road.structures import pairwise_iou_3d

CONFIG = "configs/diffusion_det/kitti/overfit3d.yaml"
BENCH, NAME = "pose_overfit", "kitti_seed0"
MIN_SCORE, MIN_IOU = 0.3, 0.5
RULES = (*DIFFICULTIES[1:], Difficulty("all", min_height_px=0, max_occluded=3, max_truncated=1.0))
RULE = (
    f"OVERFIT CHECK: trained and counted on the same frames. Cars found at 3D IoU >= {MIN_IOU} (camera frame) by "
    f"predictions of score >= {MIN_SCORE}, each by one. Counted are the labelled cars within KITTI's limits (moderate: "
    "higher than 25 px, occlusion <= 1, truncation <= 0.3; hard: higher than 25 px, <= 2, <= 0.5; all: no limits). A "
    "prediction on a car beyond the limits or on a van counts neither way, nor does an unmatched one below 25 px "
    "(moderate, hard); every other is a false alarm."
)


def match_cars(
    truth: ObjectTable, predictions: ObjectTable, limits: Difficulty, min_iou: float
) -> tuple[int, np.ndarray]:
    """Who finds what. Predictions take, best score first, the free car of their frame that they overlap most.

    Types are "car", and "car~crowd" for vans, as `ground_truth_table` names them.

    Returns:
        number of counted cars; (P, 3) rows score, found (0 or 1), false alarm (0 or 1) of all predicted cars, best
        score first. As they choose in this order, the rows above any score are the outcome at that threshold.
    """
    is_car = truth.type == "car"
    counted = (
        is_car
        & truth.has_3d
        & (truth.height_px > limits.min_height_px)
        & (truth.occluded <= limits.max_occluded)
        & (truth.truncated <= limits.max_truncated)
    )
    solid = truth.has_3d & (is_car | (truth.type == "car~crowd"))
    rows = np.flatnonzero(predictions.type == "car")
    rows = rows[np.argsort(-predictions.scores[rows], kind="stable")]
    overlap = pairwise_iou_3d(torch.from_numpy(predictions.boxes3d[rows]), torch.from_numpy(truth.boxes3d)).numpy()
    overlap[predictions.frame[rows][:, None] != truth.frame[None]] = 0
    overlap[:, ~solid] = 0
    outcome = np.zeros((len(rows), 3))
    outcome[:, 0] = predictions.scores[rows]
    for line, row, own in zip(outcome, rows, overlap):
        best = int(own.argmax()) if len(own) else -1
        if best >= 0 and own[best] >= min_iou:
            line[1] = counted[best]
            overlap[:, best] = 0  # taken
        else:
            line[2] = predictions.height_px[row] >= limits.min_height_px
    return int(counted.sum()), outcome


def count_cars(
    truth: ObjectTable, predictions: ObjectTable, limits: Difficulty, min_score: float, min_iou: float
) -> dict:
    """Recall and precision of cars in percent, NaN where nothing counts.

    Returns:
        cars, found, false_alarms, recall, precision, of predictions of `min_score` and more; recall_at_precision_90,
        the highest recall at any threshold at which precision is 90 or more, and score_at_precision_90, that threshold.
    """
    cars, outcome = match_cars(truth, predictions, limits, min_iou)
    found, false_alarms = (int(n) for n in outcome[outcome[:, 0] >= min_score, 1:].sum(axis=0))
    nan = float("nan")
    hits, alarms = outcome[:, 1:].cumsum(axis=0).T
    good = np.flatnonzero((hits >= 0.9 * (hits + alarms)) & (hits > 0))
    return {
        "cars": cars,
        "found": found,
        "false_alarms": false_alarms,
        "recall": 100 * found / cars if cars else nan,
        "precision": 100 * found / (found + false_alarms) if found + false_alarms else nan,
        "recall_at_precision_90": 100 * float(hits[good[-1]]) / cars if cars and len(good) else 0.0,
        "score_at_precision_90": float(outcome[good[-1], 0]) if len(good) else nan,
    }


def count_all(data: str, folder: Path) -> dict[str, float]:
    """Counts by each of RULES, as "moderate_recall"; predictions are KITTI text files in a folder."""
    records = DatasetCatalog.get(data)
    truth = ground_truth_table(records, class_names_of(data))
    predictions = read_predictions_folder(folder, [r["image_id"] for r in records], missing_as_empty=True)
    return {
        f"{limits.name}_{key}": value
        for limits in RULES
        for key, value in count_cars(truth, predictions, limits, MIN_SCORE, MIN_IOU).items()
    }


def measure(cfg: CfgNode, data: str, results: dict) -> dict[str, float]:
    """Counts of the predictions that the evaluation at the end of the training left as text."""
    return count_all(data, Path(cfg.OUTPUT_DIR) / "inference/kitti")


def report(metrics: dict) -> Iterable[str]:
    """What the user is told."""
    yield RULE
    for limits in RULES:
        row = {key: metrics[f"{limits.name}_{key}"] for key in ("cars", "found", "false_alarms", "recall", "precision")}
        yield (
            f"{limits.name:9}cars {row['cars']}, found {row['found']} ({row['recall']:.1f} %), false alarms "
            f"{row['false_alarms']} (precision {row['precision']:.1f} %)"
        )


def main() -> None:
    """Run the check."""
    check = OverfitCheck(
        BENCH, NAME, CONFIG, "make bench-pose-overfit DATA=...", RULE, lambda folder: f"kitti:{folder}", measure, report
    )
    run_overfit_check(check, __doc__)


if __name__ == "__main__":
    main()
